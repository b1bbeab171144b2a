from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import Attribute, BitstreamError, decode, peek_method, read, write
from splatbench.render import render
from splatbench.trace import Trace


@pytest.mark.parametrize("preset", ["corrected", "published"])
def test_plain_file_holds_every_bit(method, crop, preset):
    instance = method(method.make_config({"preset": preset}))
    encoding = instance.encode(crop, Budget(gaussians=300, iterations=5), Trace())
    data = instance.to_bytes(encoding)
    assert peek_method(data) == "smartsplat"
    back = decode(data)
    rows = lambda g: sorted(map(tuple, torch.cat([t.reshape(len(g), -1) for t in g.tensors().values()], 1).tolist()))  # noqa: E731
    assert rows(back) == rows(encoding.gaussians)
    assert back.compat == encoding.gaussians.compat == instance.config.compat
    torch.testing.assert_close(render(back), render(encoding.gaussians), atol=2e-6, rtol=0)


def arrays(**changed):
    usual = {
        "bits": np.array([10, 5, 6, 7], np.uint8),
        "means": np.array([[3, 4], [700, 2]], np.uint16),
        "scales": np.array([[9, 0], [20, 20]], np.uint16),
        "angles": np.array([0, 63], np.uint16),
        "colors": np.array([[1, 2, 3], [127, 0, 9]], np.uint16),
    }
    return {name: value for name, value in (usual | changed).items() if value is not None}


def file_of(values, method="smartsplat", variant="codes"):
    attributes = [Attribute(name, value) for name, value in values.items()]
    return write(method, (30, 40), "sum", frozenset(), attributes, {"variant": variant})


def test_codes_are_read_as_documented(method):
    """By hand, from the text of `quantise`."""
    g = method.from_bytes(file_of(arrays()))
    assert g.size == (30, 40)
    step = 1.25 * 40 / 2**10
    np.testing.assert_allclose(g.means.numpy(), np.array([[3, 4], [700, 2]]) * step - 5, rtol=1e-6)
    octaves = np.array([[9, 9], [20, 0]]) * 16 / 2**5 - 4
    np.testing.assert_allclose(g.scales.numpy(), 2.0**octaves, rtol=1e-6)
    np.testing.assert_allclose(g.angles.numpy(), [0, 63 * np.pi / 64], rtol=1e-6)
    luma, red, green = (np.array([[1, 2, 3], [127, 0, 9]]) / 16 - 4).T
    expected = np.stack([luma + red - green, luma + green, luma - red - green], 1)
    np.testing.assert_allclose(g.colors.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"angles": None}, "'angles' is missing"),
        ({"means": np.zeros((2, 2), np.float32)}, "'means' is missing or not uint16"),
        ({"bits": np.array([10, 5, 6], np.uint8)}, "four numbers of bits"),
        ({"bits": np.array([10, 0, 6, 7], np.uint8)}, "four numbers of bits"),
        ({"scales": np.zeros((3, 2), np.uint16)}, "'scales': expected shape"),
        ({"colors": np.zeros(2, np.uint16)}, "'colors': expected shape"),
        ({"colors": np.zeros((2, 0), np.uint16)}, "'colors': expected shape"),
        ({"angles": np.zeros((2, 2), np.uint16)}, "expected shape"),
        ({"means": np.array([[3, 4], [1024, 2]], np.uint16)}, "more than 10 bits"),
        ({"angles": np.array([0, 64], np.uint16)}, "more than 6 bits"),
        ({"scales": np.array([[9, 10], [20, 20]], np.uint16)}, "below the grid"),
    ],
)
def test_codes_that_do_not_fit_are_refused(method, changed, message):
    with pytest.raises(BitstreamError, match=message):
        method.from_bytes(file_of(arrays(**changed)))


def test_other_files_are_refused(method):
    with pytest.raises(BitstreamError, match="made by method 'other'"):
        method.from_bytes(file_of(arrays(), method="other"))
    with pytest.raises(BitstreamError, match="unknown variant 'wavelets'"):
        method.from_bytes(file_of(arrays(), variant="wavelets"))


def test_quantised_file_is_in_morton_order(method, crop):
    """Coder 2 of the format: half a byte to a byte less for each Gaussian than the codes in any order."""
    instance = method(method.make_config({"quantise": True, "qat_iterations": 2}))
    encoding = instance.encode(crop, Budget(gaussians=500, iterations=2), Trace())
    data = instance.to_bytes(encoding)
    means = read(data).arrays["means"]
    shuffled = encoding.codes[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    other = instance.to_bytes(type(encoding)(shuffled, encoding.grids, encoding.activation))
    assert np.array_equal(means, encoding.codes.positions.numpy())
    assert len(other) - len(data) > 0.5 * 500
