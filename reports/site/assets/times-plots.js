/* The drawings of the time page: quality against time, convergence, shares of stages, decoding. Each takes rows
 * {label, look, id, budget, means..., times} and gives what plots.frame shows. */
(function (sb) {
  "use strict";

  const plots = sb.plots;
  const times = (sb.times = {});
  const no = { heading: "No.", numeric: true, digits: 0 };
  const name = { heading: "Row", wrap: true };
  const MARGIN = 64; // on the right, for numbers of rows
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

  /** What tables say of a row whose jobs began while others were waiting. */
  times.machine = (row) => (row.times.busy ? sb.element("span", { class: "chip note", title: "Load average above the machine's cores: times may be too long." }, "busy") : "");

  const seconds = (value) => sb.significant(value) + " s";

  /** Numbers right of their points; those of points with nearly the same x, where they would stand on each other, in three
   * columns by turns. */
  function beside(points, channels, x, y, number) {
    const columns = [[], [], []];
    [...points].sort((a, b) => y(a) - y(b)).forEach((d, i, all) => {
      const near = all.slice(0, i).filter((other) => Math.abs(Math.log(x(d) / x(other))) < 0.1).length;
      columns[near % columns.length].push(d);
    });
    return columns.map((members, i) => Plot.text(members, { ...channels, text: number, dx: 11 + 15 * i, textAnchor: "start", fill: "currentColor", stroke: "var(--card)", strokeWidth: 3 }));
  }

  /** Figure 1 of the papers: PSNR against encode time, a point per row, bars for the interval and the range of times. */
  times.quality = function (rows) {
    const points = rows.filter((row) => row.psnr !== null);
    const front = times.front(points);
    const title = (d) => d.number + " " + d.label + "\n" + seconds(d.seconds) + " (" + seconds(d.times.range[0]) + " to " + seconds(d.times.range[1]) + ")" +
      "\n" + sb.number(d.psnr, 2) + " dB" + (d.interval ? " (" + sb.number(d.interval[0], 2) + " to " + sb.number(d.interval[1], 2) + ")" : "") +
      (d.times.busy ? "\nbusy machine" : "") + (d.times.warm ? "\nits start's " + seconds(d.times.warm) + " included" : "");
    return {
      caption: "One point per row: mean encode time and mean PSNR over its images. Upright: 95 % interval of the mean PSNR. Level: fastest to slowest image. Numbers are those of the legend and the tables. A dashed ring: begun on a busy machine, so that the time may be too long. The grey line joins the Pareto front: rows that no other one here beats in both.",
      empty: "No row has an encode time.",
      draw: (width) => (points.length ? Plot.plot(plots.options("PSNR against encode time, " + points.length + " rows; numbers in the table below", width, {
        marginRight: MARGIN,
        x: plots.xAxis("Encode time [s]", true, width),
        y: { label: "PSNR [dB] ↑", grid: true, nice: true },
        marks: [
          Plot.line(front, { x: "seconds", y: "psnr", curve: "step-after", stroke: "currentColor", strokeOpacity: 0.4, strokeWidth: 1.2 }),
          Plot.ruleX(points.filter((d) => d.interval), { x: "seconds", y1: (d) => d.interval[0], y2: (d) => d.interval[1], stroke: (d) => d.look.colour, strokeOpacity: 0.45 }),
          Plot.ruleY(points, { y: "psnr", x1: (d) => d.times.range[0], x2: (d) => d.times.range[1], stroke: (d) => d.look.colour, strokeOpacity: 0.45 }),
          Plot.dot(points.filter((d) => d.times.busy), { x: "seconds", y: "psnr", r: 9, stroke: "var(--note)", strokeDasharray: "3 2" }),
          Plot.dot(points, { x: "seconds", y: "psnr", ...plots.dots }),
          beside(points, { x: "seconds", y: "psnr" }, (d) => d.seconds, (d) => d.psnr, (d) => d.number),
          plots.tip(points, { x: "seconds", y: "psnr", title }),
        ],
      })) : null),
      table: {
        columns: [no, name, { heading: "Encode [s]", numeric: true }, { heading: "fastest", numeric: true }, { heading: "slowest", numeric: true }, psnr, { heading: "95 % interval" }, { heading: "Pareto front" }, { heading: "Machine" }, { heading: "Start [s]", numeric: true }],
        rows: points.map((d) => [d.number, d.label, d.seconds, d.times.range[0], d.times.range[1], d.psnr, d.interval ? sb.number(d.interval[0], 2) + " … " + sb.number(d.interval[1], 2) : "–", front.includes(d) ? "yes" : "", times.machine(d), d.times.warm || null]),
      },
    };
  };

  /** Mean training PSNR against "seconds" or "steps". */
  times.convergence = function (rows, axis, log) {
    const lines = rows.filter((row) => row.times.curve && row.times.curve[axis]).map((row) => {
      const [x, y] = row.times.curve[axis];
      return x.map((value, i) => ({ x: value, y: y[i], row, look: row.look }));
    });
    const ends = lines.map((line) => line[line.length - 1]);
    const label = axis === "steps" ? "Fitting steps" : "Seconds of fitting";
    const title = (d) => d.row.number + " " + d.row.label + "\n" + (axis === "steps" ? sb.number(d.x, 0) + " steps" : seconds(d.x)) + "\n" + sb.number(d.y, 2) + " dB, " + d.row.times.curve.images + " images";
    return {
      caption: "PSNR of the training picture as the fitting loop reports it (from its mean squared error where it reports that), mean over the images of a row; an image that has finished keeps its last value. It falls where a method adds Gaussians or begins to quantise.",
      empty: "None of these rows recorded how its fit went.",
      draw: (width) => (lines.length ? Plot.plot(plots.options("Training PSNR against " + label + ", " + lines.length + " rows; numbers in the table below", width, {
        marginRight: MARGIN,
        x: plots.xAxis(label, log, width),
        y: { label: "Training PSNR [dB]", grid: true, nice: true },
        marks: [
          ...lines.map((line) => Plot.line(line, { x: "x", y: "y", stroke: line[0].look.colour, strokeDasharray: line[0].look.dash, strokeWidth: 1.6 })),
          Plot.dot(ends, { x: "x", y: "y", ...plots.dots }),
          beside(ends, { x: "x", y: "y" }, (d) => d.x, (d) => d.y, (d) => d.row.number),
          plots.tip(lines.flat(), { x: "x", y: "y", title }),
        ],
      })) : null),
      table: {
        columns: [no, name, { heading: "Images", numeric: true, digits: 0 }, { heading: label, numeric: true }, { heading: "Training PSNR [dB]", numeric: true, digits: 2 }],
        rows: lines.flatMap((line) => thin(line).map((d) => [d.row.number, d.row.label, d.row.times.curve.images, d.x, d.y])),
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
    return {
      caption: "Mean share of each stage in the time that stages add up to. Stages of less than 0.5 % are together as “other”.",
      empty: "None of these rows recorded its stages.",
      draw: (width) => {
        if (!bars.length) return null;
        const text = (row) => row.number + " " + row.label + (row.times.busy ? " · busy machine" : "");
        const inner = width - 40;
        // Names stand above their bars, where they are whole at any width.
        const lines = Math.max(...staged.map((row) => Math.ceil((text(row).length * 6.8) / inner)));
        const height = 30 + 15 * lines;
        const middle = { y: (d) => d.row.id, x: (d) => (d.from + d.to) / 2 };
        return Plot.plot(plots.options("Share of each stage of encoding, " + staged.length + " rows; numbers in the table below", width, {
          height: 60 + height * staged.length, marginLeft: 20, marginRight: 20,
          x: { label: "Share of encode time", percent: true, labelAnchor: "center", domain: [0, 100], ticks: width < 500 ? 5 : 10 },
          y: { axis: null, domain: staged.map((row) => row.id), padding: 0 },
          marks: [
            Plot.text(staged, { y: "id", x: 0, text, textAnchor: "start", lineAnchor: "top", dy: 4 - height / 2, lineWidth: inner / 12, fill: "currentColor" }),
            Plot.barX(bars, { y: (d) => d.row.id, x1: "from", x2: "to", fill: "colour", fillOpacity: 0.3, stroke: "colour", insetTop: 15 * lines + 6, insetBottom: 3, insetLeft: 1, insetRight: 1 }),
            Plot.text(bars.filter((d) => d.share * inner > 6.5 * d.stage.length + 8), { ...middle, text: "stage", dy: 7.5 * lines + 1.5, fill: "currentColor" }),
            plots.tip(bars, { ...middle, title: (d) => d.row.number + " " + d.row.label + "\n" + d.stage + ": " + sb.number(100 * d.share, 1) + " %, " + seconds(d.value) }),
          ],
        }));
      },
      table: {
        columns: [no, name, { heading: "Stage" }, { heading: "Seconds", numeric: true }, { heading: "Share [%]", numeric: true, digits: 1 }],
        rows: bars.map((d) => [d.row.number, d.row.label, d.stage, d.value, 100 * d.share]),
      },
    };
  };
})((window.splatbench = window.splatbench || {}));
