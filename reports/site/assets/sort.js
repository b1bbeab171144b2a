/* Tables that are sorted by their headings. `<table data-sortable>` gets a button in every heading of its last header row,
 * but for `<th data-nosort>`. A cell is sorted by its `data-value`, else by its text; columns whose values are all
 * numbers by size, others as text in which "8" comes before "10". Cells without a value stay last in both directions.
 * `<th data-first="descending">`: what the first press does. */
(function (sb) {
  "use strict";

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const MISSING = new Set(["", "–", "-"]);

  /** Order of two texts, as people count: "8" before "10", capitals beside small letters. */
  sb.textOrder = collator.compare;

  /** Order of two values, numbers or text; null, undefined and NaN come last, whatever the direction (1 or -1). */
  sb.order = function (a, b, direction) {
    const noA = a === null || a === undefined || Number.isNaN(a);
    const noB = b === null || b === undefined || Number.isNaN(b);
    if (noA || noB) return noA - noB;
    const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
    return order * direction;
  };

  /** Puts a heading's content into a button that calls `press`; tells nothing about the order yet. */
  sb.sortButton = function (heading, press) {
    const button = sb.element("button", { type: "button", class: "sort", onclick: press });
    button.append(...heading.childNodes, sb.element("span", { class: "arrow", "aria-hidden": "true" }));
    heading.append(button);
    return button;
  };

  /** Marks a heading as sorted ("ascending" or "descending"), and the others of its row as not. */
  sb.markSorted = function (heading, order) {
    for (const other of heading.parentElement.children) {
      const mine = other === heading;
      if (mine) other.setAttribute("aria-sort", order);
      else other.removeAttribute("aria-sort");
      const arrow = other.querySelector("button.sort > .arrow");
      if (arrow) arrow.textContent = !mine ? "" : order === "ascending" ? " ▲" : " ▼";
    }
  };

  /** "28 000" or "−0.12" with the spaces and signs that people read -> a number; null where the text is none. */
  function parsed(text) {
    const plain = text.replace(/[\s\u202f]/g, "").replace("−", "-").replace(/^\+/, "");
    return plain !== "" && Number.isFinite(Number(plain)) ? Number(plain) : null;
  }

  function valueOf(row, index) {
    const cell = row.cells[index];
    if (!cell) return null;
    const text = (cell.dataset.value === undefined ? cell.textContent : cell.dataset.value).trim();
    return MISSING.has(text) ? null : text;
  }

  function sortRows(body, index, direction) {
    const lines = Array.from(body.rows, (row) => ({ row, text: valueOf(row, index), value: null }));
    const numbers = lines.map((line) => (line.text === null ? null : parsed(line.text)));
    const numeric = lines.every((line, i) => line.text === null || numbers[i] !== null);
    lines.forEach((line, i) => { line.value = numeric ? numbers[i] : line.text; });
    lines.sort((a, b) => sb.order(a.value, b.value, direction)); // stable: earlier orders break ties
    body.append(...lines.map((line) => line.row));
  }

  /** Makes one table sortable; a second call changes nothing. */
  sb.sortable = function (table) {
    const head = table.tHead && table.tHead.rows[table.tHead.rows.length - 1];
    if (!head || !table.tBodies.length || head.querySelector("button.sort")) return;
    Array.from(head.cells).forEach((heading, index) => {
      if (heading.dataset.nosort !== undefined) return;
      sb.sortButton(heading, () => {
        const before = heading.getAttribute("aria-sort");
        const order = before === null ? heading.dataset.first || "ascending"
          : before === "ascending" ? "descending" : "ascending";
        sortRows(table.tBodies[0], index, order === "ascending" ? 1 : -1);
        sb.markSorted(heading, order);
      });
    });
  };

  for (const table of document.querySelectorAll("table[data-sortable]")) sb.sortable(table);
})((window.splatbench = window.splatbench || {}));
