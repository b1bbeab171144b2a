/* The leaderboard's page: filters, table, the address. The data and their order are board-data.js. */
(function (sb) {
  "use strict";

  const board = sb.board;
  const el = sb.element;
  const data = board.table();
  const MOST = 200; // rows that are drawn at once
  const form = document.getElementById("filters");
  const place = document.getElementById("board");
  const summary = document.getElementById("summary");
  const picked = new Map(); // id -> row, in the order of choice
  board.DEFAULTS.more = "0"; // only this page has columns to fold
  let state = board.readState(location.hash);
  let written = null;
  let whole = false;

  // -- filters ---------------------------------------------------------------------------------------------------------

  const unique = (values) => [...new Set(values)].filter(Boolean).sort(sb.textOrder);

  /** name -> [[value, text], ...] of the selects, which depend on the data set and the kind of budget. */
  function choices() {
    const { dataset, track } = state;
    const here = data.rows.filter((row) => row.board.dataset === dataset && [track, "controls"].includes(row.board.track));
    const all = (text, values) => [["", text], ...values.map((value) => [value, value])];
    return {
      dataset: ["Data set", unique(data.boards.map((b) => b.dataset)).map((name) => [name, name])],
      track: ["Kind of budget", Object.entries(data.tracks)],
      target: ["Target (board)", all("all targets", board.targets(dataset, track))],
      family: ["Method", all("all methods", unique(here.map((row) => row.family)))],
      column: ["Column", [["", "all columns"], ...Object.entries(data.columnTitles)]],
      device: ["Device", all("all devices", unique(here.flatMap((row) => row.devices)))],
      means: ["Means over", [["own", "a row's own images"], ["shared", "the images that a board shares"]]],
    };
  }

  function select(name, [text, options]) {
    const known = options.some(([value]) => value === state[name]);
    if (!known) state[name] = options.length ? options[0][0] : "";
    const control = el("select", { name, onchange: (event) => change({ [name]: event.target.value }) },
      options.map(([value, shown]) => el("option", { value, selected: value === state[name] }, shown)));
    return el("label", { class: "select-" + name }, text, control);
  }

  function checkbox(name, text) {
    const change_ = (event) => change({ [name]: event.target.checked ? "1" : "0" });
    return el("label", { class: "check" }, el("input", { type: "checkbox", name, checked: state[name] === "1", onchange: change_ }), text);
  }

  function field(name, text, attributes) {
    const type = (event) => change({ [name]: event.target.value.trim() }, true);
    return el("label", {}, text, el("input", { name, value: state[name], oninput: type, ...attributes }));
  }

  function drawFilters() {
    const focused = form.contains(document.activeElement) ? document.activeElement.name : null;
    const lists = choices();
    form.replaceChildren(
      ...["dataset", "track", "target", "family", "column", "device"].map((name) => select(name, lists[name])),
      field("q", "Search", { type: "search", placeholder: "method, setting, budget" }),
      field("seconds", "Encode time at most [s]", { type: "number", min: "0", step: "any", inputmode: "decimal" }),
      select("means", lists.means),
      checkbox("final", "final results only"),
      checkbox("controls", "with controls"),
      checkbox("more", "more columns"),
      el("button", { type: "button", onclick: () => change(board.completed({ ...board.DEFAULTS }, false)) }, "Reset"),
    );
    if (focused) form.elements[focused].focus();
  }

  /** Takes over what has changed; `typing` leaves the form alone, since its caret would jump. */
  function change(values, typing) {
    state = { ...state, row: "", ...values };
    if ("dataset" in values || "track" in values) {
      state = board.completed({ ...state, target: values.target || "", family: "", device: "" }, false);
    }
    whole = false;
    if (!typing) drawFilters();
    written = "#" + board.writeState(state);
    location.replace(written);
    drawTable();
  }

  // -- table -----------------------------------------------------------------------------------------------------------

  function heading(column) {
    const id = "means-" + column.key.replaceAll("_", "-");
    const head = el("th", { scope: "col", class: (column.numeric ? "number " : "") + "col-" + column.key.replaceAll("_", "-"), title: column.meaning }, column.heading);
    const button = sb.sortButton(head, () => {
      const first = column.better === "higher" ? "descending" : "ascending";
      const other = state.order === "ascending" ? "descending" : "ascending";
      change({ sort: column.key, order: state.sort === column.key ? other : first }, true);
      place.querySelector('th[aria-sort] button').focus();
    });
    button.setAttribute("aria-describedby", id);
    return head;
  }

  function drawTable() {
    const rows = board.sorted(board.filter(state), state);
    const shown = whole ? rows : rows.slice(0, MOST);
    const columns = board.columns(state);
    const heads = columns.map(heading);
    const head = el("tr", {}, el("th", { scope: "col", class: "pick" }, el("span", { class: "sr" }, "Compare")), heads);
    const body = el("tbody", {}, shown.map((row) => board.rowElement(row, state, picked, pick)));
    const table = el("table", {}, el("caption", { class: "sr" }, title()), el("thead", {}, head), body);
    const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title() }, table);
    place.replaceChildren(rows.length ? scroll : el("p", { class: "notice" }, emptiness()));
    if (rows.length > shown.length) {
      place.append(el("button", { type: "button", class: "more", onclick: () => { whole = true; drawTable(); } }, "Show all " + sb.number(rows.length, 0) + " rows"));
    }
    sb.markSorted(heads[columns.findIndex((column) => column.key === state.sort)], state.order);
    summary.textContent = describe(rows, shown);
    mark();
  }

  const title = () => [state.dataset, data.tracks[state.track], state.target || "all targets"].join(" · ");

  function describe(rows, shown) {
    const count = rows.length === 1 ? "1 row" : sb.number(rows.length, 0) + " rows";
    const found = shown.length < rows.length ? count + ", of which " + shown.length + " are shown" : count;
    const one = data.boards.find((b) => b.dataset === state.dataset && b.track === state.track && b.target === state.target);
    if (!one) return found + ". Ranks are within each target.";
    const images = one.images === 1 ? "1 image" : one.images + " images";
    if (one.reason) return found + ". No ranks: " + one.reason + ".";
    return found + ". " + one.ranked + " are ranked, on the " + images + " that all of them share.";
  }

  function emptiness() {
    const exists = data.boards.some((b) => b.dataset === state.dataset && b.track === state.track);
    if (exists) return "No row fits these filters.";
    return state.track === "bytes"
      ? "No record of " + state.dataset + " has a byte budget (bpp). Real bytes are compared on the rate–distortion page."
      : "No record of " + state.dataset + " has such a budget.";
  }

  /** Scrolls to the row that the address names, and marks it. */
  function mark() {
    const row = state.row && document.getElementById(state.row);
    if (!row) return;
    row.classList.add("marked");
    row.scrollIntoView({ block: "center" });
    row.querySelector("input").focus({ preventScroll: true });
  }

  /** A tick: at most two rows, of one board. */
  function pick(row, ticked) {
    if (!ticked) picked.delete(row.id);
    else {
      for (const [id, other] of picked) if (other.board !== row.board) picked.delete(id);
      if (picked.size === 2) picked.delete(picked.keys().next().value);
      picked.set(row.id, row);
    }
    for (const box of place.querySelectorAll(".pick input")) box.checked = picked.has(box.closest("tr").id);
    board.showPair([...picked.values()]);
  }

  function follow() {
    if (location.hash === written || !(location.hash.includes("=") || data.byId.has(location.hash.slice(1)))) return;
    written = location.hash;
    state = board.readState(location.hash);
    whole = state.row !== "" && board.filter(state).length > MOST;
    drawFilters();
    drawTable();
  }

  whole = state.row !== "" && board.filter(state).length > MOST;
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", follow);
  drawFilters();
  drawTable();
  board.showPair([]);
})((window.splatbench = window.splatbench || {}));
