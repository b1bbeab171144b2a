/* Overlays on a 2D canvas: the Gaussians as ellipses, and how many there are per area. */
(function (sb) {
  "use strict";

  const TURN = 2 * Math.PI;
  const CELL = 6; // least side of a density cell in canvas pixels
  /** Viridis (matplotlib, CC0) at equal distances: lightness grows evenly. */
  const VIRIDIS = [
    [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
    [170, 220, 50], [253, 231, 37],
  ];

  /** Colour [r, g, b] of a density, from 0 to 1 of the largest. */
  function viridis(value) {
    const at = Math.min(Math.max(value, 0), 1) * (VIRIDIS.length - 1);
    const i = Math.min(Math.floor(at), VIRIDIS.length - 2);
    return VIRIDIS[i].map((low, c) => Math.round(low + (at - i) * (VIRIDIS[i + 1][c] - low)));
  }

  /** Picture pixels per pixel of a layer, [x, y]. */
  const stretchOf = ({ size }, layer) => [size[1] / layer.size[1], size[0] / layer.size[0]];

  /** Calls visit(layer, i, x, y, stretch) for every Gaussian, with its mean in pixels of the picture. */
  function eachGaussian(gaussians, visit) {
    for (const layer of gaussians.layers) {
      const stretch = stretchOf(gaussians, layer);
      for (let i = 0; i < layer.count; i++) {
        visit(layer, i, layer.means[2 * i] * stretch[0], layer.means[2 * i + 1] * stretch[1], stretch);
      }
    }
  }

  /** The Gaussian's outline in pixels of the picture, or null where it has none (LIG's indefinite matrices). */
  function outlineOf(layer, i, x, y, [sx, sy], sigma) {
    const [xx, xy, yy] = layer.covariance.subarray(3 * i, 3 * i + 3);
    const scaled = [xx * sx * sx, xy * sx * sy, yy * sy * sy];
    if (!(xx > 0 && yy > 0 && xx * yy > xy * xy) || !sb.drawing.drawable(...scaled, false)) return null;
    const { l1, l2, ex, ey } = sb.drawing.axesOf(...scaled);
    return {
      layer, i, x, y,
      a: sigma * Math.sqrt(l1),
      b: sigma * Math.sqrt(Math.max(0, l2)),
      angle: Math.atan2(ey, ex),
      reachX: sigma * Math.sqrt(scaled[0]),
      reachY: sigma * Math.sqrt(scaled[2]),
      rank: Math.imul(i + 1, 2654435761) >>> 0, // spread evenly over the order of the file, which follows the picture
    };
  }

  /** The outlines that meet the view, [{...}]. */
  function outlinesInView(gaussians, view, width, height, sigma) {
    const [right, bottom] = [view.x + width / view.scale, view.y + height / view.scale];
    const found = [];
    eachGaussian(gaussians, (layer, i, x, y, stretch) => {
      const o = outlineOf(layer, i, x, y, stretch, sigma);
      if (!o || x + o.reachX < view.x || x - o.reachX > right || y + o.reachY < view.y || y - o.reachY > bottom) return;
      found.push(o);
    });
    return found;
  }

  /** The hue of a Gaussian, lightened: colours of a sum carry amplitudes, many of them near 0 or negative. */
  function colorOf({ layer, i }) {
    const at = layer.channels * i;
    const color = [0, 1, 2].map((c) => Math.abs(layer.colors[at + (layer.channels === 1 ? 0 : c)]));
    const largest = Math.max(...color, 1e-6);
    return color.map((value) => Math.round(115 + (140 * value) / largest));
  }

  /**
   * Draws outlines at `sigma` standard deviations in the hues of the Gaussians, over a thin dark rim for bright
   * ground. Of more than `limit` in view an even choice is drawn, which stays while the view moves little.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {{sigma: number, limit: number}} options sigma 1, 2 or 3
   * @returns {{drawn: number, total: number}} outlines drawn, and in view
   */
  sb.drawEllipses = function (context, gaussians, view, { sigma = 2, limit = 4000 } = {}) {
    const { width, height } = context.canvas;
    const found = outlinesInView(gaussians, view, width, height, sigma);
    const chosen = found.length > limit ? found.sort((p, q) => p.rank - q.rank).slice(0, limit) : found;
    const opacity = Math.min(1, Math.max(0.35, view.scale / 4));
    context.save();
    for (const o of chosen) {
      context.beginPath();
      const [x, y] = [(o.x - view.x) * view.scale, (o.y - view.y) * view.scale];
      context.ellipse(x, y, o.a * view.scale, o.b * view.scale, o.angle, 0, TURN);
      context.globalAlpha = 0.4 * opacity;
      context.lineWidth = 2.2;
      context.strokeStyle = "#000";
      context.stroke();
      context.globalAlpha = opacity;
      context.lineWidth = 1.1;
      context.strokeStyle = `rgb(${colorOf(o).join(" ")})`;
      context.stroke();
    }
    context.restore();
    return { drawn: chosen.length, total: found.length };
  };

  /** Counts per cell over the view and one cell around it: {counts, columns, rows, cell, x, y}. */
  function countCells(gaussians, view, width, height) {
    const cell = 2 ** Math.ceil(Math.log2(CELL / view.scale)); // powers of two: cells stay put while one zooms a little
    const x0 = Math.floor(view.x / cell) - 1;
    const y0 = Math.floor(view.y / cell) - 1;
    const columns = Math.ceil((view.x + width / view.scale) / cell) + 1 - x0;
    const rows = Math.ceil((view.y + height / view.scale) / cell) + 1 - y0;
    const counts = new Float32Array(columns * rows);
    eachGaussian(gaussians, (layer, i, x, y) => {
      const column = Math.floor(x / cell) - x0;
      const row = Math.floor(y / cell) - y0;
      if (column >= 0 && column < columns && row >= 0 && row < rows) counts[row * columns + column] += 1;
    });
    return { counts, columns, rows, cell, x: x0 * cell, y: y0 * cell };
  }

  /** Weights 1, 2, 1 along one axis, values beyond the ends repeated. */
  function smooth(values, columns, rows, dx, dy) {
    return values.map((value, i) => {
      const [x, y] = [i % columns, Math.floor(i / columns)];
      const before = x >= dx && y >= dy ? values[i - dx - dy * columns] : value;
      const after = x + dx < columns && y + dy < rows ? values[i + dx + dy * columns] : value;
      return (before + 2 * value + after) / 4;
    });
  }

  /**
   * Fills the canvas with the smoothed number of Gaussians per area, dark to bright from 0 to the largest in view.
   *
   * @param {CanvasRenderingContext2D} context
   * @returns {{max: number}} what the brightest colour stands for, in Gaussians per square pixel of the picture
   */
  sb.drawDensity = function (context, gaussians, view) {
    const { width, height } = context.canvas;
    const { counts, columns, rows, cell, x, y } = countCells(gaussians, view, width, height);
    const smoothed = smooth(smooth(counts, columns, rows, 1, 0), columns, rows, 0, 1);
    const largest = smoothed.reduce((a, b) => Math.max(a, b), 0);
    const pixels = new ImageData(columns, rows);
    smoothed.forEach((value, i) => pixels.data.set([...viridis(largest > 0 ? value / largest : 0), 255], 4 * i));
    const small = document.createElement("canvas");
    small.width = columns;
    small.height = rows;
    small.getContext("2d").putImageData(pixels, 0, 0);
    const side = cell * view.scale;
    context.save();
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    const [left, top] = [(x - view.x) * view.scale, (y - view.y) * view.scale];
    context.drawImage(small, left, top, columns * side, rows * side);
    context.restore();
    return { max: largest / (cell * cell) };
  };

  /** The CSS colour of a density, from 0 to 1 of the largest; for a legend. */
  sb.densityColor = (value) => `rgb(${viridis(value).join(" ")})`;
})((window.splatbench = window.splatbench || {}));
