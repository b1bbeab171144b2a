"""Files that are wrong, by accident or on purpose: one sentence each, in little memory."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from splatbench.exchange import ExchangeError, read_arrays, to_gaussians, write_npz
from splatbench.exchange.limits import MAX_BYTES
from splatbench.gaussians import Gaussians2D
from tests.exchange.conftest import SIZE, arrays, facts


def refused(path: Path, match: str) -> None:
    with pytest.raises(ExchangeError, match=match):
        to_gaussians(read_arrays(path), SIZE)


def npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def zipped(path: Path, members: list[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


# -- what is stated ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", facts())
def test_a_convention_that_is_not_stated_is_not_guessed(save, name):
    """And the sentence lists the choices."""
    choice = {"version": "1", "size": "height, width", "blend": '"sum", "topk", "alpha"', "scales": '"inverse"',
              "colors": '"byte"', "axes": '"yx"'}  # fmt: skip
    refused(save(arrays(), facts(**{name: None})), f"fact '{name}' is missing.*state one of.*{choice.get(name, '')}")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"blend": "add"}, "fact 'blend' is 'add'; it must be one of: \"sum\", \"topk\", \"alpha\""),
        ({"pixel_centers": "corner"}, "'pixel_centers' is 'corner'.*\"half\", \"integer\""),
        ({"colours": "unit"}, "unknown fact 'colours'.*known: version, size"),
        ({"version": 2}, "'version' is '2'; it must be one of: 1"),
        ({"size": [40]}, "the fact 'size"),
        ({"size": [0, 60]}, "the fact 'size.0'"),
        ({"size": ["40", "60"]}, "the fact 'size.0'"),
        ({"gamma": 0}, "the fact 'gamma'"),
        ({"gamma": True}, "the fact 'gamma'"),
        ({"compat": ["tiles"]}, "blend 'sum' knows no compat flag 'tiles' .known: tiles_3sigma, tile_cap_256"),
        ({"coordinates": "ndc"}, "'lengths' is missing, which coordinates other than pixels needs.*\"pixels\""),
        ({"blend": "topk"}, "'topk' is missing, which blend 'topk' needs"),
        ({"blend": "topk", "topk": {"k": 0, "epsilon": 1e-4}}, "the fact 'topk.k'"),
        ({"blend": "topk", "topk": {"k": 3, "epsilon": 0.0}}, "epsilon must be finite and at least"),
        ({"blend": "topk", "topk": {"k": 3}}, "fact 'topk.epsilon' is missing"),
        ({"blend": "topk", "topk": {"k": 3, "epsilon": 1, "eps": 1}}, "unknown fact 'topk.eps' .known: k, epsilon"),
        ({"blend": "alpha", "background": 0}, "'order' is missing, which blend 'alpha' needs"),
        ({"blend": "alpha", "order": "front_to_back"}, "'background' is missing"),
        ({"background": 1}, "'background' belongs to blend 'alpha'"),
        ({"opacities": "linear"}, "'opacities' belongs to the array 'opacities', and the file has none"),
        ({"notes": "\x1b[31mred"}, "'notes'.*cannot be printed"),
        ({"method": "x" * 2000}, "'method'"),
        ({"encode_seconds": -1}, "'encode_seconds'"),
        ({"nominal_bits": 10**30}, "'nominal_bits'"),
    ],
)  # fmt: skip
def test_facts_that_do_not_fit(save, changes, match):
    refused(save(arrays(), facts(**changes)), match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"version": 1, "version": 1}', "the fact 'version' is given twice"),
        ("[" * 50_000, "not a JSON object"),
        ('{"gamma": NaN}', "gamma"),
        ("x" * 70_000, "at most 65536"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_texts_that_are_no_facts(save, text, match, suffix):
    refused(save(arrays(), text, suffix), match)


# -- what belongs together ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"means": None}, "array 'means' is missing"),
        ({"colors": None}, "array 'colors' is missing"),
        ({"angles": None}, "array 'angles' is missing; ways"),
        ({"scales": None, "angles": None}, "in one way, not 0: scales and angles; cholesky; covariance; conic"),
        ({"cholesky": np.ones((20, 3))}, "in one way, not 2"),
        ({"level0/means": np.ones((20, 2))}, "unknown array 'level0/means' .known: means"),
        ({"means": np.ones((20, 3))}, r"'means' has shape \[20, 3\]; expected \[20, 2\]"),
        ({"means": np.ones(())}, "'means' holds 0 Gaussians"),
        ({"means": np.ones((0, 2))}, "'means' holds 0 Gaussians"),
        ({"colors": np.ones((19, 3))}, r"'colors' has shape \[19, 3\]; expected \[20"),
        ({"colors": np.ones((20, 0))}, "no channels"),
        ({"angles": np.ones((20, 2))}, r"'angles' has shape \[20, 2\]; expected \[20\]"),
        ({"opacities": np.ones(20)}, "'opacities' is missing, which the array 'opacities' needs"),
        ({"means": np.ones((20, 2), bool)}, "'means' holds bool"),
        ({"means": np.ones((20, 2), complex)}, "complex"),
        ({"means": np.full((20, 2), "x")}, "'means' holds <U1"),
    ],
)
def test_arrays_that_do_not_belong_together(save, changes, match):
    values = {name: value for name, value in (arrays() | changes).items() if value is not None}
    refused(save(values, facts()), match)


def test_opacities_are_for_alpha(save):
    told = facts(opacities="linear")
    refused(
        save(arrays() | {"opacities": np.ones(20)}, told), "'sum' takes no opacities: multiply them into the colours"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["means", "scales", "angles", "colors"])
def test_numbers_that_are_none_are_named(save, name, value):
    values = arrays()
    values[name][[3, 17]] = value
    refused(save(values, facts()), f"array '{name}': values of 2 Gaussians are NaN or infinite .counted from 0: 3, 17")


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("scales", 0, "'scales': values of 1 Gaussians are zero or negative .counted from 0: 4"),
        ("scales", -1, "zero or negative"),
        ("scales", 1e-60, "so small that float32 makes them 0"),
        ("scales", 2.0**31, "beyond 2.30 as scales in pixels"),
        ("means", 2.0**31, "beyond 2.30 as means in pixels"),
        ("colors", -(2.0**31), "beyond 2.30"),
        ("colors", 1e300, "beyond 2.30"),
        ("angles", 1e10, "beyond 2.30"),
    ],
)
def test_values_out_of_range_are_named(save, name, value, match):
    values = {key: array.astype(np.float64) for key, array in arrays().items()}
    values[name][4] = value
    refused(save(values, facts()), match)


def test_a_logarithm_may_overflow(save):
    values = arrays()
    values["scales"][2] = 800
    refused(save(values, facts(scales="log")), "'scales'.*beyond 2.30.*: 2")


@pytest.mark.parametrize("form", ["covariance", "conic"])
@pytest.mark.parametrize("bad", [(1, 1, 1), (1, 2, 1), (-1, 0, -1), (0, 0, 1), (1, 0, 0)])
def test_matrices_that_are_no_covariance_are_named(save, form, bad):
    values = {key: arrays()[key] for key in ("means", "colors")} | {form: np.tile([2.0, 0.5, 1.0], (20, 1))}
    told = facts(scales=None, angle_unit=None, angle_direction=None)
    assert len(to_gaussians(read_arrays(save(values, told)), SIZE)) == 20
    values[form][11] = bad
    refused(save(values, told), f"'{form}': values of 1 Gaussians are not positive definite .counted from 0: 11")


@pytest.mark.parametrize("bad", [(0, 1, 1), (1, 1, 0)])
def test_factors_without_an_area_are_named(save, bad):
    values = {key: arrays()[key] for key in ("means", "colors")} | {"cholesky": np.tile([2.0, 0.5, -1.0], (20, 1))}
    told = facts(scales=None, angle_unit=None, angle_direction=None)
    assert len(to_gaussians(read_arrays(save(values, told)), SIZE)) == 20
    values["cholesky"][9] = bad
    refused(save(values, told), "'cholesky': values of 1 Gaussians are zero on the diagonal .counted from 0: 9")


@pytest.mark.parametrize("bad", [-0.01, 1.01])
def test_opacities_out_of_range_are_named(save, bad):
    told = facts(blend="alpha", order="front_to_back", background=0, opacities="linear")
    opacities = np.linspace(0, 1, 20)
    opacities[5] = bad
    refused(save(arrays() | {"opacities": opacities}, told), r"'opacities'.*outside \[0, 1\] .counted from 0: 5")


def test_what_a_reader_refuses_is_not_written(tmp_path):
    flat = Gaussians2D(means=torch.ones(2, 2), colors=torch.ones(2, 3), size=(4, 4), cholesky=torch.zeros(2, 3))
    with pytest.raises(ExchangeError, match="zero on the diagonal"):
        write_npz(tmp_path / "a.npz", flat)
    assert list(tmp_path.iterdir()) == []


# -- files -------------------------------------------------------------------------------------------------------------
def test_places_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("folder.npz", "pipe.npz"):
        with pytest.raises(ExchangeError, match=f"{name}: this is not a file"):
            read_arrays(tmp_path / name)
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(ExchangeError, match=r"a\.pt: the name must end in \.npz or \.safetensors"):
        read_arrays(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x04K*.", b"\xff" * 100, b"\0" * 5000], ids=range(5))
def test_other_formats(tmp_path, suffix, data):
    """Pickles among them: nothing is unpickled."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    refused(path, rf"a\{suffix}: not a ")


