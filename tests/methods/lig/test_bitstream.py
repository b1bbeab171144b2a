from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import Attribute, BitstreamError, decode, read, write
from splatbench.render import render
from splatbench.trace import Trace


def fitted(method, image, **settings):
    instance = method(method.make_config(settings))
    return instance, instance.encode(image, Budget(gaussians=400, iterations=80), Trace())


def rows(level):
    return sorted(map(tuple, torch.cat(list(level.tensors().values()), 1).tolist()))


@pytest.mark.parametrize("preset", ["published", "corrected"])
def test_plain_file_holds_every_bit(method, crop, preset):
    instance, encoding = fitted(method, crop, preset=preset, levels=3)
    back = decode(instance.to_bytes(encoding))
    assert back.size == (96, 96) and len(back) == 400
    for level, wanted in zip(back.levels, encoding.picture.levels, strict=True):
        assert rows(level) == rows(wanted) and (level.size, level.form) == (wanted.size, wanted.form)
    np.testing.assert_allclose(
        [(r.low, r.high) for r in back.ranges], [(r.low, r.high) for r in encoding.picture.ranges], rtol=1e-6
    )
    torch.testing.assert_close(render(back), render(encoding.picture), atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", ["published", "corrected"])
def test_quantised_file_is_smaller_and_close(method, crop, preset):
    instance, encoding = fitted(method, crop, preset=preset, quantise=True)
    plain, unquantised = fitted(method, crop, preset=preset)
    data = instance.to_bytes(encoding)
    assert len(data) < len(plain.to_bytes(unquantised)) / 2
    assert (render(decode(data)) - render(encoding.picture)).abs().mean() < 0.01
    assert read(data).arrays["shape1"].dtype == np.uint16


def test_codes_come_back_within_half_a_step(method, crop):
    instance, encoding = fitted(method, crop, quantise=True, mean_bits=12, color_bits=5)
    for level, wanted in zip(decode(instance.to_bytes(encoding)).levels, encoding.picture.levels, strict=True):
        for name, bits in (("means", 12), ("shape", 12), ("colors", 5)):
            got, value = np.sort(level.tensors()[name], 0), np.sort(wanted.tensors()[name], 0)
            step = np.ptp(value, axis=0) / (2**bits - 1)
            assert (np.abs(got - value) <= 0.51 * step + 1e-6).all()


def _file(**changes):
    """A file of two levels of a 6 x 8 picture, with arrays or meta values replaced, or left out where None."""
    arrays = {"ranges": np.array([[0.2, 0.8]], np.float32)}
    for k in range(2):
        arrays |= {f"means{k}": np.ones((3, 2), np.float32)}
        arrays |= {f"{name}{k}": np.ones((3, 3), np.float32) for name in ("shape", "colors")}
    meta = {"levels": 2, "form": "direct"}
    for name, value in changes.items():
        target = meta if name in meta else arrays
        target[name] = value
    kept = [Attribute(name, value) for name, value in arrays.items() if value is not None]
    return write("lig", (6, 8), "sum", frozenset(), kept, {k: v for k, v in meta.items() if v is not None})


def test_the_file_that_is_damaged_below_is_whole():
    assert len(decode(_file())) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": None}, "cannot have None levels"),
        ({"levels": 4}, "8x6 pixels cannot have 4 levels"),
        ({"form": "spheres"}, "unknown form 'spheres'"),
        ({"means0": None}, "ranges"),
        ({"means0": None, "means1": None}, "no level"),
        ({"colors1": None}, "'colors1': expected float32 .*missing"),
        ({"shape0": np.ones((2, 3), np.float32)}, "'shape0': expected float32"),
        ({"shape0": np.full((3, 3), np.nan, np.float32)}, "'shape0' holds values that are NaN"),
        ({"ranges": np.ones((2, 2), np.float32)}, "'ranges'"),
        ({"shape1": np.ones((3, 3), np.uint16)}, "'shape1': expected float32"),
        ({"shape1": np.ones((3, 3), np.uint16), "shape_grid1": np.ones((2, 2), np.float32)}, "does not fit the codes"),
        (
            {"shape1": np.ones((3, 3), np.uint16), "shape_grid1": np.full((2, 3), 3e38, np.float32)},
            "'shape1' holds values that are NaN, infinite",
        ),
    ],
)
def test_damaged_files_are_refused(changes, message):
    with pytest.raises(BitstreamError, match=message):
        decode(_file(**changes))


def test_file_of_another_method_is_refused(method):
    with pytest.raises(BitstreamError, match="made by method 'other'"):
        method.from_bytes(write("other", (4, 4), "sum", frozenset(), [], {}))


def test_a_budget_in_bytes(method, crop):
    instance, trace = method(method.make_config({"quantise": True})), Trace()
    trace.start()
    encoding = instance.encode(crop, Budget(bpp=2.0, iterations=20), trace)
    data = instance.to_bytes(encoding)
    assert 8 * len(data) / (96 * 96) == pytest.approx(2.0, rel=0.02)
    assert f"N = {len(encoding)}, covariance_bits {encoding.config.covariance_bits}" in trace.notes[0]
