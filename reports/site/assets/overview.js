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

  function line(row, shown) {
    const name = row.label + (row.variant ? ", " + row.variant : "");
    return el("tr", {},
      el("td", { class: "number" }, rankText(row)),
      el("td", { class: "col-method" },
        el("a", { href: "leaderboard.html#" + row.id }, name), " ",
        el("span", { class: "muted" }, board.table().columnTitles[row.column])),
      ...shown.map((column) => cell(row, column)),
      el("td", { class: "number" }, row.images + " of " + row.total));
  }

  function table(rows, data) {
    const shown = columns(data).filter((column) => rows.some((row) => board.mean(row, column.key) !== null));
    const head = (text, hint, numeric) => el("th", { scope: "col", class: numeric ? "number" : null, title: hint }, text);
    return el("div", { class: "table" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Best rows" },
      el("table", {},
        el("thead", {}, el("tr", {},
          head("Rank", "Range of ranks that the images allow; a dash where nothing can be told apart.", true),
          head("Method"),
          ...shown.map((column) => head(column.heading, column.meaning, true)),
          head("Images", "Results of images in the data set.", true))),
        el("tbody", {}, rows.slice(0, MOST).map((row) => line(row, shown))))));
  }

  function sentence(rows, ranked) {
    if (rows.length === 0) return "No row of this board is within that time.";
    const best = rows[0];
    if (!best.rank) return rows.length + " rows; " + (best.unranked || best.board.reason || "none of them is ranked") + ".";
    const even = ranked.filter((row) => row !== best && board.isBetter(best, row) === false).length;
    const name = best.label + ", " + board.table().columnTitles[best.column];
    if (even === 0) return "Ahead of the " + (ranked.length - 1) + " other ranked rows: " + name + ".";
    return "First of " + ranked.length + " ranked rows: " + name + "; " + even +
      (even === 1 ? " other is" : " others are") + " not told apart from it by these images.";
  }

  function show() {
    const data = board.table();
    const wanted = { dataset: field("dataset").value, track: field("track").value, target: field("target").value };
    if (!wanted.target) {
      said.textContent = "Nothing was measured on " + wanted.dataset + " at " + data.tracks[wanted.track] +
        "; the rate–distortion page compares methods by interpolation.";
      place.replaceChildren();
      return;
    }
    const rows = board.choose({ ...wanted, seconds: field("seconds").value || null });
    const busy = rows.filter((row) => row.busy).length;
    said.textContent = sentence(rows, rows.filter((row) => row.rank)) + (busy === 0 ? "" :
      " Times of " + busy + " of these " + rows.length + " rows were taken on a busy machine and may be too long.");
    const more = new URLSearchParams({ ...wanted, seconds: field("seconds").value });
    place.replaceChildren(...(rows.length === 0 ? [] : [
      table(rows, data),
      el("p", { class: "muted" }, rows.length > MOST ? "The best " + MOST + " of " + rows.length + ". " : "",
        el("a", { href: "leaderboard.html#" + more }, "All of them, with every column explained")),
    ]));
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
