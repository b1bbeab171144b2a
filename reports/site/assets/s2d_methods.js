/* What the files of each method mean, as its from_bytes says: splatbench.s2d.gaussians(bytes). One function per layout;
   methods that store the fields of Gaussians as they are share one. */
(function (sb) {
  "use strict";

  const f32 = Math.fround;
  const { MAX_MAGNITUDE, take, rowsOf, columnsOf, checkMagnitude, fromCholesky, attribute, dequantise, layer } =
    sb.s2d.fields;

  /** Whole number of a file's meta values within these bounds. */
  function whole(file, name, low, high) {
    const value = file.meta[name];
    if (!Number.isInteger(value) || value < low || value > high) {
      const found = value ?? "missing";
      throw new Error(`Meta value '${name}' should be a whole number from ${low} to ${high}, is ${found}.`);
    }
    return value;
  }

  /** The file's variant, one of these (undefined: files that name none). */
  function variantOf(file, known) {
    const { variant } = file.meta;
    if (!known.includes(variant)) throw new Error(`A file of '${file.method}' has no variant '${variant ?? "none"}'.`);
    return variant;
  }

  const plain = (file, notes) => [layer(file, file.arrays, notes)];

  function threedgs(file, notes) {
    if (file.blend !== "alpha") throw new Error(`3DGS blends by alpha, the file says '${file.blend}'.`);
    return plain(file, notes);
  }

  function gaussianimage(file, notes) {
    const variant = variantOf(file, ["cholesky", "rs", "cholesky-q", "rs-q"]);
    if (!variant.endsWith("-q")) return plain(file, notes);
    const a = file.arrays;
    const n = rowsOf(a, "xyz");
    const [stages, entries] = a.codebooks ? a.codebooks.shape : [0, 0];
    const xyz = take(a, "xyz", "float16", [n, 2]);
    const books = take(a, "codebooks", "float32", [stages, entries, 3]);
    const indices = take(a, "colors", "uint8", [n, stages]);
    const [step, beta] = [take(a, "step", "float32", [3]), take(a, "beta", "float32", [3])];
    const values = dequantise(take(a, "covariance", "uint16", [n, 3]), 3, step, beta);
    if (indices.some((index) => index >= entries)) {
      throw new Error(`A colour is outside a codebook of ${entries} entries.`);
    }
    const colors = new Float32Array(3 * n);
    for (let i = 0; i < 3 * n; i++) {
      const row = Math.floor(i / 3);
      for (let s = 0; s < stages; s++) colors[i] += books[(s * entries + indices[row * stages + s]) * 3 + (i % 3)];
    }
    const half = [file.size[1] / 2, file.size[0] / 2];
    const means = xyz.map((x, i) => half[i & 1] * f32(Math.tanh(x)) + half[i & 1] + 0.5);
    const rest = { means: attribute([n, 2], means), colors: attribute([n, 3], colors) };
    if (variant === "cholesky-q") {
      const cholesky = values.map((v, i) => (i % 3 === 1 ? v : v + 0.5));
      return [layer(file, { ...rest, cholesky: attribute([n, 3], cholesky) }, notes)];
    }
    const scales = new Float32Array(2 * n).map((_, i) => Math.abs(values[Math.floor(i / 2) * 3 + (i & 1)] + 0.5));
    const angles = new Float32Array(n).map((_, i) => -values[3 * i + 2]);
    return [layer(file, { ...rest, scales: attribute([n, 2], scales), angles: attribute([n], angles) }, notes)];
  }

  function imageGs(file, notes) {
    const variant = variantOf(file, [undefined, "scale", "inverse"]);
    if (variant === undefined) return plain(file, notes);
    const stored = ["means", "scales", "angles", "colors"];
    const unknown = Object.keys(file.arrays).find((name) => ![...stored, "step", "beta"].includes(name));
    if (unknown !== undefined) throw new Error(`Unknown attribute '${unknown}' of Image-GS.`);
    const a = file.arrays;
    const [step, beta] = [take(a, "step", "float32", [4]), take(a, "beta", "float32", [4])];
    checkMagnitude([...step, ...beta], "step' or 'beta");
    const n = rowsOf(a, "means");
    const columns = { means: 2, scales: 2, angles: 1, colors: Math.max(1, columnsOf(a, "colors")) };
    const values = {};
    stored.forEach((name, k) => {
      const data = take(a, name, ["uint8", "uint16", "float32"], [n, columns[name]]);
      values[name] = a[name].type === "float32" ? data : dequantise(data, 1, [step[k]], [beta[k]]);
    });
    const means = values.means.map((m, i) => m * file.size[1 - (i & 1)]);
    const reach = (s) => Math.min(MAX_MAGNITUDE, Math.abs(variant === "inverse" ? 1 / s : s));
    const arrays = {
      means: attribute([n, 2], means),
      scales: attribute([n, 2], values.scales.map(reach)),
      angles: attribute([n], values.angles),
      colors: attribute([n, columns.colors], values.colors),
    };
    return [layer(file, arrays, notes)];
  }

  function smartsplat(file, notes) {
    if (variantOf(file, ["float32", "codes"]) === "float32") return plain(file, notes);
    const a = file.arrays;
    const n = rowsOf(a, "angles");
    const channels = Math.max(1, columnsOf(a, "colors"));
    const bits = take(a, "bits", "uint8", [4]);
    if (bits.some((b) => b < 1 || b > 16)) throw new Error(`Expected four numbers of bits from 1 to 16, got ${bits}.`);
    const shapes = { means: [n, 2], scales: [n, 2], angles: [n], colors: [n, channels] };
    const codes = Object.entries(shapes).map(([name, shape], k) => {
      const data = take(a, name, "uint16", shape);
      if (data.some((code) => code >> bits[k])) {
        throw new Error(`Attribute '${name}' holds codes of more than ${bits[k]} bits.`);
      }
      return data;
    });
    const [at, pairs, turns, tints] = codes;
    const side = Math.max(...file.size);
    const [step, low] = [(1.25 * side) / 2 ** bits[0], -side / 8];
    const grid = Float32Array.from(at, (code) => f32(code * f32(step)) + f32(low));
    const scales = Float32Array.from(pairs, (code, i) => {
      const level = i & 1 ? pairs[i - 1] - code : code;
      if (level < 0) throw new Error("The smaller scale of a Gaussian is below the grid.");
      return 2 ** (level * (16 / 2 ** bits[1]) - 4);
    });
    const angles = Float32Array.from(turns, (code) => (code * Math.PI) / 2 ** bits[2]);
    const colors = Float32Array.from(tints, (code) => code * (8 / 2 ** bits[3]) - 4);
    if (channels === 3) fromLuma(colors);
    const arrays = {
      means: attribute([n, 2], grid),
      scales: attribute([n, 2], scales),
      angles: attribute([n], angles),
      colors: attribute([n, channels], colors),
    };
    return [layer(file, arrays, notes)];
  }

  /** Luma and the two chromas of SmartSplat's codes to R, G, B, in place. */
  function fromLuma(colors) {
    for (let i = 0; i < colors.length; i += 3) {
      const [y, a, b] = colors.subarray(i, i + 3);
      colors.set([y + a - b, y + b, y - a - b], i);
    }
  }

  function air(file, notes) {
    if (file.blend !== "sum") throw new Error(`AIR's Gaussians are blended by a sum, the file says '${file.blend}'.`);
    if (variantOf(file, ["plain", "codes"]) === "plain") return plain(file, notes);
    const [patch, stages] = [whole(file, "patch", 1, 65536), whole(file, "stages", 0, 8)];
    const stretch = whole(file, "stretch", 0, 1);
    const ranges = take(file.arrays, "ranges", "float32", [2, 8]);
    checkMagnitude(ranges, "ranges");
    const centres = airCentres(file, patch, stages);
    const values = airValues(file.arrays, centres, ranges);
    const n = values.length / 8;
    const [height, width] = file.size;
    const along = [stretch ? width / Math.max(width - 1, 1) : 1, stretch ? height / Math.max(height - 1, 1) : 1];
    const column = (shape, first, count, of) => {
      const out = new Float32Array(n * count);
      for (let i = 0; i < out.length; i++) out[i] = of(values[8 * Math.floor(i / count) + first + (i % count)], i);
      return attribute(shape, out);
    };
    const colors = new Float32Array(3 * n);
    for (let i = 0; i < n; i++) {
      const [y, cr, cb] = values.subarray(8 * i + 5, 8 * i + 8);
      colors.set([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 3 * i);
    }
    const all = centres.first.concat(centres.later);
    const arrays = {
      means: column([n, 2], 0, 2, (offset, i) => (all[i >> 1][i & 1] + offset) * along[i & 1] + 0.5),
      scales: column([n, 2], 2, 2, (scale) => scale),
      angles: column([n], 4, 1, (angle) => angle),
      colors: attribute([n, 3], colors),
    };
    return [layer(file, arrays, notes)];
  }

  /** Centres [x, y] of the patches that have a Gaussian in the first stage, and in later ones: samples at integers. */
  function airCentres(file, patch, stages) {
    const [height, width] = file.size;
    const [rows, columns] = [Math.ceil(height / patch), Math.ceil(width / patch)];
    const masks = take(file.arrays, "masks", "uint8", [rows * columns]);
    if (masks.some((mask) => mask >> stages)) throw new Error(`The masks speak of more than ${stages} stages.`);
    const of = (stage) => {
      const found = [];
      masks.forEach((mask, i) => {
        if (!((mask >> stage) & 1)) return;
        const x = (i % columns) * patch + (patch - 1) / 2;
        const y = Math.floor(i / columns) * patch + (patch - 1) / 2;
        found.push([Math.min(x, width - 1), Math.min(y, height - 1)]);
      });
      return found;
    };
    const later = Array.from({ length: Math.max(0, stages - 1) }, (_, stage) => of(stage + 1));
    return { first: stages ? of(0) : [], later: later.flat() };
  }

  /** What the codes stand for, [8 N]: those of the first stage, then those of later ones. */
  function airValues(arrays, { first, later }, ranges) {
    const columns = { xy: [0, 2], scale: [2, 2], angle: [4, 1], luma: [5, 1], chroma: [6, 2] };
    const codes = new Uint8Array(8 * (first.length + later.length));
    [[first.length, "0", 0], [later.length, "1", first.length]].forEach(([n, part, before]) => {
      for (const [name, [begin, count]] of Object.entries(columns)) {
        const data = take(arrays, name + part, "uint8", [n, count]);
        data.forEach((code, i) => {
          codes[8 * (before + Math.floor(i / count)) + begin + (i % count)] = code;
        });
      }
    });
    return dequantise(codes, 8, ranges.subarray(0, 8), ranges.subarray(8));
  }

  function lig(file) {
    const total = whole(file, "levels", 1, 8);
    const { form } = file.meta;
    if (form !== "direct" && form !== "cholesky") {
      throw new Error(`LIG has no form '${form ?? "none"}' of covariances.`);
    }
    const present = Array.from({ length: total }, (_, k) => `means${k}`).filter((name) => name in file.arrays).length;
    if (!present) throw new Error("The file holds no level.");
    const ranges = take(file.arrays, "ranges", "float32", [present - 1, 2]);
    checkMagnitude(ranges, "ranges");
    return Array.from({ length: present }, (_, k) => {
      const size = file.size.map((side) => Math.trunc(side * 2 ** (k - total + 1)));
      if (Math.min(...size) < 1) {
        throw new Error(`A picture of ${file.size[1]} x ${file.size[0]} pixels cannot have ${total} levels.`);
      }
      return {
        ...ligLevel(file.arrays, k, form),
        size,
        range: k ? { low: ranges[2 * k - 2], high: ranges[2 * k - 1] } : null,
      };
    });
  }

  function ligLevel(arrays, k, form) {
    const n = rowsOf(arrays, `means${k}`);
    const values = Object.entries({ means: 2, shape: 3, colors: 3 }).map(([name, columns]) => {
      const key = `${name}${k}`;
      const gridKey = `${name}_grid${k}`;
      let data;
      if (gridKey in arrays) {
        const grid = take(arrays, gridKey, "float32", [2, columns]);
        const codes = take(arrays, key, ["uint8", "uint16"], [n, columns]);
        data = dequantise(codes, columns, grid.subarray(0, columns), grid.subarray(columns));
      } else {
        data = take(arrays, key, "float32", [n, columns]);
      }
      checkMagnitude(data, key);
      return data;
    });
    const [means, shape, colors] = values;
    return {
      blend: form === "direct" ? "signed" : "sum",
      count: n,
      channels: 3,
      means,
      covariance: form === "direct" ? Float64Array.from(shape) : fromCholesky(shape),
      colors,
      opacities: null,
      topk: null,
      compat: [],
      gamma: 1,
      background: 0,
    };
  }

  const LAYOUTS = new Map([
    ["random_gaussians", plain],
    ["external", plain],
    ["instant_gi", plain],
    ["fast_2dgs", plain],
    ["threedgs", threedgs],
    ["gaussianimage", gaussianimage],
    ["image_gs", imageGs],
    ["smartsplat", smartsplat],
    ["air", air],
    ["lig", lig],
  ]);

  /**
   * The Gaussians of a file.
   *
   * @param {Uint8Array} bytes
   * @returns {{method: string, size: [number, number], count: number, layers: Object[], notes: string[]}}
   *   size is [height, width]. A layer has blend ("sum", "topk", "alpha", or "signed": LIG's symmetric matrices), size,
   *   count, channels (1 or 3), means Float32Array [2 N] in pixels of its size, covariance Float64Array [3 N]
   *   (xx, xy, yy) in square pixels, colors Float32Array [channels N], opacities Float32Array [N] or null, topk
   *   {k, epsilon, min_response}, compat, gamma, background, and range: null, or {low, high} of a layer that adds to
   *   the enlarged picture of those before it. notes: sentences on what is not shown.
   * @throws {Error} with a sentence for the user, also where the file holds no Gaussians.
   */
  function gaussians(bytes) {
    const file = sb.s2d.read(bytes);
    if (file.blend === "") {
      throw new Error(`A file of method '${file.method}' holds a picture without Gaussians: there are none to draw.`);
    }
    const layout = LAYOUTS.get(file.method);
    if (!layout) {
      const known = [...LAYOUTS.keys()].join(", ");
      throw new Error(`Files of method '${file.method}' cannot be drawn here; the page knows ${known}.`);
    }
    const notes = [];
    const layers = layout(file, notes);
    const count = layers.reduce((total, { count: n }) => total + n, 0);
    return { method: file.method, size: file.size, count, layers, notes };
  }

  sb.s2d.gaussians = gaussians;
})((window.splatbench = window.splatbench || {}));
