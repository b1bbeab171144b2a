"""What a file may take of this machine: looked at before it is unpacked, and little more than its numbers need."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from splatbench.exchange import ExchangeError, convert, parse_arrays, read_arrays, to_gaussians
from splatbench.exchange.limits import MAX_BYTES, MAX_CHANNELS, MAX_GAUSSIANS
from tests.exchange.conftest import SIZE, arrays, facts
from tests.exchange.test_roundtrip import assert_equal


def npz(values: dict[str, np.ndarray], packed: bool = True) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(content, **values, facts=json.dumps(facts()))  # type: ignore[operator]
    return content.getvalue()


def safetensors(values: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save(values, metadata={"facts": json.dumps(facts())})


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_arrays_of_the_wrong_shape_are_not_unpacked():
    """160 MiB of one Gaussian's colours in 2.6 MiB: what fills the file is allowed 64 times its length."""
    noise = np.random.default_rng(1).integers(0, 256, (1300 << 10, 2), np.uint8)
    data = npz({"means": noise[:1], "cholesky": noise, "colors": np.zeros((1, 160 << 20), np.uint8)})
    assert len(data) < 3 << 20

    def refused() -> None:
        with pytest.raises(
            ExchangeError, match="'colors' has 167772160 channels; expected 1 to 16|'cholesky' has shape"
        ):
            parse_arrays(data, ".npz")

    assert peak_bytes(refused) < 1 << 20


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"colors": np.ones((20, MAX_CHANNELS + 1))}, "'colors' has 17 channels; expected 1 to 16"),
        ({"cholesky": np.ones((21, 3))}, r"'cholesky' has shape \[21, 3\]; expected \[20, 3\]"),
        ({"opacities": np.ones((20, 1, 1))}, r"'opacities' has shape \[20, 1, 1\]; expected \[20\]"),
        ({"more": np.ones(20)}, "unknown array 'more'"),
    ],
)
def test_what_is_declared_is_looked_at_first(monkeypatch, suffix, changes, match):
    monkeypatch.setattr("splatbench.exchange.archive._unpack", None)  # would be called
    monkeypatch.setattr("safetensors.numpy.load", None)
    values = arrays() | changes
    data = npz(values) if suffix == ".npz" else safetensors(values)
    with pytest.raises(ExchangeError, match=match):
        parse_arrays(data, suffix)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_budget_allows_so_many(suffix):
    data = npz(arrays(20)) if suffix == ".npz" else safetensors(arrays(20))
    assert len(parse_arrays(data, suffix, allowed=20).arrays["means"]) == 20
    with pytest.raises(ExchangeError, match="it holds 20 Gaussians, the budget allows 19"):
        parse_arrays(data, suffix, allowed=19)


def test_no_file_makes_more_than_the_most(monkeypatch):
    """The limits themselves: 2^24 Gaussians, and MAX_BYTES of arrays and of bytes."""
    from splatbench.exchange.limits import check_declared

    f8 = np.dtype("f8")
    most = {"means": (f8, (MAX_GAUSSIANS, 2)), "colors": (f8, (MAX_GAUSSIANS, 3)), "cholesky": (f8, (MAX_GAUSSIANS, 3))}
    check_declared(most)
    with pytest.raises(ExchangeError, match=f"holds {MAX_GAUSSIANS + 1} Gaussians"):
        check_declared({"means": (f8, (MAX_GAUSSIANS + 1, 2))})
    with pytest.raises(ExchangeError, match=f"at most {MAX_BYTES} are read"):
        check_declared(most | {"colors": (f8, (MAX_GAUSSIANS, 16))})
    monkeypatch.setattr("splatbench.exchange.reading.MAX_BYTES", 100)
    with pytest.raises(ExchangeError, match="more than the 100"):
        parse_arrays(npz(arrays()), ".npz")


def test_memory_is_a_small_multiple_of_the_numbers():
    """Of bytes, whose float64 are eight times as long: the arrays, their float32, and some blocks."""
    n, rng = 1 << 20, np.random.default_rng(1)
    values = {name: rng.integers(1, 9, (n, width), np.uint8) for name, width in (("means", 2), ("colors", 16))}
    values |= {"scales": rng.integers(1, 9, (n, 2), np.uint8), "angles": rng.integers(0, 3, n, np.uint8)}
    data, own = npz(values, packed=False), sum(value.nbytes for value in values.values())
    assert peak_bytes(lambda: parse_arrays(data, ".npz")) < 1.2 * own
    made = own + 4 * own
    assert peak_bytes(lambda: to_gaussians(parse_arrays(data, ".npz"), SIZE)) < made + (64 << 20)


def test_blocks_are_one_file(monkeypatch, save):
    """Their order, and the numbers of what is wrong."""
    values = arrays(20)
    told = facts(blend="alpha", order="back_to_front", background=0)
    whole = to_gaussians(read_arrays(save(values, told)), SIZE)
    monkeypatch.setattr(convert, "BLOCK", 7)
    assert_equal(to_gaussians(read_arrays(save(values, told)), SIZE), whole)
    values["scales"][[9, 15]] = np.nan
    with pytest.raises(ExchangeError, match=r"values of 1 Gaussians of the first 14 are NaN .* \(counted from 0: 9\)"):
        to_gaussians(read_arrays(save(values, told)), SIZE)
    values["scales"][9] = 1
    with pytest.raises(ExchangeError, match=r"values of 1 Gaussians are NaN .* \(counted from 0: 15\)"):
        to_gaussians(read_arrays(save(values, told)), SIZE)


# -- names -------------------------------------------------------------------------------------------------------------
def table(lines: int, zip64: bool) -> bytes:
    """A .npz file of nothing but a table of contents."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * lines
    short = min(lines, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, short, short, min(len(directory), 0xFFFFFFFF), 0, 0)
    if zip64:
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, lines, lines, len(directory), 0)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(directory), 1)
        end = record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return directory + end


@pytest.mark.parametrize("zip64", [False, True])
def test_a_long_table_of_contents_is_not_made_into_objects(zip64):
    small = table(40, zip64)
    assert len(zipfile.ZipFile(io.BytesIO(small)).namelist()) == 40  # it is such a file
    with pytest.raises(ExchangeError, match="the file has 40 members"):
        parse_arrays(small, ".npz")
    data = table(200_000, zip64)

    def refused() -> None:
        with pytest.raises(ExchangeError, match="its table of contents takes 9400000 bytes"):
            parse_arrays(data, ".npz")

    assert peak_bytes(refused) < 3 * len(data)


@pytest.mark.parametrize("place", ["header", "facts"])
def test_many_names_cost_no_time(place):
    """Names of which each would be compared with all others."""
    if place == "header":
        text = ("{" + ",".join(f'"{i}":{{}}' for i in range(24_000)) + "}").encode()
        data, suffix = struct.pack("<Q", len(text)) + text, ".safetensors"
    else:
        text = ("{" + ",".join(f'"{i}":1' for i in range(7_000)) + "}").encode()
        content = io.BytesIO()
        np.savez(content, **arrays(), facts=text.decode())
        data, suffix = content.getvalue(), ".npz"
    begin = time.process_time()
    with pytest.raises(ExchangeError) as caught:
        parse_arrays(data, suffix)
    assert time.process_time() - begin < 1 and len(str(caught.value)) < 5000
