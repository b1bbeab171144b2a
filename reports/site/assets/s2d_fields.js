/* From named arrays to Gaussians, with the checks of `gaussians_from_arrays`: what the layouts of all methods share. */
(function (sb) {
  "use strict";

  const MAX_MAGNITUDE = 2 ** 30;
  const FIELDS = ["means", "colors", "scales", "angles", "cholesky", "opacities"];
  const COMPAT = ["tiles_3sigma", "tile_cap_256"];
  const TOPK = { k: 10, epsilon: 1e-4, min_response: 1e-6 };
  const f32 = Math.fround;

  const sameShape = (a, b) => a.length === b.length && a.every((n, i) => n === b[i]);

  /** The data of an attribute of this type and shape. */
  function take(arrays, name, types, shape) {
    const array = arrays[name];
    if (!array || ![].concat(types).includes(array.type) || !sameShape(array.shape, shape)) {
      const found = array ? `${array.type} [${array.shape.join(", ")}]` : "missing";
      const wanted = `${[].concat(types).join(" or ")} [${shape.join(", ")}]`;
      throw new Error(`Attribute '${name}' should be ${wanted}, is ${found}.`);
    }
    return array.data;
  }

  const rowsOf = (arrays, name) => (arrays[name] && arrays[name].shape.length ? arrays[name].shape[0] : 0);
  const columnsOf = (arrays, name) => (arrays[name] && arrays[name].shape.length === 2 ? arrays[name].shape[1] : 0);

  function checkMagnitude(values, name) {
    for (const value of values) {
      if (!(Math.abs(value) <= MAX_MAGNITUDE)) {
        throw new Error(`Attribute '${name}' holds values that are NaN, infinite or beyond 2^30.`);
      }
    }
  }

  /** Covariances [3 N] (xx, xy, yy) in float64: those of thin Gaussians cancel in float32. */
  function fromScales(scales, angles) {
    const out = new Float64Array(3 * angles.length);
    for (let i = 0; i < angles.length; i++) {
      const [v1, v2] = [scales[2 * i] ** 2, scales[2 * i + 1] ** 2];
      const [c, s] = [Math.cos(angles[i]), Math.sin(angles[i])];
      out.set([c * c * v1 + s * s * v2, c * s * (v1 - v2), s * s * v1 + c * c * v2], 3 * i);
    }
    return out;
  }

  function fromCholesky(factor) {
    const out = new Float64Array(factor.length);
    for (let i = 0; i < factor.length; i += 3) {
      const [l11, l21, l22] = factor.subarray(i, i + 3);
      out.set([l11 * l11, l11 * l21, l21 * l21 + l22 * l22], i);
    }
    return out;
  }

  function topkOf(meta) {
    const topk = { ...TOPK };
    for (const name of Object.keys(TOPK)) if (name in meta) topk[name] = meta[name];
    const { k, epsilon, min_response: least } = topk;
    if (!(Number.isSafeInteger(k) && k >= 1 && epsilon >= 1e-30 && epsilon < Infinity && least > 0 && least <= 1)) {
      throw new Error(`The numbers of blend topk are out of range: k ${k}, epsilon ${epsilon}, min_response ${least}.`);
    }
    return topk;
  }

  /** What a layer takes from the header. */
  function shownBy({ blend, compat, meta }) {
    if (!["sum", "topk", "alpha"].includes(blend)) throw new Error(`Unknown blend '${blend}'.`);
    const unknown = compat.find((flag) => !COMPAT.includes(flag));
    if (unknown !== undefined) throw new Error(`Unknown compat flag '${unknown}'.`);
    const allowed = { sum: COMPAT, topk: ["tiles_3sigma"], alpha: [] }[blend];
    const odd = compat.find((flag) => !allowed.includes(flag));
    if (odd !== undefined) throw new Error(`Blend ${blend} knows no compat flag '${odd}'.`);
    const { gamma = 1, background = 0 } = meta;
    if (!(gamma > 0 && gamma < Infinity)) throw new Error(`Gamma must be a positive number, is ${gamma}.`);
    if (!Number.isFinite(background) || (background && blend !== "alpha")) {
      throw new Error(`A background of ${background} is none of blend ${blend}.`);
    }
    return { blend, compat: [...compat], topk: topkOf(meta), gamma, background };
  }

  /** The channels that are shown, [1 N] or [3 N], and a note where there are others. */
  function shownColors(colors, channels, meta, notes) {
    const groups = typeof meta.groups === "string" ? meta.groups.split(",") : null;
    const known = !groups || groups.every((g) => g === "1" || g === "3");
    if (!known || (groups && groups.reduce((n, g) => n + Number(g), 0) !== channels)) {
      throw new Error(`Textures of '${meta.groups}' channels do not make a picture of ${channels}.`);
    }
    const shown = groups ? Number(groups[0]) : channels < 3 ? 1 : 3;
    if (shown === channels) return { channels, colors };
    notes.push(
      groups
        ? `The file is a stack of ${groups.length} textures; the first is shown.`
        : `The picture has ${channels} channels; the first ${shown === 1 ? "is" : "three are"} shown.`,
    );
    const out = new Float32Array((colors.length / channels) * shown);
    for (let i = 0; i < out.length; i++) out[i] = colors[Math.floor(i / shown) * channels + (i % shown)];
    return { channels: shown, colors: out };
  }

  /** One layer of the fields of Gaussians, all float32; exactly what `gaussians_from_arrays` accepts. */
  function layer(file, arrays, notes) {
    const unknown = Object.keys(arrays).find((name) => !FIELDS.includes(name));
    if (unknown !== undefined) throw new Error(`Unknown attribute '${unknown}'; Gaussians have ${FIELDS.join(", ")}.`);
    const n = rowsOf(arrays, "means");
    const all = columnsOf(arrays, "colors");
    const means = take(arrays, "means", "float32", [n, 2]);
    const colors = take(arrays, "colors", "float32", [n, Math.max(1, all)]);
    if ("cholesky" in arrays === "scales" in arrays || "scales" in arrays !== "angles" in arrays) {
      throw new Error("A file of Gaussians holds either scales and angles, or Cholesky factors.");
    }
    for (const name of Object.keys(arrays)) checkMagnitude(arrays[name].data, name);
    const covariance =
      "cholesky" in arrays
        ? fromCholesky(take(arrays, "cholesky", "float32", [n, 3]))
        : fromScales(take(arrays, "scales", "float32", [n, 2]), take(arrays, "angles", "float32", [n]));
    const opacities = "opacities" in arrays ? take(arrays, "opacities", "float32", [n]) : null;
    if (opacities && opacities.some((o) => o < 0 || o > 1)) throw new Error("Opacities must be in [0, 1].");
    const header = shownBy(file);
    if (opacities && header.blend !== "alpha") throw new Error(`Blend '${header.blend}' takes no opacities.`);
    const shown = shownColors(colors, all, file.meta, notes);
    return { ...header, size: file.size, count: n, means, covariance, opacities, range: null, ...shown };
  }

  const attribute = (shape, data) => ({ type: "float32", shape, data });

  /** code * step + offset with the rounding of float32; step and offset by column. */
  function dequantise(codes, columns, step, offset) {
    return Float32Array.from(codes, (code, i) => f32(f32(code * step[i % columns]) + offset[i % columns]));
  }

  sb.s2d = sb.s2d || {};
  sb.s2d.fields = {
    MAX_MAGNITUDE, take, rowsOf, columnsOf, checkMagnitude, fromCholesky, attribute, dequantise, layer,
  };
})((window.splatbench = window.splatbench || {}));
