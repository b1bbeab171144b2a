/* The .s2d file, version 1 (docs/s2d.md): splatbench.s2d.read(bytes) gives header and arrays, bit for bit. */
(function (sb) {
  "use strict";

  const MAGIC = [0x53, 0x32, 0x44];
  const VERSION = 1;
  const CHECKSUM_BYTES = 8;
  const MAX_ENTRIES = 64;
  const MAX_AXES = 8;
  const CODERS = 3;
  const MAX_PIXELS = 2 ** 31;
  const MAX_ROWS = 2 ** 26;
  /** Of decoded arrays: a quarter of what the command line accepts, since a page has less memory. */
  const MAX_DECODED = 2 ** 30;
  const FREE_BYTES = 2 ** 20;
  const EXPANSION = 1024;

  const TYPES = [
    { name: "uint8", bytes: 1, kind: "unsigned", array: Uint8Array },
    { name: "uint16", bytes: 2, kind: "unsigned", array: Uint16Array },
    { name: "uint32", bytes: 4, kind: "unsigned", array: Uint32Array },
    { name: "int8", bytes: 1, kind: "signed", array: Int8Array },
    { name: "int16", bytes: 2, kind: "signed", array: Int16Array },
    { name: "int32", bytes: 4, kind: "signed", array: Int32Array },
    { name: "float16", bytes: 2, kind: "float", array: Float32Array },
    { name: "float32", bytes: 4, kind: "float", array: Float32Array },
  ];

  function checkStart(bytes) {
    if (bytes.length < 4 || MAGIC.some((byte, i) => bytes[i] !== byte)) {
      throw new Error("This is not a .s2d file: it does not begin with 'S2D'.");
    }
    if (bytes[3] !== VERSION) {
      throw new Error(`This is a .s2d file of version ${bytes[3]}; this page reads version ${VERSION}.`);
    }
    const end = bytes.length - CHECKSUM_BYTES;
    const sum = end >= 4 ? sb.s2d.blake2b64(bytes.subarray(0, end)) : [];
    if (end < 4 || sum.some((byte, i) => byte !== bytes[end + i])) {
      throw new Error("The checksum does not fit: the file is damaged or cut off. Download or copy it again.");
    }
  }

  function readCount(cursor, what) {
    const count = cursor.varint();
    if (count > MAX_ENTRIES) throw new Error(`${count} ${what} are more than ${MAX_ENTRIES}.`);
    return count;
  }

  /** A number, a string, or a BigInt where a whole number is beyond 2^53. */
  function readMeta(cursor) {
    const kind = cursor.byte();
    if (kind === 0) {
      const z = cursor.varint64();
      const value = z & 1n ? -((z + 1n) >> 1n) : z >> 1n;
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    if (kind === 1) {
      const raw = cursor.take(8);
      const value = new DataView(raw.buffer, raw.byteOffset, 8).getFloat64(0, true);
      if (!Number.isFinite(value)) throw new Error("A meta value is not finite.");
      return value;
    }
    if (kind === 2) return cursor.string();
    throw new Error(`Unknown kind ${kind} of meta value.`);
  }

  function readEntry(cursor, rows) {
    const name = cursor.string();
    const kind = cursor.byte();
    const axes = cursor.byte();
    if ((kind & 15) >= TYPES.length || kind >> 4 >= CODERS || axes > MAX_AXES) {
      throw new Error(`Attribute '${name}': unknown type, coder or number of axes (${kind}, ${axes}).`);
    }
    const shape = [];
    for (let i = 0; i < axes; i++) {
      const n = cursor.varint();
      shape.push(n === 0 ? rows : n - 1);
    }
    return { name, type: TYPES[kind & 15], coder: kind >> 4, shape, length: cursor.varint() };
  }

  /** Throws before anything of the arrays' size is allocated. */
  function checkDeclared(entries, fileBytes) {
    let decoded = 0;
    for (const { name, shape, type } of entries) {
      const longest = Math.max(0, ...shape);
      if (longest > MAX_ROWS) {
        throw new Error(`Attribute '${name}': a length of ${longest} is beyond the limit of ${MAX_ROWS}.`);
      }
      decoded += shape.reduce((total, n) => total * n, type.bytes);
    }
    if (decoded > FREE_BYTES + EXPANSION * fileBytes) {
      throw new Error(`${decoded} bytes of arrays cannot come from a file of ${fileBytes} bytes.`);
    }
    if (decoded > MAX_DECODED) {
      throw new Error(`The file holds ${decoded} bytes of arrays; a page decodes at most ${MAX_DECODED}.`);
    }
  }

  function readHeader(cursor) {
    const method = cursor.string();
    const size = [cursor.varint(), cursor.varint()];
    if (Math.min(...size) < 1 || size[0] * size[1] > MAX_PIXELS) {
      throw new Error(`A picture of ${size[1]} x ${size[0]} pixels is outside 1 to ${MAX_PIXELS} pixels.`);
    }
    const blend = cursor.string();
    const compat = Array.from({ length: readCount(cursor, "compat flags") }, () => cursor.string());
    const meta = Object.create(null); // names come from the file: no prototype that they could meet
    for (let left = readCount(cursor, "meta values"); left > 0; left--) {
      const key = cursor.string();
      meta[key] = readMeta(cursor);
    }
    const rows = cursor.varint();
    const entries = Array.from({ length: readCount(cursor, "attributes") }, () => readEntry(cursor, rows));
    if (new Set(entries.map(({ name }) => name)).size !== entries.length) {
      throw new Error("Two attributes have the same name.");
    }
    return { method, size, blend, compat, meta, entries };
  }

  function readPayload(cursor, { name, type, coder, shape, length }) {
    try {
      return { type: type.name, shape, data: sb.s2d.readArray(coder, cursor.take(length), type, shape) };
    } catch (error) {
      throw new Error(`Attribute '${name}': ${error.message}`, { cause: error });
    }
  }

  /**
   * Decodes a file.
   *
   * @param {Uint8Array} bytes
   * @returns {{method: string, size: [number, number], blend: string, compat: string[], meta: Object,
   *   arrays: Object<string, {type: string, shape: number[], data: TypedArray}>}}
   *   size is [height, width]; float16 arrays come as Float32Array of the same values.
   * @throws {Error} with a sentence for the user: damaged, cut off, of another format, or beyond the limits.
   */
  function read(bytes) {
    checkStart(bytes);
    const cursor = new sb.s2d.Cursor(bytes.subarray(0, bytes.length - CHECKSUM_BYTES), 4);
    const { entries, ...header } = readHeader(cursor);
    const end = entries.reduce((total, { length }) => total + length, cursor.position);
    if (end > cursor.bytes.length || cursor.bytes.subarray(end).some((byte) => byte !== 0)) {
      throw new Error(`The payloads end at byte ${end}, the file at byte ${cursor.bytes.length}.`);
    }
    checkDeclared(entries, bytes.length);
    const arrays = Object.create(null);
    for (const entry of entries) arrays[entry.name] = readPayload(cursor, entry);
    return { ...header, arrays };
  }

  sb.s2d = sb.s2d || {};
  sb.s2d.read = read;
})((window.splatbench = window.splatbench || {}));
