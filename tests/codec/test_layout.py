"""The format of docs/s2d.md: a decoder written from that page alone, in plain Python, and the bytes of one file."""

from __future__ import annotations

import hashlib
import struct
from itertools import accumulate, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.codec import Attribute, read, read_header, spatial_order, write
from splatbench.codec.entropy import AdaptiveModel

WORDS = [
    "", "sum", "topk", "alpha", "tiles_3sigma", "tile_cap_256", "means", "colors", "scales", "angles", "cholesky",
    "opacities", "xyz", "covariance", "step", "beta", "codebooks", "indices", "pixels", "variant", "rs", "cholesky-q",
    "rs-q", "bits", "seed", "filter",
]  # fmt: skip
TYPES = ["B", "H", "I", "b", "h", "i", "e", "f"]
MASK = 2**64 - 1
META = {"variant": "rs-q", "count": -3, "gain": 0.5}


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        assert self.at + n <= len(self.data)
        self.at += n
        return self.data[self.at - n : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value, shift = 0, 0
        while (b := self.byte()) >= 128:
            value, shift = value | (b - 128) << shift, shift + 7
        return value | b << shift

    def string(self) -> str:
        b = self.byte()
        return WORDS[b - 128] if b >= 128 else self.take(b).decode()

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


class Bits:
    def __init__(self, data: bytes) -> None:
        self.text, self.at = "".join(f"{b:08b}" for b in data), 0

    def take(self, n: int) -> int:
        self.at += n
        return int(self.text[self.at - n : self.at] or "0", 2)


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        data += bytes(-len(data) % 4)
        self.words = iter(struct.unpack(f">{len(data) // 4}I", data))
        self.lower, self.range = 0, MASK
        self.point = self.word() << 32 | self.word()

    def word(self) -> int:
        return next(self.words, 0)

    def symbol(self, ends: list[int]) -> int:
        scale = self.range >> 24
        q = (self.point - self.lower & MASK) // scale
        s = next(i for i, end in enumerate(ends) if q < end)
        low = ends[s - 1] if s else 0
        self.lower = self.lower + scale * low & MASK
        self.range = scale * (ends[s] - low)
        if self.range < 2**32:
            self.lower = self.lower << 32 & MASK
            self.range <<= 32
            self.point = (self.point << 32 & MASK) | self.word()
        return s

    def stream(self, count: int, bits: int, smoothing: int) -> list[int]:
        counts, out = [0] * 2**bits, []
        while len(out) < count:
            block = min(count - len(out), 65536, max(16, len(out) // 16))
            s = counts
            for _ in range(smoothing):
                p = [s[0], *s, s[-1]]
                s = [p[i] + 2 * p[i + 1] + p[i + 2] for i in range(len(s))]
            p = [2 * x + 1 if smoothing == 0 else 8 * x + 4**smoothing for x in s]
            free = 2**24 - len(p)
            w = [x * free // sum(p) for x in p]
            w[w.index(max(w))] += free - sum(w)
            ends = list(accumulate(x + 1 for x in w))
            new = [self.symbol(ends) for _ in range(block)]
            for x in new:
                counts[x] += 1
            while sum(counts) > 2**22:
                counts = [x // 2 for x in counts]
            out += new
        return out


def product(numbers: list[int]) -> int:
    total = 1
    for n in numbers:
        total *= n
    return total


def read_planes(data: bytes, count: int, columns: int) -> list[int]:
    source = Bytes(data)
    b = source.byte()
    widths = [b] if b <= 12 else [min(8, b - low) for low in range(0, b, 8)]
    streams = []  # (mode, constant, width, shift, indices)
    for plane, width in enumerate(widths):
        for j in range(columns):
            mode = source.byte()
            indices = range(count) if mode & 128 else range(j, count, columns)
            constant = source.varint() if mode & 127 == 1 else 0
            streams.append((mode & 127, constant, width, 8 * plane, indices))
            if mode & 128:
                break
    out = [0] * count
    for mode, _, width, shift, indices in streams:
        if mode == 0:
            bits = Bits(source.take((len(indices) * width + 7) // 8))
            for i in indices:
                out[i] |= bits.take(width) << shift
    decoder = RangeDecoder(source.rest())
    for mode, constant, width, shift, indices in streams:
        if mode != 0:
            values = [constant] * len(indices)
            if mode > 1:
                values = decoder.stream(len(indices), width, (0, 1, 3)[mode - 2])
            for i, value in zip(indices, values, strict=True):
                out[i] |= value << shift
    return out


def read_morton(data: bytes, n: int, kind: str) -> list[int]:
    """Bit patterns of the coordinates, x and y in turn."""
    source = Bytes(data)
    smoothing = (0, 1, 3)[source.byte()]
    classes = RangeDecoder(source.take(source.varint())).stream(n, 7, smoothing)
    bits, key, out = Bits(source.rest()), 0, []
    width = 8 * struct.calcsize("<" + kind)
    top, mask = 1 << (width - 1), 2**width - 1
    for c in classes:
        key += c if c < 2 else (2 + c % 2 << c // 2 - 1) + bits.take(c // 2 - 1)
        for axis in range(2):
            v = sum((key >> 2 * i + axis & 1) << i for i in range(width))
            if kind in "hi":
                v ^= top
            elif kind in "ef":
                v = v ^ top if v & top else v ^ mask
            out.append(v)
    return out


def read_arrays(file: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    """name -> (type, shape, little-endian bytes of the elements), plus the header under ''."""
    assert file[:4] == b"S2D\1"
    assert hashlib.blake2b(file[:-8], digest_size=8).digest() == file[-8:]
    source = Bytes(file[4:-8])
    header: list[object] = [source.string(), source.varint(), source.varint(), source.string()]
    header.append([source.string() for _ in range(source.varint())])
    meta: dict[str, object] = {}
    for _ in range(source.varint()):
        key, kind = source.string(), source.byte()
        if kind == 0:
            z = source.varint()
            meta[key] = z // 2 if z % 2 == 0 else -(z + 1) // 2
        else:
            meta[key] = struct.unpack("<d", source.take(8))[0] if kind == 1 else source.string()
    rows = source.varint()
    table = []
    for _ in range(source.varint()):
        name, code = source.string(), source.byte()
        shape = [rows if (n := source.varint()) == 0 else n - 1 for _ in range(source.byte())]
        table.append((name, TYPES[code % 16], code // 16, shape, source.varint()))
    out = {"": (repr((*header, meta)), [], b"")}
    for name, kind, coder, shape, length in table:
        data, count = source.take(length), product(shape)
        size = struct.calcsize("<" + kind)
        columns = shape[-1] if len(shape) > 1 and 1 <= shape[-1] <= 64 else 1
        if count == 0:
            assert data == b""
            symbols = []
        elif coder == 0:
            bits = Bits(data[1:])
            symbols = [bits.take(data[0]) for _ in range(count)]
        elif coder == 1:
            symbols = read_planes(data, count, columns)
        else:
            symbols = read_morton(data, count // 2, kind)
        if kind in "bhi" and coder != 2:
            symbols = [(s // 2 if s % 2 == 0 else -(s + 1) // 2) & 2 ** (8 * size) - 1 for s in symbols]
        out[name] = (kind, shape, b"".join(s.to_bytes(size, "little") for s in symbols))
    assert not any(source.rest())
    return out


def example_attributes() -> list[Attribute]:
    """Attributes that take every coder and stream mode, from a generator that never changes."""
    state, numbers = 12345, []
    for _ in range(2000):
        state = (1103515245 * state + 12345) % 2**31
        numbers.append(state >> 8)
    values = np.array(numbers, np.uint32)
    bell = (values[:600].reshape(200, 3, 1) >> np.arange(8, dtype=np.uint32) & 1).sum(-1)
    positions = (values[600:1000].reshape(200, 2) % 60000).astype(np.uint16)
    return [
        Attribute("xyz", positions[spatial_order(positions)]),
        Attribute("covariance", (bell * np.array([1, 5, 0]) + 2).astype(np.uint16)),
        Attribute("colors", (values[1000:1400].reshape(200, 2) % 8).astype(np.uint8)),
        Attribute("step", np.array([0.25, -1.5, 3e-5], np.float32)),
        Attribute("offsets", (values[1400:1800] % 5).astype(np.int32) - 2),
        Attribute("codes", values[1800:1900] % 3000 * 20, coder="entropy"),
        Attribute("empty", np.zeros((0, 3), np.float16)),
    ]


GOLDEN = """
53324401076578616d706c653040810285840393029605636f756e740005046761696e01000000000000e03f14078c210200034b8d110200
04258700020003108e0701040d076f6666736574730501000905636f6465731201002b05656d7074790602010400021462a562f6084e0dd5
b31e0c081fb920ca1a4d07b819cad6d725c5a9522eed61e7db51319ffbae81ffdddbda8b0d8672ef5c82cc53972e716d8c0093fe2e8f520b
0643ada4373f2cae3706030201021462061860edb3fce29b9aeea7093234f3f14ac92f4bad88da4e97763e3b924103242fb623e97e991aa4
4c21997c3cad203e800000bfc0000037fba8820331100981110404b01082807fa1dae3705b249be66213ddc7b5c363ad5873d5d09034806a
b84b5b47e424d45014672f328272284433c3656c8d5e3b
"""


def test_bytes_of_version_1_never_change() -> None:
    """The same file, written and read, in every later release."""
    golden = bytes.fromhex(GOLDEN)
    attributes = [Attribute(a.name, a.values[:20], a.coder) for a in example_attributes()]
    assert write("example", (48, 64), "sum", {"tile_cap_256", "tiles_3sigma"}, attributes, META).hex() == golden.hex()
    file = read(golden)
    assert (file.method, file.size, file.blend, file.meta) == ("example", (48, 64), "sum", META)
    assert file.compat == {"tile_cap_256", "tiles_3sigma"}
    for attribute in attributes:
        np.testing.assert_array_equal(file.arrays[attribute.name], attribute.values, strict=True)


def test_plain_decoder_reads_the_example() -> None:
    attributes = example_attributes()
    file = write(
        "example", (48, 64), "sum", {"tile_cap_256"}, attributes, {"variant": "rs-q", "count": -3, "gain": 0.5}
    )
    arrays = read_arrays(file)
    assert arrays.pop("")[0] == repr(("example", 48, 64, "sum", ["tile_cap_256"], META))
    assert {read_header(file).entries[i].coder for i in range(6)} == {0, 1, 2}, "the example must take every coder"
    assert list(arrays) == [a.name for a in attributes]
    for attribute in attributes:
        kind, shape, data = arrays[attribute.name]
        assert (np.dtype("<" + kind), tuple(shape)) == (attribute.values.dtype, attribute.values.shape)
        assert data == attribute.values.tobytes(), attribute.name


def test_redundant_arrays_pad_the_file() -> None:
    """Two million zeros are a few bytes; the file is padded up to the length that readers ask for."""
    file = write("m", (1, 1), "", (), [Attribute("a", np.zeros(1 << 21, np.uint8))])
    assert len(file) == (1 << 20) // 1024 and read_header(file).entries[0].length < 10
    assert read_header(file).file_bytes == len(file)
    np.testing.assert_array_equal(read(file).arrays["a"], np.zeros(1 << 21, np.uint8))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300), kind=st.sampled_from(["u1", "u2", "i2", "i4", "f2", "f4"])
)
def test_plain_decoder_reads_what_the_writer_chooses(seed: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    spread = rng.choice([1e-3, 0.6, 4, 100, 5000])
    values = np.abs(rng.normal(0, spread, (n, 2))) if kind[0] == "u" else rng.normal(0, spread, (n, 2))
    array = np.clip(values, -30000, 255 if kind == "u1" else 30000).astype(kind)
    ordered = array[spatial_order(array)] if kind != "u1" else array
    file = write(
        "m", (3, 5), "", (), [Attribute("a", array), Attribute("b", ordered), Attribute("c", array, "entropy")]
    )
    arrays = read_arrays(file)
    assert [arrays[k][2] for k in "abc"] == [array.tobytes(), ordered.tobytes(), array.tobytes()]


def test_more_symbols_than_the_counts_hold() -> None:
    """Counts are halved beyond 2^22 symbols; both decoders must do so at the same place."""
    model = AdaptiveModel(1, 0)
    for _ in range(65):
        model.update(np.zeros(65536, np.int64))
    assert model.counts.tolist() == [(2**22 + 65536) // 2, 0]
    assert all(a > b for a, b in pairwise(model.weights().tolist()))
