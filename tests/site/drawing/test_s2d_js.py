"""The reader of .s2d files in the browser, against the one in Python."""

from __future__ import annotations

import hashlib
import random
import time

import numpy as np
import pytest

from splatbench.codec import Attribute, decode, read, spatial_order, write
from splatbench.codec.attributes import MORTON, PLANES, RAW
from splatbench.codec.container import read_header
from splatbench.gaussians import Gaussians2D
from splatbench.method import get_method

READ = """(file) => {
  const f = splatbench.s2d.read(bytesOf(file));
  const arrays = Object.entries(f.arrays).map(([name, { type, shape, data }]) => [name, type, shape, packed(data)]);
  return { method: f.method, size: f.size, blend: f.blend, compat: f.compat, meta: { ...f.meta }, arrays };
}"""
GAUSSIANS = """(file) => {
  const g = splatbench.s2d.gaussians(bytesOf(file));
  const layers = g.layers.map((l) => ({
    ...l, means: packed(l.means), covariance: packed(l.covariance), colors: packed(l.colors),
    opacities: l.opacities && packed(l.opacities),
  }));
  return { ...g, layers };
}"""
REFUSED = """(file) => {
  try { splatbench.s2d.gaussians(bytesOf(file)); } catch (error) { return [error instanceof Error, error.message]; }
  return null;
}"""


def check_arrays(page, kit, data: bytes) -> None:
    """The browser reads what Python reads, bit for bit."""
    file, seen = read(data), page.evaluate(READ, kit.text(data))
    assert [seen["method"], seen["size"], seen["blend"]] == [file.method, list(file.size), file.blend]
    assert set(seen["compat"]) == file.compat and seen["meta"] == file.meta
    assert [name for name, *_ in seen["arrays"]] == list(file.arrays)
    for name, kind, shape, content in seen["arrays"]:
        wanted = file.arrays[name]
        assert (kind, tuple(shape)) == (wanted.dtype.name, wanted.shape), name
        stored = np.float32 if kind == "float16" else wanted.dtype
        np.testing.assert_array_equal(kit.numbers(content, stored).reshape(shape), wanted.astype(stored), err_msg=name)


def test_files_of_all_methods_are_read_bit_for_bit(page, kit, encoded):
    check_arrays(page, kit, encoded)


def made_arrays() -> dict[str, np.ndarray]:
    """Every element type, and distributions that take every coder and stream mode."""
    rng = np.random.default_rng(5)
    arrays = {}
    for kind in ("u1", "u2", "u4", "i1", "i2", "i4"):
        info = np.iinfo(kind)
        arrays[f"{kind} uniform"] = rng.integers(info.min, info.max, (900, 3), dtype=kind, endpoint=True)
        arrays[f"{kind} bell"] = np.clip(rng.normal(20, 6, (900, 3)), 0, 99).astype(kind)
        arrays[f"{kind} constant"] = np.full((900, 2), info.max, kind)
    for kind in ("f2", "f4"):
        values = rng.normal(0, 30, (2000, 2)).astype(kind)
        arrays |= {f"{kind} any": values, f"{kind} sorted": values[spatial_order(values)]}
    for kind in ("i2", "u4", "i4"):
        values = np.clip(rng.normal(0, 5000, (2000, 2)), 0 if kind[0] == "u" else -30000, 30000).astype(kind)
        arrays[f"{kind} sorted"] = values[spatial_order(values)]
    arrays["peaked"] = (rng.random(70000) < 0.001).astype(np.uint8)
    arrays["columns"] = np.stack([rng.integers(0, 5, 800), rng.normal(500, 9, 800)], 1).astype(np.uint16)
    arrays["empty"], arrays["scalar"] = np.zeros((0, 3), np.float16), np.array(7, np.int16)
    return arrays


def test_every_type_and_coder(page, kit):
    attributes = [Attribute(name, values) for name, values in made_arrays().items()]
    coders = set()
    for attribute in attributes:
        for coder in ("auto", "raw", "entropy"):
            data = write("m", (9, 8), "", (), [Attribute(attribute.name, attribute.values, coder)])
            coders.add(read_header(data).entries[0].coder)
            check_arrays(page, kit, data)
    assert coders == {RAW, PLANES, MORTON}, "the arrays must take every coder"


def test_header_values(page, kit):
    meta = {"count": -3, "gain": 0.1, "name": "häß<b>", "__proto__": 5, "large": 2**40, "step": ""}
    data = write(
        "my method", (1 << 20, 3), "alpha", {"b", "tile_cap_256"}, [Attribute("__proto__", np.ones(3, "f4"))], meta
    )
    seen = page.evaluate(
        "(f) => { const r = splatbench.s2d.read(bytesOf(f)); return [...Object.entries(r.meta), r.size] }",
        kit.text(data),
    )
    assert seen[:-1] == [[key, value] for key, value in meta.items()] and seen[-1] == [1 << 20, 3]
    large = page.evaluate(
        "(f) => String(splatbench.s2d.read(bytesOf(f)).meta.a)",
        kit.text(write("m", (1, 1), "", (), [], {"a": -(2**63)})),
    )
    assert large == str(-(2**63))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 255, 256, 1000])
