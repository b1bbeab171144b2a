/* "Which method for my budget?": the best rows of one board within a time, from the leaderboard's data. */
(function (sb) {
  "use strict";

  const MOST = 8;
  const el = sb.element;
  const board = sb.board;
  const form = document.getElementById("choose-form");
  const place = document.getElementById("choose-result");
  const said = document.getElementById("choose-said");
  const field = (name) => form.elements.namedItem(name);
  const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  // "N = 28 000" and "N = 100 000" sort as numbers only without the spaces between thousands.
  const sortable = (text) => text.replace(/\u202f/g, "");

  function options(select, values, chosen) {
    select.replaceChildren(...values.map((value) => el("option", { value, selected: value === chosen }, value)));
    select.disabled = values.length === 0;
  }

  function fillTargets() {
    const found = board.targets(field("dataset").value, field("track").value);
    const fullest = found[0];
    options(field("target"), [...found].sort((a, b) => natural.compare(sortable(a), sortable(b))), fullest);
  }

  /** Kinds of budget that nothing was measured at on the data set cannot be chosen, and say so. */
  function markTracks() {
    for (const option of field("track").options) {
      const some = board.targets(field("dataset").value, option.value).length > 0;
      option.disabled = !some;
      option.textContent = board.table().tracks[option.value] + (some ? "" : " (nothing measured yet)");
    }
    if (field("track").selectedOptions[0].disabled) {
      field("track").value = [...field("track").options].find((option) => !option.disabled).value;
    }
  }

  function rankText(row) {
    if (!row.rank) return "–";
    return row.rank[0] === row.rank[1] ? String(row.rank[0]) : row.rank[0] + "–" + row.rank[1];
  }

  function columns(data) {
    const metric = (key) => data.columns.find((column) => column.key === key);
    const numbers = ["psnr", "ms_ssim", "lpips_alex", "lpips_vgg", "n_actual", "bpp", "encode_seconds", "decode_seconds"];
    return numbers.filter((key) => key in data.place).map(metric).filter(Boolean);
  }

  function cell(row, column) {
    const over = row.shared ? "shared" : "own";
    const value = board.mean(row, column.key, over);
    const text = column.digits === null ? sb.significant(value) : sb.number(value, column.digits);
    const interval = column.key === board.table().rankBy ? (row.shared === true ? row.interval : row.sharedInterval) : null;
    const hint = interval ? sb.number(interval[0], column.digits) + " to " + sb.number(interval[1], column.digits) : null;
    return el("td", { class: "number" }, text, hint && el("span", { class: "interval" }, " [" + hint + "]"));
  }

  /** A row's name with what tells it from others of its board: variant, limits on steps or time. */
  const nameOf = (row) => [row.label, row.variant, row.limits].filter(Boolean).join(", ");
  const columnOf = (row) => board.table().columnTitles[row.column];
  const counted = (n, one, many) => n + " " + (n === 1 ? one : many);

  function line(row, shown) {
    return el("tr", { class: row.column === "control" ? "control" : null },
      el("td", { class: "number", title: board.whyUnranked(row) || null }, rankText(row)),
      el("td", { class: "col-method" },
        el("a", { href: "leaderboard.html#" + row.id }, nameOf(row)), " ",
        el("span", { class: "muted" }, columnOf(row))),
      ...shown.map((column) => cell(row, column)),
      el("td", { class: "number" }, row.images + " of " + row.total));
  }

  function table(rows, title) {
    const shown = columns(board.table()).filter((column) => rows.some((row) => board.mean(row, column.key) !== null));
    const head = (text, hint, numeric) => el("th", { scope: "col", class: numeric ? "number" : null, title: hint }, text);
    return el("div", { class: "table" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
      el("table", {},
        el("thead", {}, el("tr", {},
          head("Rank", "Range of ranks that the images allow; a dash where nothing can be told apart.", true),
          head("Method"),
          ...shown.map((column) => head(column.heading, column.meaning, true)),
          head("Images", "Results of images in the data set.", true))),
        el("tbody", {}, rows.map((row) => line(row, shown))))));
  }

  /** What may be said of the order of rows that were measured on the same images. */
  function order(rows) {
    const ranked = rows.filter((row) => row.rank);
    if (ranked.length === 0) return "No order can be given: " + (rows[0].board.reason || board.whyUnranked(rows[0])) + ".";
    const best = ranked[0];
    const others = ranked.length - 1;
    const even = ranked.filter((row) => row !== best && board.isBetter(best, row) === false).length;
    const within = ranked.length < best.board.ranked ? " within that time" : "";
    const rank = best.rank[0] > 1 ? " (rank " + rankText(best) + " of the whole board)" : "";
    const name = nameOf(best) + ", " + columnOf(best) + rank;
    if (others === 0) return "The only ranked row" + within + ": " + name + ".";
    if (even === 0) return "Ahead of the " + counted(others, "other ranked row", "other ranked rows") + within + ": " + name + ".";
    return "First of " + ranked.length + " ranked rows" + within + ": " + name + "; " + even +
      (even === 1 ? " other is" : " others are") + " not told apart from it by these images.";
  }

  const decibels = (row) => sb.number(board.mean(row, "psnr", row.shared ? "shared" : "own"), 2) + " dB";

  /** Sentences on the rows: their order, who is left out of it, what controls reach, how far times can be trusted. */
  function sentences(rows, controls) {
    const said = [order(rows)];
    const left = rows.some((row) => row.rank) ? rows.filter((row) => !row.rank && !row.noContender) : [];
    for (const row of left.slice(0, 3)) said.push(nameOf(row) + " (" + decibels(row) + ") is not ranked: " + board.whyUnranked(row) + ".");
    if (controls.length > 0) said.push("Beside them, controls: " + controls.map((row) => row.label + " " + decibels(row)).join(", ") + ".");
    const busy = rows.filter((row) => row.busy).length;
    if (busy > 0) {
      said.push("Times of " + (busy === rows.length ? "these rows" : busy + " of these " + rows.length + " rows") +
        " were taken on a busy machine and may be too long.");
    }
    return said;
  }

  /** Controls of the same target, the best first: lines to measure the methods by, never ranked. */
  function controlsOf(wanted) {
    const found = board.choose({ ...wanted, track: "controls" });
    return found.sort((a, b) => board.mean(b, "psnr") - board.mean(a, "psnr"));
  }

  function show() {
    const wanted = { dataset: field("dataset").value, track: field("track").value, target: field("target").value };
    const rows = board.choose({ ...wanted, seconds: field("seconds").value || null });
    // Rows that lack an image of the board are shown apart: their means are over other images.
    const same = rows.filter((row) => row.shared);
    const apart = rows.filter((row) => !row.shared);
    const controls = controlsOf(wanted);
    const shown = same.length === 0 ? rows : same;
    said.textContent = rows.length === 0 ? "No row of this board is within that time." : sentences(shown, controls).join(" ");
    const more = new URLSearchParams({ ...wanted, seconds: field("seconds").value });
    place.replaceChildren(
      ...(same.length === 0 ? [] : [table([...same.slice(0, MOST), ...controls], "Rows on the same images")]),
      ...(apart.length === 0 ? [] : [
        el("details", { open: same.length === 0 },
          el("summary", {}, counted(apart.length, "row", "rows") + " on other images: not to be compared with each other or the rows above"),
          table(apart.slice(0, MOST), "Rows on other images")),
      ]),
      el("p", { class: "muted" }, same.length > MOST ? "The first " + MOST + " of " + same.length + ". " : "",
        el("a", { href: "leaderboard.html#" + more }, "All of them, with every column explained")),
    );
  }

  function start() {
    const data = board.table();
    const found = [...new Set(data.boards.filter((b) => b.track !== "controls").map((b) => b.dataset))].sort();
    if (found.length === 0) {
      said.textContent = "Only controls were measured so far.";
      form.hidden = true;
      return;
    }
    const initial = board.completed({ ...board.DEFAULTS }, false);
    options(field("dataset"), found, initial.dataset);
    field("track").value = "gaussians";
    markTracks();
    fillTargets();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      if (event.target.name === "dataset") markTracks();
      if (["dataset", "track"].includes(event.target.name)) fillTargets();
      show();
    });
    show();
  }

  start();
})((window.splatbench = window.splatbench || {}));
