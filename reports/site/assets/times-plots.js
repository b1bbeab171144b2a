/* The drawings of the time page: quality against time, convergence, shares of stages, decoding. Each takes rows
 * {label, look, id, budget, means..., times} and gives what plots.frame shows. */
(function (sb) {
  "use strict";

  const plots = sb.plots;
  const times = (sb.times = {});
  const psnr = { heading: "PSNR [dB]", numeric: true, digits: 2 };

  /** Rows that no other one beats in both time and quality, fastest first: the Pareto front. */
  times.front = function (rows) {
    const sorted = [...rows].sort((a, b) => a.seconds - b.seconds || b.psnr - a.psnr);
    let best = -Infinity;
    return sorted.filter((row) => {
      const better = row.psnr > best;
      best = Math.max(best, row.psnr);
      return better;
    });
  };

  const busy = (row) => row.times.load && row.times.load[1] > 1;
  const seconds = (value) => sb.significant(value) + " s";

  /** Figure 1 of the papers: PSNR against encode time, a point per row, bars for the interval and the range of times. */
  times.quality = function (rows) {
    const points = rows.filter((row) => row.psnr !== null);
    const front = times.front(points);
    const title = (d) => d.label + "\n" + d.budget + "\n" + seconds(d.seconds) + " (" + seconds(d.times.range[0]) + " to " + seconds(d.times.range[1]) + ")" +
      "\n" + sb.number(d.psnr, 2) + " dB" + (d.interval ? " (" + sb.number(d.interval[0], 2) + " to " + sb.number(d.interval[1], 2) + ")" : "") +
      "\n" + d.images + " of " + d.total + " images" + (busy(d) ? "\nbusy machine" : "") + (d.times.warm ? "\nits start's " + seconds(d.times.warm) + " included" : "");
    return {
      caption: "One point per row: mean encode time and mean PSNR over its images. Upright: 95 % interval of the mean PSNR. Level: fastest to slowest image. The grey line joins the Pareto front: rows that no other one beats in both.",
      empty: "No row has an encode time.",
      draw: (width) => (points.length ? Plot.plot(plots.options("PSNR against encode time, " + points.length + " rows; numbers in the table below", width, {
        x: plots.xAxis("Encode time [s]", true, width),
        y: { label: "PSNR [dB] ↑", grid: true, nice: true },
        marks: [
          Plot.line(front, { x: "seconds", y: "psnr", curve: "step-after", stroke: "currentColor", strokeOpacity: 0.4, strokeWidth: 1.2 }),
          Plot.ruleX(points.filter((d) => d.interval), { x: "seconds", y1: (d) => d.interval[0], y2: (d) => d.interval[1], stroke: (d) => d.look.colour, strokeOpacity: 0.45 }),
          Plot.ruleY(points, { y: "psnr", x1: (d) => d.times.range[0], x2: (d) => d.times.range[1], stroke: (d) => d.look.colour, strokeOpacity: 0.45 }),
          Plot.dot(front, { x: "seconds", y: "psnr", r: 9, stroke: "currentColor", strokeOpacity: 0.5 }),
          Plot.dot(points, { x: "seconds", y: "psnr", ...plots.dots }),
          plots.tip(points, { x: "seconds", y: "psnr", title }),
        ],
      })) : null),
      table: {
        columns: [{ heading: "Row" }, { heading: "Budget" }, { heading: "Encode [s]", numeric: true }, { heading: "fastest", numeric: true }, { heading: "slowest", numeric: true }, psnr, { heading: "95 % interval" }, { heading: "Images", numeric: true, digits: 0 }, { heading: "Pareto front" }, { heading: "Machine" }, { heading: "Start [s]", numeric: true }],
        rows: points.map((d) => [d.label, d.budget, d.seconds, d.times.range[0], d.times.range[1], d.psnr, d.interval ? sb.number(d.interval[0], 2) + " … " + sb.number(d.interval[1], 2) : "–", d.images, front.includes(d) ? "yes" : "", busy(d) ? "busy" : "", d.times.warm || null]),
      },
    };
  };

  /** Mean training PSNR against "seconds" or "steps". */
  times.convergence = function (rows, axis, log) {
    const lines = rows.filter((row) => row.times.curve && row.times.curve[axis]).map((row) => {
      const [x, y] = row.times.curve[axis];
      return x.map((value, i) => ({ x: value, y: y[i], row, look: row.look }));
    });
    const label = axis === "steps" ? "Fitting steps" : "Seconds of fitting";
    const title = (d) => d.row.label + "\n" + d.row.budget + "\n" + (axis === "steps" ? sb.number(d.x, 0) + " steps" : seconds(d.x)) + "\n" + sb.number(d.y, 2) + " dB, " + d.row.times.curve.images + " images";
    return {
      caption: "PSNR of the training picture as the fitting loop reports it (from its mean squared error where it reports that), mean over the images of a row; an image that has finished keeps its last value. It falls where a method adds Gaussians or begins to quantise.",
      empty: "None of these rows recorded how its fit went.",
      draw: (width) => (lines.length ? Plot.plot(plots.options("Training PSNR against " + label + ", " + lines.length + " rows; numbers in the table below", width, {
        x: plots.xAxis(label, log, width),
        y: { label: "Training PSNR [dB]", grid: true, nice: true },
        marks: [
          ...lines.map((line) => Plot.line(line, { x: "x", y: "y", stroke: line[0].look.colour, strokeDasharray: line[0].look.dash, strokeWidth: 1.6 })),
          Plot.dot(lines.map((line) => line[line.length - 1]), { x: "x", y: "y", ...plots.dots }),
          plots.tip(lines.flat(), { x: "x", y: "y", title }),
        ],
      })) : null),
      table: {
        columns: [{ heading: "Row" }, { heading: "Budget" }, { heading: "Images", numeric: true, digits: 0 }, { heading: label, numeric: true }, { heading: "Training PSNR [dB]", numeric: true, digits: 2 }],
        rows: lines.flatMap((line) => thin(line).map((d) => [d.row.label, d.row.budget, d.row.times.curve.images, d.x, d.y])),
      },
    };
  };

  /** Every eighth point of a curve and its last: a table of all would say no more. */
  const thin = (line) => line.filter((_, i) => i % 8 === 0 || i === line.length - 1);

  const PATTERNS = 6;

  /** Share of each stage of the encode time, as stacked bars with their names in them. */
  times.stages = function (rows) {
    const staged = rows.filter((row) => row.times.stages);
    const names = [...new Set(staged.flatMap((row) => Object.keys(row.times.stages)))];
    const bars = staged.flatMap((row) => {
      const total = Object.values(row.times.stages).reduce((a, b) => a + b, 0);
      let from = 0;
      return Object.entries(row.times.stages).map(([stage, value]) => {
        const bar = { row, stage, value, from, share: value / total, colour: "var(--series-" + (names.indexOf(stage) % PATTERNS) + ")" };
        from += bar.share;
        return { ...bar, to: from };
      });
    });
    const name = (row) => row.label + ", " + row.budget;
    const shortened = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
    return {
      caption: "Mean share of each stage in the time that stages add up to. Stages of less than 0.5 % are together as “other”.",
      empty: "None of these rows recorded its stages.",
      draw: (width) => {
        if (!bars.length) return null;
        const left = Math.min(330, Math.round(width * 0.36));
        return Plot.plot(plots.options("Share of each stage of encoding, " + staged.length + " rows; numbers in the table below", width, {
          height: 60 + 26 * staged.length, marginLeft: left,
          x: { label: "Share of encode time", percent: true, labelAnchor: "center", domain: [0, 100], grid: true },
          y: { label: null, domain: staged.map((row) => row.id), tickFormat: (id) => shortened(name(staged.find((row) => row.id === id)), Math.floor(left / 6.4)) },
          marks: [
            Plot.barX(bars, { y: (d) => d.row.id, x1: "from", x2: "to", fill: "colour", fillOpacity: 0.3, stroke: "colour", inset: 1 }),
            Plot.text(bars.filter((d) => d.share * (width - left) > 6.5 * d.stage.length + 8), { y: (d) => d.row.id, x: (d) => (d.from + d.to) / 2, text: "stage", fill: "currentColor" }),
            plots.tip(bars, { y: (d) => d.row.id, x: (d) => (d.from + d.to) / 2, title: (d) => name(d.row) + "\n" + d.stage + ": " + sb.number(100 * d.share, 1) + " %, " + seconds(d.value) }),
          ],
        }));
      },
      table: {
        columns: [{ heading: "Row" }, { heading: "Budget" }, { heading: "Stage" }, { heading: "Seconds", numeric: true }, { heading: "Share [%]", numeric: true, digits: 1 }],
        rows: bars.map((d) => [d.row.label, d.row.budget, d.stage, d.value, 100 * d.share]),
      },
    };
  };
})((window.splatbench = window.splatbench || {}));