def test_checksum_is_blake2b(page, kit, length):
    data = random.Random(length).randbytes(length)
    digest = page.evaluate("(d) => packed(splatbench.s2d.blake2b64(bytesOf(d)))", kit.text(data))
    assert kit.numbers(digest, "u1").tobytes() == hashlib.blake2b(data, digest_size=8).digest()


def rows_of(means, covariance, colors) -> np.ndarray:
    """[N, 5 + C] in an order that does not depend on that of the file."""
    table = np.concatenate([np.asarray(v, np.float64).reshape(len(means), -1) for v in (means, covariance, colors)], 1)
    return table[np.lexsort(np.round(table[:, :2], 3).T)]


def check_layer(kit, layer, means, covariance, colors) -> None:
    n, channels = layer["count"], layer["channels"]
    found = rows_of(
        kit.numbers(layer["means"], "f4").reshape(n, 2),
        kit.numbers(layer["covariance"], "f8").reshape(n, 3),
        kit.numbers(layer["colors"], "f4").reshape(n, channels),
    )
    wanted = rows_of(means.numpy(), covariance.numpy(), colors.numpy()[:, :channels])
    assert n == len(wanted)
    scale = np.abs(wanted).max(0, keepdims=True) + np.abs(wanted)
    assert (np.abs(found - wanted) / np.maximum(scale, 1e-6)).max() < 1e-5


def test_gaussians_are_those_of_from_bytes(page, kit, encoded):
    seen, decoded = page.evaluate(GAUSSIANS, kit.text(encoded)), decode(encoded)
    assert seen["count"] == len(decoded) and seen["size"] == list(kit.size)
    if not isinstance(decoded, Gaussians2D):
        assert len(seen["layers"]) == len(decoded.levels)
        for layer, level in zip(seen["layers"], decoded.levels, strict=True):
            from splatbench.render import covariance_from_cholesky

            assert layer["size"] == list(level.size)
            assert layer["blend"] == ("signed" if level.form == "direct" else "sum")
            shape = level.shape.double() if level.form == "direct" else covariance_from_cholesky(level.shape)
            check_layer(kit, layer, level.means, shape, level.colors)
        ranges = [layer["range"] for layer in seen["layers"][1:]]
        assert [(r["low"], r["high"]) for r in ranges] == [(r.low, r.high) for r in decoded.ranges]
        return
    (layer,) = seen["layers"]
    check_layer(kit, layer, decoded.means, decoded.covariance(), decoded.colors)
    assert (layer["blend"], set(layer["compat"]), layer["gamma"]) == (decoded.blend, decoded.compat, decoded.gamma)
    assert layer["background"] == decoded.background
    if decoded.blend == "topk":
        assert layer["topk"] == {
            "k": decoded.topk.k,
            "epsilon": decoded.topk.epsilon,
            "min_response": decoded.topk.min_response,
        }
    assert (layer["opacities"] is None) == (decoded.opacities is None)


def test_files_cover_all_methods_and_flags(kit):
    """A method that is added must be read here, too."""
    from splatbench.codec import peek_method
    from splatbench.method import available

    files = [kit.encoded_file(name) for name in kit.names]
    made = {peek_method(data) for data in files}
    without = {"codecs", "identity", "downsample"}
    assert made == set(available()) - without
    flags = set().union(*(read(data).compat for data in files))
    assert flags == {"tiles_3sigma", "tile_cap_256"}


def test_textures_and_grey(page, kit):
    stack = page.evaluate(GAUSSIANS, kit.text(kit.encoded_file("textures")))
    assert stack["layers"][0]["channels"] == 3 and stack["notes"] == [
        "The file is a stack of 2 textures; the first is shown."
    ]
    grey = page.evaluate(GAUSSIANS, kit.text(kit.encoded_file("grey")))
    assert grey["layers"][0]["channels"] == 1 and grey["notes"] == []


@pytest.mark.parametrize("name", ["gaussianimage codes", "air codes", "image_gs", "lig"])
def test_damaged_files_are_refused(page, kit, name):
    data = kit.encoded_file(name)
    rng = random.Random(7)
    broken = [data[: rng.randrange(len(data))] for _ in range(12)] + [b"", b"S2D", b"S2D\1", data + b"\0"]
    for _ in range(12):
        flipped = bytearray(data)
        flipped[rng.randrange(4, len(data))] ^= 1 << rng.randrange(8)
        broken.append(bytes(flipped))
    for file in broken:
        is_error, message = page.evaluate(REFUSED, kit.text(file))
        assert is_error and message.endswith(".") and any(w in message for w in ("damaged", "not a .s2d", "version"))


