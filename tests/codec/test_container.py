"""Headers, limits and refusals of the .s2d container."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
import torch

from splatbench.codec import (
    Attribute,
    BitstreamError,
    Limits,
    S2DFile,
    decode,
    gaussians_from_arrays,
    peek_method,
    read,
    read_header,
    spatial_order,
    write,
)
from splatbench.codec.primitives import Cursor, string, unzigzag, varint, zigzag


def seal(body: bytes) -> bytes:
    return body + hashlib.blake2b(body, digest_size=8).digest()


def declared(size: bytes = b"\1\1", rows: int = 0, table: bytes = b"\0", payload: bytes = b"") -> bytes:
    """A file with a correct checksum and whatever table is given."""
    return seal(b"S2D\1" + b"\1m" + size + b"\x81\0\0" + varint(rows) + table + payload)


def quantised_gaussianimage(n: int) -> list[Attribute]:
    rng = np.random.default_rng(0)
    xyz = np.arctanh(2 * rng.random((n, 2)) - 1).astype(np.float16)
    return [
        Attribute("xyz", xyz[spatial_order(xyz)]),
        Attribute("covariance", rng.binomial(63, 0.4, (n, 3)).astype(np.uint16)),
        Attribute("colors", rng.binomial(7, 0.3, (n, 2)).astype(np.uint8)),
        Attribute("step", rng.random(3).astype(np.float32)),
        Attribute("beta", rng.random(3).astype(np.float32)),
        Attribute("codebooks", rng.random((2, 8, 3)).astype(np.float32)),
    ]


def test_header_round_trip() -> None:
    meta = {"seed": -(2**63), "big": 2**63 - 1, "gain": 1e-300, "note": "ä" * 60, "variant": "rs-q"}
    file = read(write("my_method", (3, 2000), "topk", {"tile_cap_256"}, [], meta))
    assert (file.method, file.size, file.blend, file.compat) == ("my_method", (3, 2000), "topk", {"tile_cap_256"})
    assert file.meta == meta and file.arrays == {}
    assert peek_method(write("other", (1, 1), "", (), [])[:10]) == "other"


@pytest.mark.parametrize("n", [800, 9000, 28000, 70000])
def test_a_quantised_file_spends_little_on_its_header(n: int) -> None:
    attributes = quantised_gaussianimage(n)
    file = write("gaussianimage", (512, 768), "sum", {"tiles_3sigma"}, attributes, {"variant": "cholesky-q"})
    assert len(file) - sum(entry.length for entry in read_header(file).entries) <= 84


def test_equal_arguments_give_equal_bytes() -> None:
    files = {
        write("m", (9, 9), "sum", flags, quantised_gaussianimage(500), {"a": 1}) for flags in ({"x", "y"}, ["y", "x"])
    }
    assert len(files) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 5)}, "0x5|5x0"),
        ({"size": (1 << 16, 1 << 16)}, "pixels"),
        ({"attributes": [Attribute("a", np.zeros(1, np.uint8))] * 2}, "different names"),
        ({"attributes": [Attribute(f"a{i}", np.zeros(1, np.uint8)) for i in range(65)]}, "at most 64"),
        ({"meta": {"a": float("nan")}}, "not finite"),
        ({"meta": {"a": 1 << 63}}, "64 bits"),
        ({"method": "m" * 128}, "127"),
    ],
)
def test_what_the_format_cannot_hold(arguments: dict, message: str) -> None:
    standard = {"method": "m", "size": (1, 1), "blend": "", "compat": (), "attributes": [], "meta": {}}
    with pytest.raises(ValueError, match=message):
        write(**{**standard, **arguments})


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    file = write("m", (8, 8), "sum", (), quantised_gaussianimage(20)[:3], {"variant": "rs"})
    for i in range(8 * len(file)):
        damaged = bytearray(file)
        damaged[i // 8] ^= 1 << i % 8
        with pytest.raises(BitstreamError):
            read(bytes(damaged))
    for cut in range(len(file)):
        with pytest.raises(BitstreamError):
            read(file[:cut])
    with pytest.raises(BitstreamError):
        read(file + b"\0")


def test_messages_say_what_is_wrong() -> None:
    file = write("m", (8, 8), "sum", (), [])
    for data, message in (
        (b"", "begin with 'S2D'"),
        (b"\x89PNG\r\n\x1a\n", "begin with 'S2D'"),
        (b"S2D\2" + file[4:], "version 2"),
        (file[:-1] + b"\0\0", "damaged or cut off"),
    ):
        with pytest.raises(BitstreamError, match=message):
            read(data)
    with pytest.raises(BitstreamError, match="'m', not by 'other'"):
        read(file, method="other")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (declared(size=b"\0\1"), "pixels"),
        (declared(size=varint(1 << 20) * 2), "pixels"),
        (declared(table=b"\x41"), "65 attributes"),
        (declared(rows=1 << 27, table=b"\1\x86\7\1\0\0"), "beyond the limit"),
        (declared(rows=1 << 26, table=b"\1\x86\7\2\0\0\0"), "beyond the limit"),
        (declared(rows=1 << 25, table=b"\1\x86\x17\2\0\3\0"), "cannot come from"),
        (declared(rows=4, table=b"\1\x86\x08\1\0\0"), "unknown type"),
        (declared(rows=4, table=b"\1\x86\x37\1\0\0"), "unknown type"),
        (declared(rows=4, table=b"\1\x86\7\x09" + b"\0" * 10), "unknown type"),
        (declared(rows=4, table=b"\1\x86\0\1\0\5", payload=b"\x08abc"), "payloads end"),
        (declared(rows=4, table=b"\1\x86\0\1\0\4", payload=b"\x08abc"), "do not fill"),
        (declared(rows=4, table=b"\1\x86\0\1\0\5", payload=b"\x09abcd"), "9 bits"),
        (declared(rows=2, table=b"\1\x86\0\1\0\2", payload=b"\1\x20"), "behind the last"),
        (declared(rows=2, table=b"\1\x86\0\1\0\2", payload=b"\1\xc0\7"), "payloads end"),
        (declared(rows=0, table=b"\1\x86\0\1\0\1", payload=b"\0"), "empty array has data"),
        (declared(rows=4, table=b"\1\x86\x10\1\0\3", payload=b"\x02\x81\4"), "does not fit 2 bits"),
        (declared(rows=4, table=b"\1\x86\x10\1\0\2", payload=b"\x02\x85"), "stream mode"),
        (declared(rows=4, table=b"\1\x86\x10\1\0\x0c", payload=b"\x02\x82" + b"\x12" * 10), "go on behind"),
        (declared(rows=4, table=b"\1\x86\x20\1\0\3", payload=b"\0\0\0"), "positions cannot"),
        (declared(rows=4, table=b"\1\x86\x26\2\0\3\2", payload=b"\3\0"), "stream mode"),
        (declared(rows=1, table=b"\2" + b"\x86\0\1\0\2" * 2, payload=b"\1\0" * 2), "same name"),
    ],
)
def test_declarations_that_cannot_be_true(file: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        read(file)


def test_limits_are_the_callers() -> None:
    file = write("m", (100, 100), "", (), [Attribute("a", np.zeros((50, 4), np.float32))])
    assert read(file, Limits(rows=50, pixels=10_000, decoded_bytes=800)).arrays["a"].shape == (50, 4)
    for limits in (Limits(rows=49), Limits(pixels=9_999), Limits(decoded_bytes=799)):
        with pytest.raises(BitstreamError, match=r"limit|outside"):
            read(file, limits)


@pytest.mark.parametrize("kind", ["raw32", "codes", "float16", "bits", "constant", "signed", "morton16", "morton32"])
def test_memory_stays_within_the_declared_bound(kind: str) -> None:
    rng = np.random.default_rng(5)
    n = 1_000_000
    values = {
        "raw32": lambda: rng.integers(0, 2**32, (n, 2)).astype(np.uint32),
        "codes": lambda: rng.binomial(63, 0.3, (n, 3)).astype(np.uint8),
        "float16": lambda: rng.normal(size=(n, 3)).astype(np.float16),
        "bits": lambda: rng.integers(0, 2, n).astype(np.uint8),
        "constant": lambda: np.ones((n, 4), np.float32),
        "signed": lambda: rng.integers(-9, 9, (n, 2)).astype(np.int32),
        "morton16": lambda: rng.normal(size=(n, 2)).astype(np.float16),
        "morton32": lambda: rng.normal(size=(n, 2)).astype(np.float32),
    }[kind]()
    values = values[spatial_order(values)] if kind.startswith("morton") else values
    file = write("m", (1, 1), "", (), [Attribute("a", values)])
    tracemalloc.start()
    try:
        array = read(file).arrays["a"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(array, values)
    assert peak <= read_header(file).bound_bytes


# -- Gaussians --------------------------------------------------------------------------------------------------------
def gaussians(**changes: np.ndarray) -> dict[str, np.ndarray]:
    fields = {"means": np.ones((2, 2)), "colors": np.ones((2, 3)), "scales": np.ones((2, 2)), "angles": np.ones(2)}
    return {name: values.astype(np.float32) for name, values in {**fields, **changes}.items()}


FILE = S2DFile("m", (4, 5), "sum", frozenset(), {}, {})


def test_gaussians_from_arrays() -> None:
    result = gaussians_from_arrays(FILE, gaussians())
    assert result.size == (4, 5) and torch.equal(result.angles, torch.ones(2))


@pytest.mark.parametrize("name", ["means", "colors", "scales", "angles", "opacities"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e9])
def test_absurd_values_are_refused(name: str, value: float) -> None:
    arrays = gaussians(opacities=np.ones(2))
    arrays[name].flat[-1] = value
    with pytest.raises(BitstreamError, match=name):
        gaussians_from_arrays(FILE, arrays)


def test_arrays_that_do_not_make_gaussians() -> None:
    for arrays, message in (
        (gaussians(means=np.ones((3, 2))), "expected shape"),
        (gaussians(extra=np.ones(2)), "extra"),
        (gaussians(opacities=np.float32([0.5, -0.5])), "opacities"),
        ({**gaussians(), "angles": np.ones(2, np.float16)}, "float32"),
        ({**gaussians(), "colors": np.ones((2, 3), np.uint16)}, "float32|types"),
        ({k: v for k, v in gaussians().items() if k != "colors"}, "'colors' is missing"),
    ):
        with pytest.raises(BitstreamError, match=message):
            gaussians_from_arrays(FILE, arrays)
    for blend, compat in (("", frozenset()), ("sum", frozenset({"unknown"}))):
        with pytest.raises(BitstreamError):
            gaussians_from_arrays(S2DFile("m", (4, 5), blend, compat, {}, {}), gaussians())


def test_decode_names_what_is_missing() -> None:
    with pytest.raises(BitstreamError, match="'nobody', which is not installed"):
        decode(write("nobody", (1, 1), "sum", (), []))
    with pytest.raises(BitstreamError, match=r"'\.gif'"):
        decode(b"GIF89a", ".gif")


# -- primitives -------------------------------------------------------------------------------------------------------
def test_primitives() -> None:
    for value in (0, 1, 127, 128, 300, 2**32, 2**64 - 1):
        assert Cursor(varint(value)).varint() == value
    assert varint(300) == b"\xac\x02"
    for value in (0, -1, 1, -(2**63), 2**63 - 1):
        assert unzigzag(zigzag(value)) == value
    assert [zigzag(v) for v in (0, -1, 1, -2)] == [0, 1, 2, 3]
    assert string("means") == b"\x86" and Cursor(string("no word")).string() == "no word"
    for data in (b"\xff" * 10, b"\xff" * 9 + b"\x02", b"\x80"):
        with pytest.raises(BitstreamError):
            Cursor(data).varint()
    for data in (b"\xff", b"\2\xff\xff", b"\5ab"):
        with pytest.raises(BitstreamError):
            Cursor(data).string()


def test_gamma_comes_back_and_is_checked():
    rng = np.random.default_rng(0)
    values = {"means": rng.random((3, 2), np.float32), "colors": rng.random((3, 3), np.float32),
              "cholesky": rng.random((3, 3), np.float32)}  # fmt: skip
    attributes = [Attribute(name, value) for name, value in values.items()]
    for meta, gamma in (({}, 1.0), ({"gamma": 2.2}, 2.2), ({"gamma": 2}, 2.0)):
        file = read(write("m", (4, 4), "sum", [], attributes, meta))
        assert gaussians_from_arrays(file, file.arrays).gamma == gamma
    for bad in (0, -1.0, "two"):
        file = read(write("m", (4, 4), "sum", [], attributes, {"gamma": bad}))
        with pytest.raises(BitstreamError, match="do not make Gaussians"):
            gaussians_from_arrays(file, file.arrays)
