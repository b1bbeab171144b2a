/* Two rows of one board against each other: what data/pairs.js says of the pair, and each image as a dot. */
(function (sb) {
  "use strict";

  const board = sb.board;
  const el = sb.element;
  const place = document.getElementById("pair-content");
  let latest = 0;

  /** Rows of one board, none to two: shows the pair, or how to choose one. */
  board.showPair = function (rows) {
    latest += 1;
    if (rows.length < 2) {
      const more = rows.length ? "Now tick the row to compare it with." : "Tick two rows of one board to compare them.";
      place.replaceChildren(el("p", { class: "muted" }, more));
      return;
    }
    const mine = latest;
    sb.load(sb.root + "data/pairs.js").then(
      () => { if (mine === latest) draw(rows[0], rows[1]); },
      (error) => { if (mine === latest) place.replaceChildren(el("p", { class: "notice", role: "alert" }, error.message)); },
    );
  };

  const name = (row) => row.label + (row.variant ? " (" + row.variant + ")" : "") + ", " + board.table().columnTitles[row.column] + ", " + row.budget;

  /** Image by image: {image, a, b, difference}, sorted by the difference; images that one of the two lacks are left out. */
  board.differences = function (data, a, b) {
    const [first, second] = [data.values[a.id], data.values[b.id]];
    const found = data.images[a.board.dataset].map((image, index) => ({ image, a: first[index], b: second[index] }));
    return found.filter((d) => d.a !== null && d.b !== null).map((d) => ({ ...d, difference: d.a - d.b })).sort((x, y) => x.difference - y.difference);
  };

  /** {difference, low, high, wins, ties, losses, p} of a against b, as computed over the images that the board shares, or
   * the two where one of them is not ranked: then without p. Null where the pair was not computed. */
  board.pairOf = function (data, a, b) {
    const known = data.boards[board.table().boards.indexOf(a.board)];
    if (!known) return null;
    const [i, j] = [known.rows.indexOf(a.id), known.rows.indexOf(b.id)];
    if (i < 0 || j < 0) return null;
    const m = known.rows.length;
    const at = (x, y) => known.pairs[x * m - (x * (x + 1)) / 2 + (y - x - 1)];
    const numbers = at(Math.min(i, j), Math.max(i, j));
    if (numbers === null) return null;
    const [difference, low, high, wins, ties, losses, p] = numbers;
    const turn = (value) => (value === null ? null : -value);
    return i < j ? { difference, low, high, wins, ties, losses, p }
      : { difference: -difference, low: turn(high), high: turn(low), wins: losses, ties, losses: wins, p };
  };

  function draw(a, b) {
    const data = sb.data("pairs");
    const images = board.differences(data, a, b);
    const pair = board.pairOf(data, a, b);
    const head = el("p", {}, el("strong", {}, name(a)), " minus ", el("strong", {}, name(b)));
    if (!images.length) {
      place.replaceChildren(head, el("p", { class: "notice" }, "No image has a result of both."));
      return;
    }
    const frame = sb.plots.frame("Difference in PSNR, image by image", "pair-plot");
    place.replaceChildren(head, facts(data, images, pair, whyUntested(a, b)), frame.node, links(a, images));
    frame.update({
      caption: "One dot per image, sorted. Right of zero the first row is better. Grey: a tie, less than " + data.tie + " dB apart, which is 0.00 as printed.",
      draw: (width) => dots(width, images, data.tie, pair),
      table: {
        columns: [{ heading: "Image" }, { heading: "First [dB]", numeric: true, digits: 2 }, { heading: "Second [dB]", numeric: true, digits: 2 }, { heading: "Difference [dB]", numeric: true, digits: 3 }],
        rows: images.map((d) => [d.image, d.a, d.b, d.difference]),
      },
    });
  }

  /** Why there is no test of two rows, one of which is not ranked. */
  function whyUntested(a, b) {
    const ranked = (row) => !row.unranked && row.column !== "control";
    return [a, b].filter((row) => !ranked(row)).map((row) => row.label + " takes no part in the ranks" + (row.unranked ? " (" + row.unranked + ")" : "")).join("; ") ||
      "one of the two takes no part in the ranks";
  }

  function facts(data, images, pair, unranked) {
    const signed = (value) => (value > 0 ? "+" : "") + sb.number(value, 3);
    const count = (test) => images.filter((d) => test(d.difference)).length;
    const mean = images.reduce((sum, d) => sum + d.difference, 0) / images.length;
    const tie = data.tie;
    const fact = (term, value) => el("div", {}, el("dt", {}, term), el("dd", {}, value));
    if (!pair) {
      return el("div", {}, el("dl", { class: "facts pairfacts" },
        fact("Mean difference, " + images.length + " images", signed(mean) + " dB"),
        fact("First better / tie / second better", [count((d) => d >= tie), count((d) => Math.abs(d) < tie), count((d) => d <= -tie)].join(" / ")),
      ), el("p", { class: "muted" }, "No interval and no p value: they are computed for the first 40 rows of a board."));
    }
    const interval = pair.low === null ? "none for fewer than three images" : signed(pair.low) + " … " + signed(pair.high) + " dB";
    const n = pair.wins + pair.ties + pair.losses;
    const p = pair.p === null ? "none: " + unranked : pair.p < 0.0001 ? "below 0.0001" : sb.significant(pair.p);
    return el("div", {}, el("dl", { class: "facts pairfacts" },
      fact("Mean difference, " + n + " shared images", signed(pair.difference) + " dB"),
      fact("95 % interval (BCa bootstrap)", interval),
      fact("First better / tie / second better", pair.wins + " / " + pair.ties + " / " + pair.losses),
      fact("p value (Wilcoxon signed-rank, two-sided)", p),
    ), n < data.narrowBelow && pair.low !== null ? el("p", { class: "muted" }, "Intervals of fewer than " + data.narrowBelow + " images are known to be somewhat too narrow.") : "");
  }

  function dots(width, images, tie, pair) {
    const marks = [
      Plot.ruleX([0], { stroke: "currentColor", strokeOpacity: 0.6 }),
      Plot.ruleY(images, { y: "image", x1: 0, x2: "difference", stroke: "var(--line)" }),
      Plot.dot(images, { y: "image", x: "difference", r: 4, fill: (d) => (Math.abs(d.difference) < tie ? "var(--series-control)" : d.difference > 0 ? "var(--series-0)" : "var(--series-1)") }),
    ];
    if (pair && pair.low !== null) {
      marks.unshift(Plot.rect([pair], { x1: "low", x2: "high", fill: "currentColor", fillOpacity: 0.07 }));
      marks.push(Plot.ruleX([pair.difference], { stroke: "currentColor", strokeDasharray: "4 3" }));
    }
    marks.push(sb.plots.tip(images, { y: "image", x: "difference", title: (d) => d.image + "\n" + sb.number(d.a, 2) + " − " + sb.number(d.b, 2) + " = " + sb.number(d.difference, 3) + " dB" }));
    const longest = Math.max(...images.map((d) => d.image.length));
    return Plot.plot(sb.plots.options("Differences in PSNR of " + images.length + " images, sorted; the table below has them", width, {
      height: 60 + 16 * images.length, marginLeft: Math.min(160, 16 + 7 * longest),
      x: { label: "Difference in PSNR [dB]", labelAnchor: "center", grid: true },
      y: { label: null, domain: images.map((d) => d.image), tickFormat: (text) => (text.length > 20 ? text.slice(0, 19) + "…" : text) }, marks,
    }));
  }

  function links(row, images) {
    const pages = board.table().pages.images[row.board.dataset];
    return el("p", { class: "imagelinks" }, "Look at them: ", images.flatMap((d) => [el("a", { href: sb.root + pages[d.image] }, d.image), " "]));
  }
})((window.splatbench = window.splatbench || {}));
