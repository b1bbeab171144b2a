/* What the payloads of a .s2d file are read with (docs/s2d.md): a cursor over bytes, fixed-length bits, and the range
   decoder with its adaptive models. Whatever is not there or cannot be is an Error with a sentence. */
(function (sb) {
  "use strict";

  const TWO32 = 4294967296;
  const PRECISION = 16777216; // 2^24, the total of all frequencies of a model
  const SMOOTHINGS = [0, 1, 3];
  const FIRST_BLOCK = 16;
  const GROWTH = 16;
  const LARGEST_BLOCK = 65536;
  const MAX_COUNT = 4194304;

  /** Strings that cost one byte, in the order of their codes. */
  const WORDS = [
    "", "sum", "topk", "alpha", "tiles_3sigma", "tile_cap_256", "means", "colors", "scales", "angles", "cholesky",
    "opacities", "xyz", "covariance", "step", "beta", "codebooks", "indices", "pixels", "variant", "rs", "cholesky-q",
    "rs-q", "bits", "seed", "filter",
  ];

  /** Reads forward through a Uint8Array. */
  class Cursor {
    constructor(bytes, position = 0) {
      this.bytes = bytes;
      this.position = position;
    }

    get left() {
      return this.bytes.length - this.position;
    }

    take(count) {
      if (count > this.left) {
        throw new Error(`The data end early: ${count} bytes wanted at byte ${this.position}, ${this.left} left.`);
      }
      this.position += count;
      return this.bytes.subarray(this.position - count, this.position);
    }

    byte() {
      return this.take(1)[0];
    }

    /** Unsigned LEB128 of up to 64 bits, as a BigInt. */
    varint64() {
      let value = 0n;
      for (let shift = 0n; shift < 70n; shift += 7n) {
        const byte = this.byte();
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80 && value < 1n << 64n) return value;
        if (byte < 0x80) break;
      }
      throw new Error(`A number before byte ${this.position} does not fit 64 bits.`);
    }

    /** The same as a number: all lengths and sizes that a reader accepts are far below 2^53. */
    varint() {
      const value = this.varint64();
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw new Error(`A length or size before byte ${this.position} is ${value}, beyond every limit.`);
      }
      return Number(value);
    }

    string() {
      const code = this.byte();
      if (code >= 128) {
        if (code - 128 >= WORDS.length) throw new Error(`Unknown word code ${code} before byte ${this.position}.`);
        return WORDS[code - 128];
      }
      const raw = this.take(code);
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
      } catch {
        throw new Error(`A string before byte ${this.position} is not UTF-8.`);
      }
    }
  }

  /** Codes of a fixed or varying number of bits, most significant bit first. */
  class Bits {
    constructor(bytes) {
      this.bytes = bytes;
      this.position = 0; // in bits
    }

    /** The next 0 to 32 bits as an unsigned number. */
    take(count) {
      if (this.position + count > 8 * this.bytes.length) throw new Error("Fixed-length codes end early.");
      let value = 0;
      let left = count;
      while (left > 0) {
        const room = 8 - (this.position & 7);
        const n = Math.min(room, left);
        const part = (this.bytes[this.position >>> 3] >>> (room - n)) & ((1 << n) - 1);
        value = value * (1 << n) + part; // no shift: the result may have 32 bits
        this.position += n;
        left -= n;
      }
      return value;
    }

    /** Throws unless all that is left is less than a byte of zero bits. */
    finish() {
      const unused = 8 * this.bytes.length - this.position;
      if (unused >= 8 || (unused > 0 && this.take(unused) !== 0)) {
        throw new Error("Bits are left behind the last fixed-length code.");
      }
    }
  }

  function blockLength(done, count) {
    return Math.min(count - done, LARGEST_BLOCK, Math.max(FIRST_BLOCK, Math.floor(done / GROWTH)));
  }

  /** floor(a * b / c) for whole numbers: a double holds products up to 2^53 exactly. */
  function scaled(a, b, c) {
    return a * b <= Number.MAX_SAFE_INTEGER ? Math.floor((a * b) / c) : Number((BigInt(a) * BigInt(b)) / BigInt(c));
  }

  /** Ends of the symbols' intervals out of 2^24 by what has been counted, into `ends` [K]. */
  function buildModel(counts, smoothing, ends) {
    const k = counts.length;
    let s = counts;
    for (let pass = 0; pass < smoothing; pass++) {
      const next = new Float64Array(k);
      for (let i = 0; i < k; i++) next[i] = s[i > 0 ? i - 1 : 0] + 2 * s[i] + s[i < k - 1 ? i + 1 : k - 1];
      s = next;
    }
    const factor = smoothing === 0 ? 2 : 8;
    const prior = smoothing === 0 ? 1 : 4 ** smoothing;
    const free = PRECISION - k;
    let total = 0;
    for (let i = 0; i < k; i++) total += factor * s[i] + prior;
    let sum = 0;
    let largest = 0;
    for (let i = 0; i < k; i++) {
      ends[i] = scaled(factor * s[i] + prior, free, total);
      sum += ends[i];
      if (ends[i] > ends[largest]) largest = i;
    }
    ends[largest] += free - sum;
    let end = 0;
    for (let i = 0; i < k; i++) {
      end += ends[i] + 1;
      ends[i] = end;
    }
  }

  /** The first symbol whose interval ends behind q. */
  function symbolAt(ends, q) {
    let low = 0;
    let high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (q < ends[middle]) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The range decoder. Its state is the range and point - lower, 64 bits each, held as two halves of 32 bits. */
  class RangeDecoder {
    constructor(bytes) {
      this.words = new Uint32Array(Math.ceil(bytes.length / 4));
      bytes.forEach((byte, i) => {
        this.words[i >>> 2] |= byte << (24 - 8 * (i & 3));
      });
      this.next = 0;
      this.rangeHigh = TWO32 - 1;
      this.rangeLow = TWO32 - 1;
      this.high = this.word();
      this.low = this.word();
    }

    word() {
      const at = this.next++;
      return at < this.words.length ? this.words[at] : 0;
    }

    /** One symbol of a model. */
    symbol(ends) {
      const scale = this.rangeHigh * 256 + (this.rangeLow >>> 24); // at most 40 bits
      const scaleHigh = Math.floor(scale / 1048576); // two halves of 20 bits: products with 24 bits are exact
      const scaleLow = scale - scaleHigh * 1048576;
      let q = Math.min(PRECISION, Math.floor((this.high * TWO32 + this.low) / scale));
      // the quotient of rounded numbers may be off by one; the remainder is small, hence exact
      const top = q * scaleHigh;
      const bottom = (top % 4096) * 1048576 + q * scaleLow;
      const rest = (this.high - Math.floor(top / 4096)) * TWO32 + (this.low - bottom);
      if (rest < 0) q -= 1;
      else if (rest >= scale) q += 1;
      if (q >= PRECISION) throw new Error("Entropy-coded data are damaged.");

      const s = symbolAt(ends, q);
      const begin = s > 0 ? ends[s - 1] : 0;
      this.subtract(begin * scaleHigh, begin * scaleLow);
      const width = ends[s] - begin;
      const rangeTop = width * scaleHigh;
      const rangeBottom = (rangeTop % 4096) * 1048576 + width * scaleLow;
      this.rangeHigh = Math.floor(rangeTop / 4096) + Math.floor(rangeBottom / TWO32);
      this.rangeLow = rangeBottom % TWO32;
      if (this.rangeHigh === 0) {
        this.rangeHigh = this.rangeLow;
        this.rangeLow = 0;
        this.high = this.low;
        this.low = this.word();
      }
      return s;
    }

    /** point - lower -= top * 2^20 + rest. */
    subtract(top, rest) {
      const bottom = (top % 4096) * 1048576 + rest;
      let low = this.low - (bottom % TWO32);
      let high = this.high - Math.floor(top / 4096) - Math.floor(bottom / TWO32);
      if (low < 0) {
        low += TWO32;
        high -= 1;
      }
      this.low = low;
      this.high = high;
    }

    /** An adaptive stream of `count` symbols of `bits` bits: out[start + i * stride] |= symbol << shift. */
    stream(count, bits, smoothing, out, start, stride, shift) {
      const counts = new Float64Array(1 << bits);
      const ends = new Float64Array(1 << bits);
      let at = start;
      for (let done = 0; done < count; ) {
        const block = blockLength(done, count);
        buildModel(counts, smoothing, ends);
        const first = at;
        for (let i = 0; i < block; i++, at += stride) out[at] |= this.symbol(ends) << shift;
        let total = 0;
        for (let i = 0, j = first; i < block; i++, j += stride) counts[(out[j] >>> shift) & (counts.length - 1)] += 1;
        for (const c of counts) total += c;
        while (total > MAX_COUNT) {
          total = 0;
          for (let i = 0; i < counts.length; i++) total += counts[i] = Math.floor(counts[i] / 2);
        }
        done += block;
      }
    }

    finish() {
      if (this.next < this.words.length) throw new Error("Entropy-coded data go on behind the last symbol.");
    }
  }

  sb.s2d = sb.s2d || {};
  Object.assign(sb.s2d, { Cursor, Bits, RangeDecoder, SMOOTHINGS });
})((window.splatbench = window.splatbench || {}));
