/* A layer of Gaussians as it is drawn: axes instead of covariances, the native 16 x 16 tiles that see each of them, and
   lists by tile. Definitions: docs/renderer.md. */
(function (sb) {
  "use strict";

  const TILE = 16;
  const CAP = 256;
  const LOG_255 = Math.log(255);
  const DEGENERATE = 1e-12;
  const EIGENVALUE_FLOOR = 0.1;
  const TEXELS = 3; // of a Gaussian in the data texture
  const EVERYWHERE = 1 << 24;
  const cache = new WeakMap();

  /** Exponent 1/2 d^T S^-1 d up to which a Gaussian takes part; Infinity where only tiles end it. */
  function limitOf(layer) {
    if (layer.blend !== "topk") return LOG_255;
    return layer.compat.includes("tiles_3sigma") ? Infinity : -Math.log(layer.topk.min_response);
  }

  function drawable(xx, xy, yy, signed) {
    const det = xx * yy - xy * xy;
    if (!Number.isFinite(det)) return false;
    return signed ? det !== 0 : xx > 0 && det > DEGENERATE * xx * yy;
  }

  /** Eigenvalues, the one of larger magnitude first, and its direction: {l1, l2, ex, ey}. */
  function axesOf(xx, xy, yy) {
    const half = (xx + yy) / 2;
    const root = Math.hypot((xx - yy) / 2, xy);
    const l1 = half + (half < 0 ? -root : root);
    const l2 = (xx * yy - xy * xy) / l1; // half - root would cancel
    const angle = Math.atan2(2 * xy, xx - yy) / 2 + (half < 0 ? Math.PI / 2 : 0);
    return { l1, l2, ex: Math.cos(angle), ey: Math.sin(angle) };
  }

  function tileRange(low, high, tiles) {
    return [Math.min(Math.max(Math.trunc(low), 0), tiles), Math.min(Math.max(Math.trunc(high), 0), tiles)];
  }

  /** Pixels [x0, y0, x1, y1) of the native tiles that a square of 3 sigma around the mean touches, as published. */
  function tileRectangle(layer, i) {
    const [xx, xy, yy] = layer.covariance.subarray(3 * i, 3 * i + 3);
    const half = (xx + yy) / 2;
    const largest = half + Math.sqrt(Math.max(EIGENVALUE_FLOOR, half * half - (xx * yy - xy * xy)));
    if (!(largest > 0)) return null;
    const reach = Math.ceil(3 * Math.sqrt(largest));
    const shift = layer.blend === "signed" ? 0 : 0.5;
    const [u, v] = [layer.means[2 * i] - shift, layer.means[2 * i + 1] - shift];
    const [height, width] = layer.size;
    const [x0, x1] = tileRange(u / TILE - reach / TILE, u / TILE + reach / TILE + 1, Math.ceil(width / TILE));
    const [y0, y1] = tileRange(v / TILE - reach / TILE, v / TILE + reach / TILE + 1, Math.ceil(height / TILE));
    return x0 < x1 && y0 < y1 ? [TILE * x0, TILE * y0, TILE * x1, TILE * y1] : null;
  }

  /** The box of the outline at the limit, in pixels. */
  function outlineBox(layer, i, limit) {
    const [rx, ry] = [0, 2].map((at) => Math.sqrt(2 * limit * layer.covariance[3 * i + at]));
    const [x, y] = [layer.means[2 * i], layer.means[2 * i + 1]];
    return [x - rx, y - ry, x + rx, y + ry];
  }

  /** Float32 numbers of all Gaussians: mean, direction; 1/sqrt|l1|, 1/sqrt|l2|, signs; colour, opacity. */
  function packGaussians(layer) {
    const { means, covariance, colors, channels, opacities, count } = layer;
    const out = new Float32Array(4 * TEXELS * count);
    const kept = [];
    for (let i = 0; i < count; i++) {
      const [xx, xy, yy] = covariance.subarray(3 * i, 3 * i + 3);
      if (!drawable(xx, xy, yy, layer.blend === "signed")) continue;
      const { l1, l2, ex, ey } = axesOf(xx, xy, yy);
      const rgb = channels === 1 ? [colors[i], colors[i], colors[i]] : colors.subarray(3 * i, 3 * i + 3);
      out.set([means[2 * i], means[2 * i + 1], ex, ey], 12 * i);
      out.set([1 / Math.sqrt(Math.abs(l1)), 1 / Math.sqrt(Math.abs(l2)), Math.sign(l1), Math.sign(l2)], 12 * i + 4);
      out.set([...rgb, opacities ? opacities[i] : 1], 12 * i + 8);
      kept.push(i);
    }
    return { numbers: out, kept };
  }

  /** For each tile the Gaussians whose rectangle touches it, ascending: {tilesX, tilesY, starts [T + 1], ids}. */
  function tileLists(size, kept, rectangles) {
    const [tilesY, tilesX] = size.map((n) => Math.ceil(n / TILE));
    const starts = new Uint32Array(tilesX * tilesY + 1);
    const clamp = (value, most) => Math.min(Math.max(Math.floor(value / TILE), 0), most);
    const each = (visit) =>
      rectangles.forEach(([x0, y0, x1, y1], j) => {
        if (x1 < 0 || y1 < 0 || x0 > tilesX * TILE || y0 > tilesY * TILE) return;
        for (let y = clamp(y0, tilesY - 1); y <= clamp(y1, tilesY - 1); y++) {
          for (let x = clamp(x0, tilesX - 1); x <= clamp(x1, tilesX - 1); x++) visit(y * tilesX + x, kept[j]);
        }
      });
    each((tile) => starts[tile + 1]++);
    for (let t = 0; t < tilesX * tilesY; t++) starts[t + 1] += starts[t];
    const ids = new Uint32Array(starts[tilesX * tilesY]);
    const filled = starts.slice();
    each((tile, i) => {
      ids[filled[tile]++] = i;
    });
    return { tilesX, tilesY, starts, ids };
  }

  /** What a sum draws: rows (index, x0, y0, x1, y1) of Gaussians and the pixels in which they count. */
  function instancesOf(layer, kept, rectangles) {
    if (!rectangles) return Int32Array.from(kept.flatMap((i) => [i, -EVERYWHERE, -EVERYWHERE, EVERYWHERE, EVERYWHERE]));
    if (!layer.compat.includes("tile_cap_256")) return Int32Array.from(kept.flatMap((i, j) => [i, ...rectangles[j]]));
    // Under the cap a Gaussian counts tile by tile; where it is left out of some, runs of a row's tiles are drawn.
    const closed = rectangles.map(([x0, y0, x1, y1]) => [x0, y0, x1 - 1, y1 - 1]);
    const { tilesX, starts, ids } = tileLists(layer.size, kept, closed);
    const full = (tile, i) => starts[tile + 1] - starts[tile] > CAP && i > ids[starts[tile] + CAP - 1];
    const rows = [];
    kept.forEach((i, j) => {
      const [x0, y0, x1, y1] = rectangles[j].map((n) => n / TILE);
      let leftOut = false;
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) leftOut = leftOut || full(y * tilesX + x, i);
      if (!leftOut) {
        rows.push(i, ...rectangles[j]);
        return;
      }
      for (let y = y0; y < y1; y++) {
        for (let x = x0, begin = x0; x <= x1; x++) {
          if (x < x1 && !full(y * tilesX + x, i)) continue;
          if (x > begin) rows.push(i, TILE * begin, TILE * y, TILE * x, TILE * (y + 1));
          begin = x + 1;
        }
      }
    });
    return Int32Array.from(rows);
  }

  /**
   * A layer ready for the GPU, made once per layer: {limit, numbers, instances} of blends that add,
   * {limit, numbers, lists} of those that choose or cover.
   */
  function prepare(layer) {
    if (cache.has(layer)) return cache.get(layer);
    const limit = limitOf(layer);
    const packed = packGaussians(layer);
    const byTiles = layer.blend === "signed" || layer.compat.length > 0;
    let { kept } = packed;
    let rectangles = null;
    if (byTiles) {
      const pairs = kept.map((i) => [i, tileRectangle(layer, i)]).filter(([, rectangle]) => rectangle);
      kept = pairs.map(([i]) => i);
      rectangles = pairs.map(([, rectangle]) => rectangle);
    }
    const prepared = { limit, numbers: packed.numbers };
    if (layer.blend === "sum" || layer.blend === "signed") {
      prepared.instances = instancesOf(layer, kept, rectangles);
    } else {
      const boxes = rectangles
        ? rectangles.map(([x0, y0, x1, y1]) => [x0, y0, x1 - 1, y1 - 1])
        : kept.map((i) => outlineBox(layer, i, limit));
      prepared.lists = tileLists(layer.size, kept, boxes);
    }
    cache.set(layer, prepared);
    return prepared;
  }

  sb.drawing = Object.assign(sb.drawing || {}, { prepare, axesOf, drawable, TILE, TEXELS });
})((window.splatbench = window.splatbench || {}));
