/* The time page: which rows are drawn, and the table of decoding, memory and energy. */
(function (sb) {
  "use strict";

  const el = sb.element;
  const { board, plots, times } = sb;
  const data = board.table();
  const timed = sb.data("times");
  const form = document.getElementById("filters");
  const note = document.getElementById("summary");
  const MOST = 40; // rows of a plot: more cannot be told apart
  const EXACT = 99; // dB: copies of the original would squeeze the rest together

  const frames = {
    quality: plots.frame("Quality against encode time", "quality"),
    convergence: plots.frame("Convergence", "convergence"),
    stages: plots.frame("Share of each stage", "stages"),
  };
  for (const [name, frame] of Object.entries(frames)) document.getElementById(name + "-plot").append(frame.node);

  const initial = board.completed({ ...board.DEFAULTS }, false);
  const state = { dataset: initial.dataset, target: initial.target, device: "", subset: "", axis: "seconds", log: "1", codecs: "0", hidden: new Set() };

  const dataset = () => timed.datasets[state.dataset] || { subsets: [], scopes: {}, retired: [] };
  const scope = () => dataset().scopes[state.target] || {};

  /** Final rows of one device that were timed on all the chosen images; times of others are not compared. Their numbers
   * are means over these images, and their places by encode time name them in all plots. */
  function chosen() {
    const found = inScope().filter((row) => timed.rows[row.id].at[state.subset]);
    const looks = plots.looks(found);
    const rows = found.map((row, index) => {
      const at = timed.rows[row.id].at[state.subset];
      const limits = state.target ? row.limits : row.budget;
      return {
        id: row.id, look: looks[index], interval: at.interval, row, times: at, seconds: at.encode_seconds,
        psnr: at[data.rankBy] === undefined ? null : at[data.rankBy],
        label: row.label + (row.column === "control" ? "" : ", " + data.columnTitles[row.column]) + (row.variant ? " (" + row.variant + ")" : "") +
          (limits ? ", " + limits : ""),
      };
    }).filter((row) => row.row.column !== "control" || (row.psnr !== null && row.psnr < EXACT));
    return rows.sort((a, b) => a.seconds - b.seconds).map((row, index) => ({ ...row, number: index + 1 }));
  }

  const inScope = () => data.rows.filter((row) => timed.rows[row.id] && timed.rows[row.id].device === state.device && row.board.dataset === state.dataset &&
    (row.board.track === "controls" ? state.codecs === "1" : !state.target || row.board.target === state.target));

  function select(name, text, options) {
    if (!options.some(([value]) => value === state[name])) state[name] = options.length ? options[0][0] : "";
    return el("label", {}, text, el("select", { name, onchange: (event) => change({ [name]: event.target.value }) },
      options.map(([value, shown]) => el("option", { value, selected: value === state[name] }, shown))));
  }

  function drawForm() {
    const focused = form.contains(document.activeElement) ? document.activeElement.name : null;
    const targets = data.boards.map((b) => b.target).filter((target, i, all) => all.indexOf(target) === i && target in dataset().scopes);
    const [fields, same] = [[], (values) => values.map((value) => [value, value])];
    fields.push(select("dataset", "Data set", same(Object.keys(timed.datasets))));
    fields.push(select("target", "Target", [["", "all targets"], ...same(targets)]));
    // Each of these depends on the one before.
    fields.push(select("device", "Device", same(Object.keys(scope()).sort((a, b) => scope()[b][0][1] - scope()[a][0][1] || sb.textOrder(a, b)))));
    fields.push(select("subset", "Images", (scope()[state.device] || []).map(([place, rows, methods]) => [String(place), subsetName(place, rows, methods)])));
    form.replaceChildren(
      ...fields,
      select("axis", "Convergence against", [["seconds", "seconds"], ["steps", "fitting steps"]]),
      checkbox("log", "logarithmic convergence axis"),
      checkbox("codecs", "with classical codecs"),
    );
    if (focused) form.elements[focused].focus();
  }

  const plural = (n, name) => sb.number(n, 0) + " " + name + (n === 1 ? "" : "s");

  const subsetName = (place, rows, methods) => plural(dataset().subsets[place].length, "image") + ": " + plural(rows, "row") + " of " + plural(methods, "method");

  function checkbox(name, text) {
    const press = (event) => change({ [name]: event.target.checked ? "1" : "0" });
    return el("label", { class: "check" }, el("input", { type: "checkbox", name, checked: state[name] === "1", onchange: press }), text);
  }

  function change(values) {
    Object.assign(state, values, { hidden: new Set() });
    if ("dataset" in values) Object.assign(state, { target: board.completed({ ...board.DEFAULTS, dataset: values.dataset }, false).target });
    if (["dataset", "target", "device"].some((name) => name in values)) state.subset = ""; // the one of most methods
    drawForm();
    update();
  }

  function toggle(key) {
    if (state.hidden.has(key)) state.hidden.delete(key); else state.hidden.add(key);
    const id = document.activeElement.closest("figure").id;
    update();
    document.querySelector("#" + id + " .legend [data-key='" + key + "']").focus();
  }

  function update() {
    const rows = chosen();
    const visible = rows.filter((row) => !state.hidden.has(row.id));
    const few = visible.slice(0, MOST);
    const item = (row) => ({ key: row.id, label: row.number + " " + row.label, look: row.look, chip: row.times.busy ? "busy" : null });
    const legend = (members) => (rows.length <= MOST ? { hidden: state.hidden, toggle, series: members.map(item) } : {});
    frames.quality.update({ ...times.quality(visible), ...legend(rows) });
    frames.convergence.update({ ...times.convergence(few, state.axis, state.log === "1"), ...legend(rows.filter((row) => row.times.curve)), lined: true });
    frames.stages.update(times.stages(few));
    note.textContent = describe(rows);
    document.getElementById("decode-table").replaceChildren(costs(rows));
  }

  function describe(rows) {
    const left = dataset().retired.length ? " Left out, since the method is not there any more: " + dataset().retired.join("; ") + "." : "";
    if (!rows.length) return "No row of these has an encode time." + left;
    const images = dataset().subsets[state.subset];
    const others = inScope().length - rows.length;
    const busy = rows.filter((row) => row.times.busy).length;
    const warm = rows.filter((row) => row.times.warm).length;
    return plural(rows.length, "row") + " on " + state.device + ", all numbers over the same " + plural(images.length, "image") + " (" + sb.plots.few(images) + ")." +
      (others ? " " + plural(others, "row") + " did not run on all of these or copied the original, and " + (others === 1 ? "is" : "are") + " left out." : "") +
      (rows.length > MOST ? " Curves and stages show the fastest " + MOST + "; choose a target to see others." : "") +
      (busy ? " " + busy + " began on a busy machine (load average above its cores) and " + (busy === 1 ? "is" : "are") + " marked: times may be too long." : "") +
      (warm ? " " + warm + " begin from another method's file; the time of that is part of theirs." : "") + left;
  }

  /** Decoding, memory and energy as numbers: bars of them would tell less. */
  function costs(rows) {
    const explained = Object.fromEntries(data.columns.map((column) => [column.key, column]));
    const measured = ["encode_seconds", "decode_seconds", "peak_memory_mib", "energy_joules"].filter((name) => rows.some((row) => row.times[name] !== undefined));
    const value = (row, name) => (row.times[name] === undefined ? null : row.times[name]);
    const table = plots.table({
      columns: [{ heading: "No.", numeric: true, digits: 0 }, { heading: "Row", wrap: true },
        ...measured.map((name) => ({ heading: explained[name].heading, meaning: explained[name].meaning, numeric: true, digits: explained[name].digits })),
        { heading: "Decode [Mpixel/s]", meaning: "All pixels of the images over all seconds of decoding, from bytes to pixels.", numeric: true },
        { heading: "Load per core", meaning: "Load average over the machine's cores when the jobs began, lowest to highest. Above 1: others were waiting, and times may be too long.", numeric: true },
        { heading: "Machine" }],
      rows: rows.map((row) => [row.number, row.label, ...measured.map((name) => value(row, name)), value(row, "decode"),
        row.times.load ? row.times.load.map((load) => sb.number(load, 1)).join(" … ") : null, times.machine(row)]),
    }, "Decoding, memory and energy");
    return el("div", { class: "table" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Decoding, memory and energy" }, table));
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  drawForm();
  update();
})((window.splatbench = window.splatbench || {}));
