/* Rate-distortion: quality against real bytes, quality against the number of Gaussians. Reads data/rates.js. */
(function (sb) {
  "use strict";

  const el = sb.element;
  const plots = sb.plots;
  const data = sb.data("rates");
  const KINDS = { control: "classical codecs and controls", quantised: "quantised Gaussians", float: "float32 Gaussians (not quantised; no codec)" };
  const EXACT = 99; // dB: copies of the original would squeeze everything else together
  const form = document.getElementById("filters");
  const note = document.getElementById("summary");
  const rate = plots.frame("Quality against rate", "rate");
  const equal = plots.frame("Quality against the number of Gaussians", "count");
  const offer = el("div", {});
  document.getElementById("rate-plot").append(offer, rate.node);
  document.getElementById("count-plot").append(equal.node);

  const names = Object.keys(data.datasets);
  const state = { dataset: fullest(), metric: "", subset: 0, points: null, log: true, hidden: new Set(), kinds: new Set(["control", "quantised"]) };
  state.metric = data.metrics.some((m) => m.key === "psnr") ? "psnr" : (data.metrics[0] || {}).key;

  function fullest() {
    const size = (name) => data.datasets[name].series.reduce((sum, s) => sum + s.points.length, 0);
    return names.reduce((best, name) => (best === null || size(name) > size(best) ? name : best), null);
  }

  const dataset = () => data.datasets[state.dataset];

  /** Series with the points that the chosen images, kinds and number of points leave: {key, label, look, points}. */
  const chosen = (kinds) => usable().filter((s) => kinds.has(s.kind) && s.points.length >= state.points);

  function usable() {
    const looks = plots.looks(dataset().series);
    const [bpp, n, bytes] = ["bpp", "n_actual", "bytes"].map((name) => data.numbers.indexOf(name));
    const value = data.numbers.indexOf(state.metric);
    return dataset().series.map((s, index) => {
      const points = s.points.filter((p) => p.means[state.subset] && p.means[state.subset][value] !== null).map((p) => {
        const means = p.means[state.subset];
        return { ...p, label: s.label, look: looks[index], bpp: means[bpp], n: means[n], bits: means[n] && means[bytes] ? (8 * means[bytes]) / means[n] : null, value: means[value] };
      });
      return { ...s, look: looks[index], points };
    });
  }

  /** Without a choice: curves where there are some, else everything. */
  function usualPoints() {
    const long = dataset().series.filter((s) => state.kinds.has(s.kind) && s.points.filter((p) => p.means[state.subset]).length >= data.fewestPoints);
    return long.length >= 2 ? data.fewestPoints : 1;
  }

  // -- form ------------------------------------------------------------------------------------------------------------

  function select(text, options, value, change) {
    const list = options.map(([key, shown]) => el("option", { value: key, selected: String(key) === String(value) }, shown));
    return el("label", {}, text, el("select", { onchange: (event) => { change(event.target.value); update(); } }, list));
  }

  function checkbox(text, checked, change) {
    return el("label", { class: "check" }, el("input", { type: "checkbox", checked, onchange: (event) => { change(event.target.checked); update(); } }), text);
  }

  function drawForm() {
    const lengths = [[4, "of 4 points or more"], [2, "of 2 points or more"], [1, "all, single points too"]];
    form.replaceChildren(
      select("Data set", names.map((name) => [name, name]), state.dataset, (value) => reset({ dataset: value, subset: 0 })),
      select("Quality", data.metrics.map((m) => [m.key, m.heading]), state.metric, (value) => { state.metric = value; }),
      select("Images", dataset().subsets.map((s, i) => [i, s.label]), state.subset, (value) => reset({ subset: Number(value) })),
      select("Series", lengths, state.points, (value) => { state.points = Number(value); }),
      ...Object.entries(KINDS).map(([kind, text]) => checkbox(text, state.kinds.has(kind), (on) => choose(kind, on))),
      checkbox("logarithmic axes", state.log, (on) => { state.log = on; }),
    );
  }

  function choose(kind, on) {
    if (on) state.kinds.add(kind); else state.kinds.delete(kind);
    drawForm();
    form.querySelectorAll("input[type=checkbox]")[Object.keys(KINDS).indexOf(kind)].focus();
  }

  function reset(values) {
    Object.assign(state, values, { hidden: new Set() });
    state.points = usualPoints();
    drawForm();
  }

  // -- plots -----------------------------------------------------------------------------------------------------------

  function update() {
    const series = chosen(state.kinds);
    const metric = data.metrics.find((m) => m.key === state.metric);
    const subset = dataset().subsets[state.subset];
    const images = subset.images.length === 1 ? "1 image" : subset.images.length + " images";
    const all = dataset().series.filter((s) => state.kinds.has(s.kind)).length;
    note.textContent = "All points are means over the same " + images + " (" + plots.few(subset.images) + "). " +
      (series.length < all ? series.length + " of " + all + " series are shown: the others have fewer points on these images." : "All " + all + " series are shown.") +
      (dataset().retired.length ? " Left out, since the method is not there any more: " + dataset().retired.join("; ") + "." : "");
    offer.replaceChildren(...offered());
    const exact = series.some((s) => s.points.some((p) => outside(p)));
    rate.update(frame(series, metric, "bpp", "Rate, real [bit/pixel]", 3,
      "Length of the real file against " + metric.heading + ", means over " + images + ". Hollow: codecs, and methods as published; dashes tell settings apart." +
      (state.kinds.has("float") ? " Labels that end in float32: not quantised, real bytes but no codec." : "") +
      (exact ? " Lossless copies are left out of the drawing." : "")));
    equal.update(frame(chosen(new Set(["quantised", "float"])).filter((s) => s.points.some((p) => p.n)), metric, "n", "Gaussians per image", 0,
      "Equal Gaussians: the number in the decoded file, whatever it takes in bytes, against " + metric.heading + ", means over " + images + "."));
    sb.drawDeltas(dataset(), state.subset, usable().filter((s) => s.kind !== "float" || state.kinds.has("float")));
  }

  /** Where float32 files are all that there is of Gaussians: that, and a button that shows them. */
  function offered() {
    const on = new Set(usable().filter((s) => s.points.length >= state.points).map((s) => s.kind));
    if (state.kinds.has("float") || on.has("quantised") || !usable().some((s) => s.kind === "float" && s.points.length)) return [];
    const show = () => { choose("float", true); state.points = usualPoints(); drawForm(); update(); };
    return [el("p", { class: "notice" }, "All Gaussians on these images are float32 files, which are no codec and not drawn beside quantised ones. ",
      el("button", { type: "button", onclick: show }, "Show them"))];
  }

  const outside = (p) => state.metric.startsWith("psnr") && p.value >= EXACT;

  function frame(series, metric, x, xLabel, xDigits, caption) {
    const visible = series.filter((s) => !state.hidden.has(s.key));
    const points = visible.flatMap((s) => s.points.filter((p) => p[x] && !outside(p)));
    return {
      caption, series, hidden: state.hidden, lined: true,
      toggle: (key) => {
        if (state.hidden.has(key)) state.hidden.delete(key); else state.hidden.add(key);
        const id = document.activeElement.closest("figure").id;
        update();
        document.querySelector("#" + id + " .legend [data-key='" + key + "']").focus();
      },
      empty: "No series has such values on these images.",
      draw: (width) => (points.length ? draw(width, visible, points, metric, x, xLabel, xDigits) : null),
      table: {
        columns: [{ heading: "Series", wrap: true }, { heading: "Budget" }, { heading: xLabel, numeric: true, digits: xDigits }, { heading: metric.heading, numeric: true, digits: metric.digits, meaning: metric.meaning }, { heading: "Bits per Gaussian", numeric: true, digits: 1, meaning: "Bits of the file over its Gaussians." }, { heading: "Images of the row", numeric: true, digits: 0 }],
        rows: visible.flatMap((s) => s.points.filter((p) => p[x]).map((p) => [s.label, p.budget, p[x], p.value, p.bits, p.images])),
      },
    };
  }

  function draw(width, series, points, metric, x, xLabel, xDigits) {
    const lines = series.map((s) => s.points.filter((p) => p[x] && !outside(p)).sort((a, b) => a[x] - b[x])).filter((line) => line.length > 1);
    const title = (p) => p.label + "\n" + p.budget + (p.n ? "\nN = " + sb.number(p.n, 0) : "") + "\n" + sb.number(p.bpp, 3) + " bit/pixel" + (p.bits ? ", " + sb.number(p.bits, 0) + " bits per Gaussian" : "") + "\n" + metric.heading + " " + sb.number(p.value, metric.digits);
    return Plot.plot(plots.options(metric.heading + " against " + xLabel + ", " + series.length + " series; numbers in the table below", width, {
      x: plots.xAxis(xLabel, state.log, width),
      y: { label: metric.heading, grid: true, nice: true, reverse: metric.better === "lower" },
      marks: [
        ...lines.map((line) => Plot.line(line, { x, y: "value", stroke: line[0].look.colour, strokeWidth: 1.5, strokeDasharray: line[0].look.dash })),
        Plot.dot(points, { x, y: "value", ...plots.dots }),
        plots.tip(points, { x, y: "value", title }),
      ],
    }));
  }

  if (names.length) {
    reset({});
    update();
  } else {
    note.textContent = "No record has a file, so there is no rate to draw.";
  }
  form.addEventListener("submit", (event) => event.preventDefault());
})((window.splatbench = window.splatbench || {}));
