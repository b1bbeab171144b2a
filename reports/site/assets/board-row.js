/* Cells of the leaderboard: one row of board.table() as a table row. */
(function (sb) {
  "use strict";

  const board = sb.board;
  const el = sb.element;

  const text = {
    // With one board chosen, what its name says already would only repeat in every row.
    budget: (row, state) => (state.target === "" ? row.budget : row.limits || "–"),
    column: (row) => board.table().columnTitles[row.column],
    device: (row) => row.devices.join(", ") || "–",
    label, rank, images, seeds, remarks,
    steps: (row) => (row.steps === undefined ? "–" : sb.number(row.steps, 0)),
  };

  /** The columns that are seen: the others where they are asked for, or sorted by. */
  board.columns = (state) => board.table().columns.filter((column) => !column.more || state.more === "1" || state.sort === column.key);

  /** The table row; `picked` ids have their box ticked, `pick(row, ticked)` is called when one changes. */
  board.rowElement = function (row, state, picked, pick) {
    const name = row.label + (row.variant ? " (" + row.variant + ")" : "") + ", " + row.budget;
    const box = el("input", {
      type: "checkbox", checked: picked.has(row.id), "aria-label": "Compare " + name,
      onchange: (event) => pick(row, event.target.checked),
    });
    const cells = board.columns(state).map((column) => {
      const make = text[column.key];
      const content = make ? make(row, state) : numeric(row, column, state);
      return el("td", { class: (column.numeric ? "number " : "") + "col-" + column.key.replaceAll("_", "-") }, content);
    });
    return el("tr", { id: row.id, class: row.column === "control" ? "control" : null }, el("td", { class: "pick" }, box), cells);
  };

  function numeric(row, column, state) {
    const value = board.mean(row, column.key, state.means);
    const shown = board.format(value, column.digits);
    const parts = [el("span", { class: row.board.best[column.key] === row.id ? "best" : null }, shown)];
    const counted = state.means === "shared" ? undefined : row.counts && row.counts[column.key];
    if (counted !== undefined) parts.push(small(el("span", { class: "partial" }, counted + " of " + row.images + " images")));
    if (column.key !== board.table().rankBy || value === null) return parts;
    const interval = state.means === "shared" && row.shared !== true ? row.sharedInterval : row.interval;
    if (interval) parts.push(small(sb.number(interval[0], column.digits) + " … " + sb.number(interval[1], column.digits)));
    if (row.shared && row.shared !== true && state.means !== "shared") {
      const shared = board.mean(row, column.key, "shared");
      parts.push(small(sb.number(shared, column.digits) + " on the " + row.board.images + " shared"));
    }
    return parts;
  }

  const small = (content) => el("span", { class: "interval line" }, content);

  /** A number with so many digits, or three significant ones where `digits` is null. */
  board.format = (value, digits) => (digits === null ? sb.significant(value) : sb.number(value, digits));

  function rank(row) {
    if (row.rank) return board.rankText(row);
    const why = board.whyUnranked(row);
    return el("span", { class: "muted", title: why, tabindex: why ? "0" : null, "aria-label": "not ranked: " + why, role: "note" }, "–");
  }

  /** "1", or "2–4" where several ranks are possible. */
  board.rankText = (row) => (row.rank[0] === row.rank[1] ? String(row.rank[0]) : row.rank[0] + "–" + row.rank[1]);

  /** The name, the settings that tell it from others; on a phone also what would need scrolling to be seen. */
  function label(row, state) {
    const data = board.table();
    const link = el("a", { href: sb.root + data.pages.methods[row.method] }, row.label);
    const column = data.columns.find((one) => one.key === data.rankBy);
    const facts = [data.columnTitles[row.column], text.budget(row, state)];
    const mean = board.mean(row, data.rankBy, state.means);
    if (column && mean !== null) facts.push(board.format(mean, column.digits) + " dB");
    return [link, row.variant ? small(row.variant) : "", el("span", { class: "interval line phone" }, facts.filter((fact) => fact !== "–").join(" · "))];
  }

  function images(row) {
    const shown = row.images + " of " + row.total;
    return row.images < row.total ? el("span", { class: "partial" }, shown) : shown;
  }

  function seeds(row) {
    if (row.seeds < 2) return String(row.seeds);
    const spread = row.spread === undefined ? "not in common" : "± " + sb.number(row.spread, 3) + " dB";
    return [String(row.seeds), small(spread)];
  }

  /** Chips; their texts unfold, since hints need a pointer. */
  function remarks(row) {
    const found = board.remarks(row);
    const why = row.column === "control" || !row.final ? "" : row.unranked || "";
    const chips = found.map((remark) => el("span", { class: "chip " + remark.kind }, remark.text));
    if (why) chips.push(el("span", { class: "chip" }, "not ranked"));
    if (!chips.length) return "";
    const lines = found.map((remark) => el("li", {}, el("strong", {}, remark.text), ": ", remark.hint));
    if (why) lines.push(el("li", {}, el("strong", {}, "not ranked"), ": ", why));
    return el("details", { class: "why" }, el("summary", {}, chips), el("ul", {}, lines));
  }
})((window.splatbench = window.splatbench || {}));