def test_a_pickle_in_an_array_is_not_read(save, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, means=np.array([{"a": 1}], dtype=object), facts=json.dumps(facts()))
    refused(path, "elements of type object; only numbers are read")
    structured = np.zeros(20, [("x", "f4"), ("y", "f4")])
    refused(save(arrays() | {"means": structured}, facts()), "'means.npy' has elements of type")


def test_names_that_are_there_twice(tmp_path):
    data = npy(np.ones((20, 2), np.float32))
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "a.npz", [("means.npy", data), ("means.npy", data)])
    refused(path, "holds 'means.npy' twice")
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f'{{"means":{entry},"means":{entry}}}'.encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    refused(path, "names 'means' twice")


def test_members_that_are_no_arrays(tmp_path):
    refused(zipped(tmp_path / "a.npz", [("../../means.txt", b"1")]), "which is not an array")
    many = [(f"m{i}.npy", npy(np.ones(1))) for i in range(40)]
    refused(zipped(tmp_path / "b.npz", many), "40 members; at most 16")
    odd = zipped(tmp_path / "c.npz", [("means.npy", npy(np.ones(1)))], zipfile.ZIP_BZIP2)
    refused(odd, "packed in a way that numpy does not write")
    refused(zipped(tmp_path / "d.npz", [("means.npy", b"\x93NUMPY\x01\x00v\x00{}")]), "not a readable .npz")


