/* The three coders of .s2d arrays (docs/s2d.md): raw, planes, Morton. Each gives the bit patterns of the elements. */
(function (sb) {
  "use strict";

  const RAW = 0;
  const CONSTANT = 1;
  const ADAPTIVE = 2;
  const POOLED = 0x80;
  const MAX_BITS = 12;
  const MAX_COLUMNS = 64;
  const CLASS_BITS = 7;
  const TWO32 = 4294967296;

  /** Channels: the last of two or more axes if it is at most 64 long, else 1. */
  function columnsOf(shape) {
    const last = shape[shape.length - 1];
    return shape.length >= 2 && last >= 1 && last <= MAX_COLUMNS ? last : 1;
  }

  function planeWidths(bits) {
    if (bits <= MAX_BITS) return [bits];
    const widths = [];
    for (let low = 0; low < bits; low += 8) widths.push(Math.min(8, bits - low));
    return widths;
  }

  function checkBits(bits, type) {
    if (bits < 1 || bits > 8 * type.bytes) throw new Error(`${bits} bits per value cannot be of type ${type.name}.`);
  }

  function readRaw(bytes, type, count) {
    const cursor = new sb.s2d.Cursor(bytes);
    const width = cursor.byte();
    checkBits(width, type);
    const bits = new sb.s2d.Bits(cursor.take(Math.ceil((count * width) / 8)));
    const out = new Uint32Array(count);
    for (let i = 0; i < count; i++) out[i] = bits.take(width);
    bits.finish();
    if (cursor.left) throw new Error(`${cursor.left} bytes are left behind the last value.`);
    return out;
  }

  /** The mode bytes of all planes: {mode, constant, width, shift, start, stride, length} per stream. */
  function readStreams(cursor, bits, count, columns) {
    const streams = [];
    let shift = 0;
    for (const width of planeWidths(bits)) {
      for (let column = 0; column < columns; column++) {
        const code = cursor.byte();
        const mode = code & 0x7f;
        const pooled = (code & POOLED) !== 0;
        if (mode >= ADAPTIVE + sb.s2d.SMOOTHINGS.length || (pooled && column > 0)) {
          throw new Error(`Unknown stream mode ${code}.`);
        }
        const constant = mode === CONSTANT ? cursor.varint() : 0;
        if (constant >= 2 ** width) throw new Error(`The constant ${constant} does not fit ${width} bits.`);
        const where = pooled
          ? { start: 0, stride: 1, length: count }
          : { start: column, stride: columns, length: count / columns };
        streams.push({ mode, constant, width, shift, ...where });
        if (pooled) break;
      }
      shift += width;
    }
    return streams;
  }

  function readPlanes(bytes, type, count, columns) {
    const cursor = new sb.s2d.Cursor(bytes);
    const bits = cursor.byte();
    checkBits(bits, type);
    const streams = readStreams(cursor, bits, count, columns);
    const out = new Uint32Array(count);
    for (const s of streams.filter(({ mode }) => mode === RAW)) {
      const codes = new sb.s2d.Bits(cursor.take(Math.ceil((s.length * s.width) / 8)));
      for (let i = 0, at = s.start; i < s.length; i++, at += s.stride) out[at] |= codes.take(s.width) << s.shift;
      codes.finish();
    }
    const decoder = new sb.s2d.RangeDecoder(cursor.take(cursor.left));
    for (const s of streams) {
      if (s.mode === CONSTANT) {
        for (let i = 0, at = s.start; i < s.length; i++, at += s.stride) out[at] |= s.constant << s.shift;
      } else if (s.mode >= ADAPTIVE) {
        const smoothing = sb.s2d.SMOOTHINGS[s.mode - ADAPTIVE];
        decoder.stream(s.length, s.width, smoothing, out, s.start, s.stride, s.shift);
      }
    }
    decoder.finish();
    return out;
  }

  /** The even bits of 32, moved together. */
  function evenBits(x) {
    x &= 0x55555555;
    x = (x | (x >>> 1)) & 0x33333333;
    x = (x | (x >>> 2)) & 0x0f0f0f0f;
    x = (x | (x >>> 4)) & 0x00ff00ff;
    return (x | (x >>> 8)) & 0xffff;
  }

  /** From an unsigned integer in the order of the values to the bits of the value. */
  function unordered(v, type) {
    const top = type.bytes === 2 ? 0x8000 : 0x80000000;
    if (type.kind === "unsigned") return v;
    if (type.kind === "signed" || v & top) return v ^ top;
    return type.bytes === 2 ? v ^ 0xffff : ~v;
  }

  /** 64-bit differences by their classes. */
  function readDifference(c, bits, out) {
    out.low = c < 2 ? c : 0;
    out.high = 0;
    if (c < 2) return;
    const rest = (c >>> 1) - 1;
    if (rest > 32) out.high = bits.take(rest - 32);
    out.low = bits.take(Math.min(rest, 32));
    for (const [bit, at] of [[1, rest + 1], [c & 1, rest]]) {
      if (at < 32) out.low += bit * 2 ** at;
      else out.high += bit * 2 ** (at - 32);
    }
  }

  function readMorton(bytes, type, count) {
    const cursor = new sb.s2d.Cursor(bytes);
    const code = cursor.byte();
    if (code >= sb.s2d.SMOOTHINGS.length) throw new Error(`Unknown stream mode ${code}.`);
    const decoder = new sb.s2d.RangeDecoder(cursor.take(cursor.varint()));
    const bits = new sb.s2d.Bits(cursor.take(cursor.left));
    const classes = new Uint32Array(count);
    decoder.stream(count, CLASS_BITS, sb.s2d.SMOOTHINGS[code], classes, 0, 1, 0);
    decoder.finish();
    const out = new Uint32Array(2 * count);
    const difference = { low: 0, high: 0 };
    let low = 0;
    let high = 0;
    for (let i = 0; i < count; i++) {
      readDifference(classes[i], bits, difference);
      low += difference.low;
      high += difference.high + (low >= TWO32 ? 1 : 0);
      if (low >= TWO32) low -= TWO32;
      if (high >= TWO32 || (type.bytes === 2 && high > 0)) throw new Error("Positions leave the range of their type.");
      for (let axis = 0; axis < 2; axis++) {
        out[2 * i + axis] = unordered(evenBits(low >>> axis) | (evenBits(high >>> axis) << 16), type);
      }
    }
    bits.finish();
    return out;
  }

  function float16(h) {
    const sign = h & 0x8000 ? -1 : 1;
    const exponent = (h >>> 10) & 31;
    const fraction = h & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
  }

  /** Elements of a type from their bit patterns; float16 becomes a Float32Array of the same values. */
  function elements(patterns, type) {
    if (type.name === "float32") return new Float32Array(patterns.buffer);
    return type.name === "float16" ? Float32Array.from(patterns, float16) : type.array.from(patterns);
  }

  /** The typed array of one payload. `type`: {name, bytes, kind, array}. */
  function readArray(coder, bytes, type, shape) {
    const count = shape.reduce((total, n) => total * n, 1);
    if (count === 0) {
      if (bytes.length || coder !== 0) throw new Error("An empty array has data.");
      return elements(new Uint32Array(0), type);
    }
    if (coder === 2) {
      if (shape.length !== 2 || shape[1] !== 2 || type.bytes === 1) {
        throw new Error(`Positions cannot have shape ${shape.join(" x ")} and type ${type.name}.`);
      }
      return elements(readMorton(bytes, type, shape[0]), type);
    }
    const symbols = coder === 1 ? readPlanes(bytes, type, count, columnsOf(shape)) : readRaw(bytes, type, count);
    if (type.kind === "signed") {
      for (let i = 0; i < count; i++) symbols[i] = (symbols[i] >>> 1) ^ -(symbols[i] & 1);
    }
    return elements(symbols, type);
  }

  sb.s2d = sb.s2d || {};
  sb.s2d.readArray = readArray;
})((window.splatbench = window.splatbench || {}));