def resealed(body: bytes) -> bytes:
    """A damaged body with a checksum that fits, as somebody with intent would write it."""
    return body + hashlib.blake2b(body, digest_size=8).digest()


@pytest.mark.parametrize(
    "name", ["gaussianimage codes", "air codes", "image_gs codes", "smartsplat codes", "lig codes"]
)
def test_damage_behind_a_fitting_checksum_ends_in_a_sentence_or_in_numbers(page, kit, name):
    body = kit.encoded_file(name)[:-8]
    rng = random.Random(11)
    begin = time.monotonic()
    refused = 0
    for i in range(60):
        broken = bytearray(body)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(4, min(len(body), 120 if i % 2 else len(body)))] = rng.randrange(256)
        result = page.evaluate(REFUSED, kit.text(resealed(bytes(broken))))
        if result is not None:
            refused += 1
            assert result[0] and len(result[1]) > 15 and "undefined" not in result[1], result
            assert not any(
                word in result[1] for word in ("is not a function", "Cannot read", "is not defined", "Invalid")
            ), result
    assert refused > 10 and time.monotonic() - begin < 20


def test_hostile_headers_are_refused_before_anything_is_allocated(page, kit):
    varint = lambda n: bytes([*((n >> s & 127) | 128 for s in range(0, 56, 7)), n >> 56 & 127])  # noqa: E731
    start = b"S2D\1" + b"\1m" + b"\5\5" + b"\x81" + b"\0\0"
    entry = lambda shape: b"\1a\7" + bytes([len(shape)]) + b"".join(varint(n + 1) for n in shape) + b"\0"  # noqa: E731
    for shape, word in (
        ((1 << 40,), "limit"),
        ((1 << 25, 1 << 25), "cannot come"),
        ((1 << 20, 2), "cannot come"),
        (((1 << 53) + 1,), "limit"),
    ):
        is_error, message = page.evaluate(REFUSED, kit.text(resealed(start + b"\0\1" + entry(shape))))
        assert is_error and word in message, message
    wide = b"S2D\1" + b"\1m" + varint(1 << 30) * 2 + b"\x81\0\0\0\0"
    assert "pixels" in page.evaluate(REFUSED, kit.text(resealed(wide)))[1]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"means": None}, "means"),
        ({"colors": np.full((4, 3), np.nan, np.float32)}, "NaN"),
        ({"colors": np.full((4, 3), 2.0**31, np.float32)}, "2^30"),
        ({"colors": np.zeros((3, 3), np.float32)}, "colors"),
        ({"opacities": np.ones(4, np.float32)}, "opacities"),
        ({"more": np.ones(4, np.float32)}, "more"),
        ({"cholesky": np.ones((4, 3), np.float32)}, "either"),
        ({"means": np.ones((4, 2), np.float16)}, "float32"),
    ],
)
def test_what_python_refuses_is_refused(page, kit, change, word):
    arrays = {
        "means": np.ones((4, 2), np.float32), "scales": np.ones((4, 2), np.float32),
        "angles": np.ones(4, np.float32), "colors": np.ones((4, 3), np.float32),
    }  # fmt: skip
    attributes = [Attribute(k, v) for k, v in (arrays | change).items() if v is not None]
    assert word in page.evaluate(REFUSED, kit.text(write("instant_gi", (8, 8), "sum", (), attributes)))[1]


def test_pictures_without_gaussians_and_unknown_methods_say_so(page, kit):
    kind = get_method("downsample")
    from splatbench.budget import Budget
    from splatbench.trace import Trace

    instance = kind(kind.make_config({}))
    picture = np.zeros((32, 32, 3), np.uint8)
    small = instance.to_bytes(instance.encode(picture, Budget(compression_ratio=2), Trace()))
    assert "without Gaussians" in page.evaluate(REFUSED, kit.text(small))[1]
    other = kit.file_of(kit.random_gaussians(), method="<script>alert(1)</script>")
    assert "<script>alert(1)</script>" in page.evaluate(REFUSED, kit.text(other))[1]


def test_28_000_gaussians_take_well_under_a_second(page, kit):
    data = kit.file_of(kit.random_gaussians(count=28_000, size=(512, 768)))
    page.evaluate(GAUSSIANS, kit.text(data))  # compiled
    milliseconds = page.evaluate(
        """(f) => {
          const bytes = bytesOf(f), begin = performance.now();
          splatbench.s2d.gaussians(bytes);
          return performance.now() - begin;
        }""",
        kit.text(data),
    )
    assert milliseconds < 1000