def test_arrays_that_say_more_than_there_is(tmp_path):
    whole = npy(np.ones((20, 2), np.float32))
    for shape in ("(2000000000, 2)", "(-20, -2)", "(19, 2)"):
        lying = whole.replace(b"(20, 2), }" + b" " * (len(shape) - 7), f"{shape}, }}".encode())
        assert len(lying) == len(whole) and lying != whole
        refused(zipped(tmp_path / "a.npz", [("means.npy", lying)]), "bytes follow")


def peak_mib(path: Path) -> float:
    tracemalloc.start()
    try:
        with pytest.raises(ExchangeError):
            to_gaussians(read_arrays(path), SIZE)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "a.npz"
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: it takes no room
    refused(path, f"{MAX_BYTES + 1} bytes are more than")
    assert peak_mib(path) < 1


def test_bombs_are_not_unpacked(tmp_path):
    """128 MiB in 128 KiB; also where the table of contents says that it is little."""
    bomb = zipped(tmp_path / "a.npz", [("means.npy", b"\0" * (1 << 27))], zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 18
    refused(bomb, "would unpack to")
    assert peak_mib(bomb) < 40
    data = bomb.read_bytes().replace(struct.pack("<I", 1 << 27), struct.pack("<I", 1 << 20))
    bomb.write_bytes(data)
    refused(bomb, "not a readable .npz")
    assert peak_mib(bomb) < 40


# -- damage ------------------------------------------------------------------------------------------------------------
def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bits turned, bytes put in or cut out, the end gone, numbers made large, parts doubled."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(spoilt)), rng.randrange(6)
        if kind == 0:
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            spoilt[at : at + 4] = struct.pack("<I", rng.choice([0, 0xFFFFFFFF, 0x7FFFFFFF, 1 << 30]))
        elif kind == 2:
            del spoilt[at : at + rng.randint(1, 40)]
        elif kind == 3:
            spoilt[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == 4:
            del spoilt[max(at, 1) :]
        else:
            spoilt[at:at] = spoilt[at : at + 200]
    return bytes(spoilt)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_damage_gives_a_sentence_or_gaussians(save, suffix):
    """300 damaged files each: never another exception, never much memory, and what comes out is drawable."""
    path = save(arrays(), facts(), suffix)
    whole, outcomes = path.read_bytes(), {"refused": 0, "taken": 0}
    tracemalloc.start()
    try:
        for seed in range(300):
            path.write_bytes(damaged(whole, random.Random(seed)))
            try:
                made = to_gaussians(read_arrays(path), SIZE)
            except ExchangeError:
                outcomes["refused"] += 1
            else:
                outcomes["taken"] += 1
                made.check_finite()
                assert made.size == SIZE
                covariance = made.covariance()
                assert bool((covariance[:, 0] * covariance[:, 2] >= covariance[:, 1] ** 2).all())
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
    assert outcomes["refused"] > 150, outcomes
