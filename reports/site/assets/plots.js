/* What all plots share: the frame (title, legend, caption, numbers as a table), the look of series, redrawing when the
 * width changes. Drawn by Observable Plot. */
(function (sb) {
  "use strict";

  const el = sb.element;
  const plots = (sb.plots = {});

  /** Shapes of Plot; with six colours, 42 looks before one returns. */
  const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];
  const COLOURS = 6;
  const MOST = 8; // items of a legend that are seen without unfolding
  const DASHES = [null, "6 3", "2 3", "8 3 2 3"];

  /** Gives each series {family, column} its look: colour and symbol by family, hollow and dashed for "as published", grey
   * for controls. The same family looks the same in all plots of a page. */
  plots.looks = function (series) {
    const families = [...new Set(series.filter((s) => s.column !== "control").map((s) => s.family))];
    const controls = [...new Set(series.filter((s) => s.column === "control").map((s) => s.family))];
    const used = new Map();
    return series.map((s) => {
      const control = s.column === "control";
      const index = (control ? controls : families).indexOf(s.family);
      const key = s.family + "\n" + s.column;
      const again = used.get(key) || 0; // variants of one family and column differ by their dashes
      used.set(key, again + 1);
      const published = s.column === "published";
      return {
        colour: control ? "var(--series-control)" : "var(--series-" + (index % COLOURS) + ")",
        symbol: SYMBOLS[index % SYMBOLS.length],
        hollow: control || published,
        dash: DASHES[(again + (control ? index : published ? 1 : 0)) % DASHES.length],
      };
    });
  };

  /** Channels of Plot.dot for points that carry their `look`. */
  plots.dots = {
    symbol: (d) => d.look.symbol, stroke: (d) => d.look.colour, r: 4.5, strokeWidth: 1.6,
    fill: (d) => (d.look.hollow ? "var(--card)" : d.look.colour),
  };

  /** Options of Plot.plot that all plots share; colours and symbols stand in the data. */
  plots.options = function (label, width, options) {
    return {
      width, height: Math.round(Math.min(460, Math.max(300, width * 0.55))), marginLeft: 52, marginBottom: 44, ariaLabel: label,
      color: { type: "identity" }, symbol: { type: "identity" }, style: { background: "transparent" }, ...options,
    };
  };

  /** Names of images for a sentence. */
  plots.few = (images) => (images.length > 8 ? images.slice(0, 7).join(", ") + " and " + (images.length - 7) + " others" : images.join(", "));

  /** A tick's text without an exponent: 0.05, 28 000. */
  plots.tick = (value) => (Math.abs(value) >= 1000 ? sb.number(value, 0) : String(Number(value.toPrecision(6))));

  /** A horizontal axis; a narrow logarithmic one has texts at 1 and 3 times powers of ten alone. */
  plots.xAxis = function (label, log, width) {
    const leading = (value) => Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
    const sparse = log && width < 500;
    return {
      type: log ? "log" : "linear", label, labelAnchor: "center", grid: true, ticks: width < 500 ? 4 : 8,
      tickFormat: (value) => (sparse && ![1, 3].includes(leading(value)) ? "" : plots.tick(value)),
    };
  };

  /** A tooltip for the nearest of the points: `title` says what it shows. */
  plots.tip = (points, channels) => Plot.tip(points, Plot.pointer({ ...channels, maxRadius: 40 }));

  /** A sample of a look, as legends show it: decoration, since its text stands beside it. */
  plots.swatch = function (look, lined) {
    const make = (tag, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
      return node;
    };
    const svg = make("svg", { viewBox: "-16 -8 32 16", width: 32, height: 16, "aria-hidden": "true" });
    const stroke = "stroke: " + look.colour + "; stroke-width: 1.6;";
    if (lined) svg.append(make("path", { d: "M-15 0H15", style: stroke, "stroke-dasharray": look.dash }));
    const shape = d3["symbol" + look.symbol[0].toUpperCase() + look.symbol.slice(1)];
    svg.append(make("path", { d: d3.symbol(shape, 50)(), style: stroke + "fill: " + (look.hollow ? "var(--card)" : look.colour) }));
    return svg;
  };

  /** A frame for a plot. Returns {node, update(spec)}; spec: {draw(width) -> element of Plot or null, caption, empty,
   * series: [{label, look, key, chip}] for the legend, which shows the first MOST and unfolds the others; hidden: Set of keys, toggle(key), lined,
   * table: {columns: [{heading, numeric, digits, meaning, wrap}], rows: [[text or number]]}}. */
  plots.frame = function (title, id) {
    const canvas = el("div", { class: "canvas" });
    const legend = el("ul", { class: "legend", "aria-label": "Series of " + title });
    const caption = el("figcaption", {});
    const details = el("details", {}, el("summary", {}, "Show as table"));
    const node = el("figure", { class: "plotbox", id }, el("h3", {}, title), canvas, legend, caption, details);
    let spec = null;
    let width = 0;

    function draw() {
      if (spec === null || width === 0) return;
      const plot = spec.draw(width);
      if (plot) asPicture(plot);
      canvas.replaceChildren(plot || el("p", { class: "muted" }, spec.empty || "There is nothing to draw."));
    }

    new ResizeObserver(([entry]) => {
      const now = Math.max(240, Math.floor(entry.contentRect.width));
      if (now !== width) { width = now; draw(); }
    }).observe(canvas);

    details.addEventListener("toggle", () => { if (details.open) fill(); });

    function fill() {
      const old = details.querySelector(".scroll");
      if (old) old.remove();
      details.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title + ", numbers" }, plots.table(spec.table, title)));
    }

    return {
      node,
      update(next) {
        spec = next;
        fillLegend(legend, spec);
        caption.textContent = spec.caption;
        if (details.open) fill();
        draw();
      },
    };
  };

  /** To a screen reader the drawing is one picture with one name; the names of its groups ("dot") would say nothing. */
  function asPicture(plot) {
    plot.setAttribute("role", "img");
    for (const group of plot.querySelectorAll("g[aria-label]")) {
      group.dataset.mark = group.getAttribute("aria-label");
      group.removeAttribute("aria-label");
    }
  }

  function fillLegend(legend, spec) {
    const old = legend.querySelector("details");
    const items = (spec.series || []).map((s) => legendItem(s, spec));
    const rest = items.splice(items.length > MOST + 1 ? MOST : items.length);
    legend.replaceChildren(...items);
    if (!rest.length) return;
    legend.append(el("li", { class: "rest" }, el("details", { open: Boolean(old && old.open) },
      el("summary", {}, rest.length + " others"), el("ul", { class: "legend" }, rest))));
  }

  function legendItem(series, spec) {
    const shown = !spec.hidden || !spec.hidden.has(series.key);
    const content = [plots.swatch(series.look, spec.lined), el("span", {}, series.label), series.chip ? el("span", { class: "chip note" }, series.chip) : null];
    if (!spec.toggle) return el("li", {}, content);
    return el("li", {}, el("button", { type: "button", "aria-pressed": String(shown), "data-key": series.key, onclick: () => spec.toggle(series.key) }, content));
  }

  /** The numbers of a plot as a table that can be sorted. */
  plots.table = function ({ columns, rows }, title) {
    const cell = (value, column) => {
      const isNumber = typeof value === "number";
      const shown = isNumber ? (column.digits === undefined || column.digits === null ? sb.significant(value) : sb.number(value, column.digits)) : value;
      return el("td", { class: column.numeric ? "number" : column.wrap ? "wrap" : null, "data-value": isNumber ? value : null }, shown === null ? "–" : shown);
    };
    const head = el("tr", {}, columns.map((c) => el("th", { scope: "col", class: c.numeric ? "number" : null, title: c.meaning }, c.heading)));
    const body = rows.map((row) => el("tr", {}, row.map((value, i) => cell(value, columns[i]))));
    const table = el("table", {}, el("caption", { class: "sr" }, title), el("thead", {}, head), el("tbody", {}, body));
    sb.sortable(table);
    return table;
  };
})((window.splatbench = window.splatbench || {}));
