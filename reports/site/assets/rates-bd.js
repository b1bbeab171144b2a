/* Bjøntegaard deltas against a chosen anchor: the table below the rate-distortion plot. */
(function (sb) {
  "use strict";

  const el = sb.element;
  const place = document.getElementById("deltas");
  const few = sb.data("rates").narrowBelow;
  let anchorName = null; // kept over data sets and images where it exists

  /** Fills the table for one set of images of a data set, with `series` {key, label, points: [{bits}]} alone. */
  sb.drawDeltas = function (dataset, subset, series) {
    const bd = dataset.bd[subset];
    const images = dataset.subsets[subset].images;
    const label = Object.fromEntries(series.map((s) => [s.key, s.label]));
    const anchors = bd.anchors.filter((key) => label[key]);
    if (bd.series.filter((key) => label[key]).length < 2) {
      place.replaceChildren(el("p", { class: "notice" }, "Fewer than two series have four points on these images: there is nothing to compare."));
      return;
    }
    const kept = anchors.find((key) => label[key] === anchorName);
    const points = Object.fromEntries(series.map((s) => [s.key, s.points.length]));
    const jpeg = anchors.filter((key) => /^jpeg(?! xl)/i.test(label[key])).sort((a, b) => points[b] - points[a])[0];
    const anchor = kept || jpeg || anchors[0];
    const select = el("select", { onchange: (event) => { anchorName = label[event.target.value]; sb.drawDeltas(dataset, subset, series); place.querySelector("select").focus(); } },
      anchors.map((key) => el("option", { value: key, selected: key === anchor }, label[key])));
    place.replaceChildren(
      el("form", { class: "controls", onsubmit: (event) => event.preventDefault() }, el("label", {}, "Anchor", select)),
      images.length < few ? el("p", { class: "muted" }, "Intervals of fewer than " + few + " images are known to be somewhat too narrow; here they are of " + images.length + " at most.") : "",
      table(bd, anchor, label, Object.fromEntries(series.map((s) => [s.key, bits(s)])), images), leftOut(bd, label),
    );
    sb.sortable(place.querySelector("table"));
  };

  const COLUMNS = [
    ["Series", ""],
    ["Bits per Gaussian", "Bits of a file over its Gaussians, fewest to most over the points; a dash for codecs. Float32 parameters take about 190."],
    ["BD-rate [%]", "Mean difference of the rate at equal PSNR; negative: fewer bytes than the anchor."],
    ["95 % interval", "Of the mean BD-rate over images (BCa bootstrap)."],
    ["Images", "Images with a BD-rate, of those chosen."],
    ["Overlap in PSNR", "Smallest over the images: the range of PSNR that both curves cover, as a share of the shorter one."],
    ["BD-PSNR [dB]", "Mean difference of the PSNR at equal rate; positive: better than the anchor."],
    ["95 % interval", "Of the mean BD-PSNR over images (BCa bootstrap)."],
    ["Images", "Images with a BD-PSNR, of those chosen."],
    ["Overlap in rate", "Smallest over the images: the range of log rate that both curves cover, as a share of the shorter one."],
    ["Remarks", "Why some image has no value."],
  ];

  /** "36" or "45–55": bits per Gaussian over the points of a series. */
  function bits(series) {
    const found = series.points.map((p) => p.bits).filter(Boolean);
    if (!found.length) return "–";
    const [low, high] = [Math.min(...found), Math.max(...found)].map((value) => sb.number(value, 0));
    return low === high ? low : low + "–" + high;
  }

  function table(bd, anchor, label, bitsOf, images) {
    const at = bd.series.indexOf(anchor);
    const rows = bd.pairs.filter(([from, to]) => from === at && label[bd.series[to]]).map(([, to, rate, quality]) => {
      const key = bd.series[to];
      return el("tr", {}, el("td", { class: "col-names" }, label[key]), el("td", { class: "number" }, bitsOf[key]),
        cells(rate, 1, bd.images), cells(quality, 2, bd.images), el("td", { class: "col-reason" }, remarks(rate[5], quality[5], images)));
    });
    const head = COLUMNS.map(([text, meaning], i) => el("th", { scope: "col", class: i > 0 && i < 10 ? "number" : null, title: meaning || null }, text));
    return el("div", { class: "table" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Bjøntegaard deltas against " + label[anchor] },
      el("table", {}, el("caption", { class: "sr" }, "Bjøntegaard deltas against " + label[anchor]), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows))));
  }

  /** Why which images have no value, one line per reason; said once where both deltas lack the same. */
  function remarks(rate, quality, images) {
    const lines = new Map();
    for (const [name, reasons] of [["BD-rate", rate], ["BD-PSNR", quality]]) {
      for (const [reason, ...places] of reasons) {
        const names = places.length === images.length ? "all images" : places.map((i) => images[i]).join(", ");
        const text = reason.replace(/^test: /, "in this curve, ").replace(/^anchor: /, "in the anchor's curve, ") + " (" + names + ")";
        lines.set(text, lines.has(text) ? "No delta" : "No " + name);
      }
    }
    return [...lines].map(([text, which]) => el("div", {}, which + ": " + text));
  }

  function cells([mean, low, high, n, overlap], digits, images) {
    const signed = (value) => (value > 0 ? "+" : "") + sb.number(value, digits);
    const td = (text, value) => el("td", { class: "number", "data-value": value === null ? "" : value }, text);
    return [
      td(mean === null ? "–" : signed(mean), mean),
      td(low === null ? "–" : signed(low) + " … " + signed(high), low),
      el("td", { class: "number", "data-value": n }, el("span", { class: n < images ? "partial" : null }, n + " of " + images)),
      td(overlap === null ? "–" : sb.number(100 * overlap, 0) + " %", overlap),
    ];
  }

  function leftOut(bd, label) {
    const texts = Object.entries(bd.left_out).filter(([key]) => label[key]).map(([key, reason]) => el("li", {}, label[key] + ": " + reason));
    if (!texts.length) return "";
    return el("details", {}, el("summary", {}, "Without a delta: " + texts.length + " series of too few points"), el("ul", { class: "notes" }, texts));
  }
})((window.splatbench = window.splatbench || {}));
