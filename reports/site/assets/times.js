/* The time page: which rows are drawn, and the table of decoding, memory and energy. */
(function (sb) {
  "use strict";

  const el = sb.element;
  const { board, plots, times } = sb;
  const data = board.table();
  const extra = sb.data("times").rows;
  const form = document.getElementById("filters");
  const note = document.getElementById("summary");
  const MOST = 40; // rows of a plot: more cannot be told apart

  const frames = {
    quality: plots.frame("Quality against encode time", "quality"),
    convergence: plots.frame("Convergence", "convergence"),
    stages: plots.frame("Share of each stage", "stages"),
  };
  for (const [name, frame] of Object.entries(frames)) document.getElementById(name + "-plot").append(frame.node);

  const state = { ...board.completed({ ...board.DEFAULTS }, false), axis: "seconds", log: "1", codecs: "0", hidden: new Set() };

  const devices = (dataset) => {
    const counts = new Map();
    for (const row of data.rows) if (row.board.dataset === dataset && extra[row.id]) for (const d of row.devices) counts.set(d, (counts.get(d) || 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1] || sb.textOrder(a[0], b[0])).map(([name]) => name);
  };

  /** Final rows with a time, of one device: times of different devices are not compared. */
  function chosen() {
    const found = data.rows.filter((row) => extra[row.id] && row.board.dataset === state.dataset && row.devices.includes(state.device) &&
      (row.board.track === "controls" ? state.codecs === "1" && quality(row) : !state.target || row.board.target === state.target));
    const looks = plots.looks(found);
    const rows = found.map((row, index) => ({
      id: row.id, look: looks[index], budget: row.budget, images: row.images, total: row.total, interval: row.interval, row, times: extra[row.id],
      label: row.label + (row.column === "control" ? "" : ", " + data.columnTitles[row.column]) + (row.variant ? " (" + row.variant + ")" : ""),
      seconds: board.mean(row, "encode_seconds"), psnr: board.mean(row, data.rankBy),
    }));
    return rows.sort((a, b) => a.seconds - b.seconds);
  }

  /** Copies of the original and other answers of 99 dB and more would squeeze the rest together. */
  const quality = (row) => board.mean(row, data.rankBy) !== null && board.mean(row, data.rankBy) < 99;

  function select(name, text, options) {
    if (!options.some(([value]) => value === state[name])) state[name] = options.length ? options[0][0] : "";
    return el("label", {}, text, el("select", { name, onchange: (event) => change({ [name]: event.target.value }) },
      options.map(([value, shown]) => el("option", { value, selected: value === state[name] }, shown))));
  }

  function drawForm() {
    const names = [...new Set(data.boards.map((b) => b.dataset))];
    const targets = data.boards.filter((b) => b.dataset === state.dataset && b.track !== "controls").map((b) => b.target);
    const focused = form.contains(document.activeElement) ? document.activeElement.name : null;
    form.replaceChildren(
      select("dataset", "Data set", names.map((name) => [name, name])),
      select("target", "Target", [["", "all targets"], ...[...new Set(targets)].map((target) => [target, target])]),
      select("device", "Device", devices(state.dataset).map((device) => [device, device])),
      select("axis", "Convergence against", [["seconds", "seconds"], ["steps", "fitting steps"]]),
      checkbox("log", "logarithmic convergence axis"),
      checkbox("codecs", "with classical codecs"),
    );
    if (focused) form.elements[focused].focus();
  }

  function checkbox(name, text) {
    const press = (event) => change({ [name]: event.target.checked ? "1" : "0" });
    return el("label", { class: "check" }, el("input", { type: "checkbox", name, checked: state[name] === "1", onchange: press }), text);
  }

  function change(values) {
    Object.assign(state, values, { hidden: new Set() });
    if ("dataset" in values) Object.assign(state, { target: board.completed({ ...state, target: "" }, false).target, device: "" });
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
    const legend = (members) => (rows.length <= MOST ? { hidden: state.hidden, toggle, series: members.map((row) => ({ key: row.id, label: row.label + ", " + row.budget, look: row.look })) } : {});
    frames.quality.update({ ...times.quality(visible), ...legend(rows) });
    frames.convergence.update({ ...times.convergence(few, state.axis, state.log === "1"), ...legend(rows.filter((row) => row.times.curve)), lined: true });
    frames.stages.update(times.stages(few));
    note.textContent = describe(rows);
    document.getElementById("decode-table").replaceChildren(costs(rows));
  }

  function describe(rows) {
    if (!rows.length) return "No row of these has an encode time.";
    const busy = rows.filter((row) => row.times.load && row.times.load[1] > 1).length;
    const threads = [...new Set(rows.flatMap((row) => row.times.threads || []))].sort((a, b) => a - b);
    const warm = rows.filter((row) => row.times.warm).length;
    return (rows.length === 1 ? "1 row" : rows.length + " rows") + " on " + state.device +
      (threads.length ? ", " + threads.join(" or ") + (threads.length === 1 && threads[0] === 1 ? " thread" : " threads") : "") + "." +
      (rows.length > MOST ? " Curves and stages show the fastest " + MOST + "; choose a target to see others." : "") +
      (busy ? " " + busy + " of them began on a busy machine (load average above its cores): their times may be too long." : "") +
      (warm ? " " + warm + " begin from another method's file; the time of that is part of theirs." : "");
  }

  /** Decoding, memory and energy as numbers: bars of them would tell less. */
  function costs(rows) {
    const measured = ["decode_seconds", "peak_memory_mib", "energy_joules"].filter((name) => name in data.place);
    const explained = Object.fromEntries(data.columns.map((column) => [column.key, column]));
    const table = plots.table({
      columns: [{ heading: "Row" }, { heading: "Budget" }, { heading: "Encode [s]", numeric: true, meaning: explained.encode_seconds && explained.encode_seconds.meaning },
        ...measured.map((name) => ({ heading: explained[name].heading, meaning: explained[name].meaning, numeric: true, digits: explained[name].digits })),
        { heading: "Decode [Mpixel/s]", meaning: "All pixels of the images over all seconds of decoding, from bytes to pixels.", numeric: true },
        { heading: "Threads", meaning: "That the encoder was allowed.", numeric: true }, { heading: "Load per core", meaning: "Load average over the machine's cores when the jobs began, lowest to highest. Above 1: others were waiting, and times may be too long.", numeric: true }],
      rows: rows.map((row) => [row.label, row.budget, row.seconds, ...measured.map((name) => board.mean(row.row, name)), row.times.decode || null,
        (row.times.threads || []).join(", ") || null, row.times.load ? row.times.load.map((value) => sb.number(value, 1)).join(" … ") : null]),
    }, "Decoding, memory and energy");
    return el("div", { class: "table" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Decoding, memory and energy" }, table));
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  drawForm();
  update();
})((window.splatbench = window.splatbench || {}));
