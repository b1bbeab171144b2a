/* BLAKE2b (RFC 7693) without a key, with a digest of 8 bytes: the checksum of .s2d files. 64-bit words are pairs of
   32-bit numbers, low half first. */
(function (sb) {
  "use strict";

  const DIGEST_BYTES = 8;
  const BLOCK_BYTES = 128;
  const ROUNDS = 12;
  const IV = new Uint32Array([
    0xf3bcc908, 0x6a09e667, 0x84caa73b, 0xbb67ae85, 0xfe94f82b, 0x3c6ef372, 0x5f1d36f1, 0xa54ff53a,
    0xade682d1, 0x510e527f, 0x2b3e6c1f, 0x9b05688c, 0xfb41bd6b, 0x1f83d9ab, 0x137e2179, 0x5be0cd19,
  ]);
  const SIGMA = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
  ];
  /** Words that one mixing takes: the columns of the state, then its diagonals. */
  const MIXED = [
    [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
    [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
  ];

  /** v[a] += w[b], 64-bit; a and b are indices of low halves. */
  function add(v, a, w, b) {
    const low = v[a] + w[b];
    v[a + 1] = v[a + 1] + w[b + 1] + (low > 0xffffffff ? 1 : 0);
    v[a] = low;
  }

  /** v[d] = (v[d] xor v[a]) turned right by `bits`, one of 16, 24, 32 and 63. */
  function xorTurn(v, d, a, bits) {
    const low = v[d] ^ v[a];
    const high = v[d + 1] ^ v[a + 1];
    if (bits === 32) {
      v[d] = high;
      v[d + 1] = low;
    } else if (bits === 63) {
      v[d] = (low << 1) | (high >>> 31);
      v[d + 1] = (high << 1) | (low >>> 31);
    } else {
      v[d] = (low >>> bits) | (high << (32 - bits));
      v[d + 1] = (high >>> bits) | (low << (32 - bits));
    }
  }

  function mix(v, words, message, x, y) {
    const [a, b, c, d] = [2 * words[0], 2 * words[1], 2 * words[2], 2 * words[3]];
    add(v, a, v, b);
    add(v, a, message, 2 * x);
    xorTurn(v, d, a, 32);
    add(v, c, v, d);
    xorTurn(v, b, c, 24);
    add(v, a, v, b);
    add(v, a, message, 2 * y);
    xorTurn(v, d, a, 16);
    add(v, c, v, d);
    xorTurn(v, b, c, 63);
  }

  /** Works the block `message` into the state h; `done` bytes are in it and all blocks before it. */
  function compress(h, v, message, done, last) {
    v.set(h);
    v.set(IV, 16);
    v[24] ^= done % 4294967296;
    v[25] ^= Math.floor(done / 4294967296);
    if (last) {
      v[28] = ~v[28];
      v[29] = ~v[29];
    }
    for (let round = 0; round < ROUNDS; round++) {
      const order = SIGMA[round % 10];
      for (let i = 0; i < 8; i++) mix(v, MIXED[i], message, order[2 * i], order[2 * i + 1]);
    }
    for (let i = 0; i < 16; i++) h[i] ^= v[i] ^ v[i + 16];
  }

  /** Digest, Uint8Array of 8 bytes, of a Uint8Array. */
  function blake2b64(bytes) {
    const h = new Uint32Array(IV);
    h[0] ^= 0x01010000 ^ DIGEST_BYTES;
    const v = new Uint32Array(32);
    const message = new Uint32Array(32);
    const block = new DataView(new ArrayBuffer(BLOCK_BYTES));
    const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK_BYTES));
    for (let i = 0; i < blocks; i++) {
      const part = bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
      const target = new Uint8Array(block.buffer);
      target.set(part);
      target.fill(0, part.length);
      for (let j = 0; j < 32; j++) message[j] = block.getUint32(4 * j, true);
      compress(h, v, message, i * BLOCK_BYTES + part.length, i === blocks - 1);
    }
    for (let j = 0; j < DIGEST_BYTES / 4; j++) block.setUint32(4 * j, h[j], true);
    return new Uint8Array(block.buffer, 0, DIGEST_BYTES);
  }

  sb.s2d = sb.s2d || {};
  sb.s2d.blake2b64 = blake2b64;
})((window.splatbench = window.splatbench || {}));
