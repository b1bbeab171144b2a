/* The leaderboard's rows without any page: filters, order, and which method suits a budget. Reads data/board.js. */
(function (sb) {
  "use strict";

  const board = (sb.board = sb.board || {});

  const BUSY = "Some of its jobs began while more threads wanted to run than there were cores: its times may be too long.";

  /** What filters are when an address says nothing; data set and target are chosen from the data. */
  board.DEFAULTS = {
    dataset: "", track: "gaussians", target: "", device: "", family: "", column: "", q: "",
    final: "1", controls: "1", seconds: "", means: "own", sort: "rank", order: "ascending",
  };

  let table = null;

  /** The data with each row's board put in its place; made once. */
  board.table = function () {
    if (table === null) {
      const data = sb.data("board");
      const place = Object.fromEntries(data.numbers.map((name, index) => [name, index]));
      const rows = data.rows.map((row) => Object.assign({}, row, {
        board: data.boards[row.board],
        devices: row.devices || [],
        // Counts are found with and without the spaces between thousands.
        text: [row.label, row.variant, row.method, row.budget, row.budget.replace(/\u202f/g, ""), data.columnTitles[row.column]]
          .join(" ").toLowerCase(),
      }));
      table = { ...data, place, rows, byId: new Map(rows.map((row) => [row.id, row])) };
    }
    return table;
  };

  /** The mean of a metric or quantity: over the row's own images, or ("shared") over those of its board; else null. */
  board.mean = function (row, name, over) {
    const index = board.table().place[name];
    if (index === undefined) return null;
    const means = over !== "shared" || row.shared === true ? row.means : row.shared || [];
    return means[index] === undefined ? null : means[index];
  };

  /** What a row is sorted by in a column. */
  board.value = function (row, key, over) {
    const data = board.table();
    if (key in data.place) return board.mean(row, key, over);
    // Ranges with the same best rank: the surer one first.
    if (key === "rank") return row.rank ? row.rank[0] + row.rank[1] / 1e5 : null;
    if (key === "steps") return row.steps === undefined ? null : row.steps;
    if (key === "images" || key === "seeds") return row[key];
    if (key === "column") return data.columnTitles[row.column];
    if (key === "device") return row.devices.join(", ");
    if (key === "remarks") return board.remarks(row).map((remark) => remark.text).join(" ");
    return row[key] === undefined ? null : row[key];
  };

  /** [{kind, text, hint}]: what must be known about a row beside its numbers. */
  board.remarks = function (row) {
    const found = [];
    if (row.column === "control") found.push({ kind: "", text: "control", hint: "Never ranked." });
    if (!row.final) found.push({ kind: "", text: "snapshot", hint: "A state on the way; only final results are ranked." });
    if (row.images < row.total) found.push({ kind: "note", text: "partial", hint: row.images + " of " + row.total + " images" });
    for (const failure of row.failures || []) found.push({ kind: "bad", text: failure.split(":")[0], hint: failure });
    if (row.busy) found.push({ kind: "note", text: "busy machine", hint: BUSY });
    if (row.stale) found.push({ kind: "stale", text: "stale", hint: row.stale.join("; ") });
    if (row.notRun) found.push({ kind: "note", text: "metric not run", hint: row.notRun.join("; ") });
    if (row.notes) found.push({ kind: "", text: "note", hint: row.notes.join("; ") });
    return found;
  };

  /** Whether row `a` is significantly better than row `b` of the same board; null where that was not tested. */
  board.isBetter = function (a, b) {
    const { order, better } = a.board;
    if (!order || a.board !== b.board) return null;
    const i = order.indexOf(a.id), j = order.indexOf(b.id);
    return i < 0 || j < 0 ? null : better[i][j] === "1";
  };

  /** Why a row has no rank; empty where it has one. */
  board.whyUnranked = function (row) {
    return row.rank ? "" : row.unranked || row.board.reason || "";
  };

  /** Boards of a data set and kind of budget that have something to rank, the fullest first. */
  board.targets = function (dataset, track) {
    const size = (b) => b.ranked * 1e4 + b.images;
    const found = board.table().boards.filter((b) => b.dataset === dataset && b.track === track);
    return found.sort((a, b) => size(b) - size(a) || (a.target < b.target ? -1 : 1)).map((b) => b.target);
  };

  /** The rows that a state (see DEFAULTS; "" stands for all) lets through. Controls have no target of their own board:
   * they are shown beside all rows of their data set, and beside one target only where theirs is the same. */
  board.filter = function (state) {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const most = state.seconds === "" ? Infinity : Number(state.seconds);
    return board.table().rows.filter((row) => {
      const { dataset, track, target } = row.board;
      if (state.dataset && dataset !== state.dataset) return false;
      if (track !== state.track && !(track === "controls" && state.controls === "1")) return false;
      if (state.target && target !== state.target) return false;
      if (state.final === "1" && !row.final) return false;
      if (state.device && !row.devices.includes(state.device)) return false;
      if (state.family && row.family !== state.family) return false;
      if (state.column && row.column !== state.column) return false;
      if (most < Infinity && !(board.mean(row, "encode_seconds") <= most)) return false;
      return words.every((word) => row.text.includes(word));
    });
  };

  /** Sorted by state.sort and state.order; rows without the value last, equal ones by the mean that ranks are by. Ranks
   * of different boards say nothing about each other: sorted by rank, the boards follow one another, controls last. */
  board.sorted = function (rows, state) {
    const data = board.table();
    const direction = state.order === "descending" ? -1 : 1;
    const better = data.columns.find((column) => column.key === data.rankBy).better === "lower" ? 1 : -1;
    const lines = rows.map((row, index) => ({
      row, index,
      board: state.sort === "rank" ? data.boards.indexOf(row.board) + (row.column === "control" ? data.boards.length : 0) : 0,
      value: board.value(row, state.sort, state.means),
      second: board.mean(row, data.rankBy, row.shared ? "shared" : "own"),
    }));
    const last = (value) => value === null || value === undefined;
    const compare = (a, b, sign) => {
      if (last(a) || last(b)) return last(a) - last(b);
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b)));
    };
    lines.sort((a, b) => a.board - b.board || compare(a.value, b.value, direction) || compare(a.second, b.second, better) || a.index - b.index);
    return lines.map((line) => line.row);
  };

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  /** "#dataset=kodak&track=gaussians" -> the state; "#<id of a row>" -> the board of that row, and its id as `row`. */
  board.readState = function (hash) {
    const text = hash.replace(/^#/, "");
    const state = { ...board.DEFAULTS, row: "" };
    const row = board.table().byId.get(text);
    if (row) return { ...state, ...board.stateOf(row), row: row.id };
    for (const [key, value] of new URLSearchParams(text)) if (key in board.DEFAULTS) state[key] = value;
    return board.completed(state, new URLSearchParams(text).has("target"));
  };

  /** The state that shows a row among those that it may be compared with. */
  board.stateOf = function (row) {
    const { dataset, track, target } = row.board;
    return { dataset, track, target, final: row.final ? "1" : "0" };
  };

  /** A state whose data set and target exist: the data set with most rows, the fullest board of it. */
  board.completed = function (state, keepsTarget) {
    const data = board.table();
    const counts = new Map();
    for (const row of data.rows) counts.set(row.board.dataset, (counts.get(row.board.dataset) || 0) + 1);
    const fullest = [...counts].sort((a, b) => b[1] - a[1]).map(([name]) => name);
    const dataset = counts.has(state.dataset) ? state.dataset : fullest[0] || "";
    const track = state.track in data.tracks ? state.track : board.DEFAULTS.track;
    const targets = board.targets(dataset, track);
    const known = targets.includes(state.target) || (keepsTarget && state.target === "");
    const target = known ? state.target : track === "controls" ? "" : targets[0] || "";
    const sort = data.columns.some((column) => column.key === state.sort) ? state.sort : board.DEFAULTS.sort;
    return { ...state, dataset, track, target, sort };
  };

  /** The state as the part of an address behind "#": what differs from the defaults, and always data set and target. */
  board.writeState = function (state) {
    const query = new URLSearchParams();
    for (const [key, fallback] of Object.entries(board.DEFAULTS)) {
      if (["dataset", "track", "target"].includes(key) || state[key] !== fallback) query.set(key, state[key]);
    }
    return query.toString();
  };

  /** Which method for my budget? The rows of one board whose mean encode time is at most `seconds`, best first: by rank,
   * then by the mean over the images that the board shares; rows that are not ranked follow. Without a target: of all
   * targets. Snapshots and controls are left out, since they answer another question.
   * choose({dataset: "kodak", track: "gaussians", target: "N = 28 000", seconds: 60}) -> rows of `table()`. */
  board.choose = function ({ dataset, track, target, seconds }) {
    const state = {
      ...board.DEFAULTS, dataset, track, target: target || "", controls: "0",
      seconds: seconds === undefined || seconds === null ? "" : String(seconds),
    };
    return board.sorted(board.filter(state), state);
  };
})((window.splatbench = window.splatbench || {}));
