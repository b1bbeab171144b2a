"""Files: every bit comes back, the decoder shows what the fit has seen, sizes beside the nominal count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.codec import Attribute, BitstreamError, Grid, peek_method, read, spatial_order, write
from splatbench.render import rasterize_topk, render


def same(a, b):
    assert a.tensors().keys() == b.tensors().keys()
    for name, value in a.tensors().items():
        assert torch.equal(value, b.tensors()[name]), name
    assert (a.size, a.blend, a.compat, a.topk, a.gamma) == (b.size, b.blend, b.compat, b.topk, b.gamma)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kernels": "published"},
        {"blend": "sum"},
        {"k": 4, "epsilon": 1e-3, "min_response": 1e-4, "gamma": 1.5},
        {"preset": "air600_q"},
        {"preset": "air600_q", "kernels": "published"},
        {"position_bits": 4, "scale_bits": 5, "angle_bits": 6, "color_bits": 7},
        {"color_bits": 8},
        {"scale_bits": 16, "inverse_scale": False},
    ],
    ids=str,
)
def test_every_bit_comes_back(method, encode, crop, settings):
    instance, encoding = encode(crop, 400, 12, **settings)
    data = instance.to_bytes(encoding)
    assert peek_method(data) == "image_gs"
    same(method.from_bytes(data), encoding.gaussians)
    assert instance.to_bytes(encoding) == data


@pytest.mark.parametrize("quantised_scale", ["scale", "inverse"])
def test_the_decoder_shows_what_the_fit_has_seen(method, part, crop, quantised_scale):
    config = method.make_config({"preset": "air600_q", "quantised_scale": quantised_scale}).resolved()
    model = part("model").Model(config, crop.shape[:2])
    parameters = part("start").start(crop, 500, config, np.random.default_rng(0))
    noise = torch.Generator().manual_seed(0)
    parameters = {name: value + 0.05 * torch.randn(value.shape, generator=noise) for name, value in parameters.items()}
    with torch.no_grad():
        means, covariance, colors = model(parameters)
    encoding = part("bitstream").encoding(model, parameters)
    back = method.from_bytes(part("bitstream").write_encoding(encoding))
    order = torch.from_numpy(spatial_order(encoding.codes["means"]))
    assert torch.equal(order, torch.arange(500))
    rows = lambda *values: sorted(map(tuple, torch.cat(values, 1).tolist()))  # noqa: E731
    assert rows(back.means, back.colors) == rows(means, colors)
    torch.testing.assert_close(back.covariance().sort(0)[0], covariance.sort(0)[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(render(back), rasterize_topk(means, covariance, colors, crop.shape[:2]))


def test_codes_are_those_of_min_max_grids(method, encode, crop):
    instance, encoding = encode(crop, 300, 10, preset="air600_q")
    file = read(instance.to_bytes(encoding))
    kinds = {name: array.dtype for name, array in file.arrays.items()}
    assert kinds == {"means": np.uint16, "scales": np.uint16, "angles": np.uint8, "colors": np.uint8,
                     "step": np.float32, "beta": np.float32}  # fmt: skip
    for name, top in (("means", 65535), ("scales", 65535), ("angles", 255), ("colors", 255)):
        assert (file.arrays[name].min(), file.arrays[name].max()) == (0, top)
    # One range for both coordinates of a position, in units of the sides; one for all channels of the colours.
    unit = method.from_bytes(instance.to_bytes(encoding)).means / torch.tensor([96, 96])
    assert float(unit.max() - unit.min()) == pytest.approx(65535 * float(file.arrays["step"][0]), rel=1e-4)


def test_quantising_twice_changes_nothing(part, encode, crop):
    _, encoding = encode(crop, 300, 10, preset="air600_q")
    bitstream, model = part("bitstream"), part("model")
    values = bitstream.dequantise(encoding.codes, encoding.step, encoding.offset)
    for name in model.STORED:
        grid = Grid.of(values[name].numpy(), encoding.bits[name])
        np.testing.assert_array_equal(grid.codes(values[name].numpy()), encoding.codes[name])


def test_gradients_pass_the_quantiser_unchanged(method, part, crop):
    """dL/dposition of a linear loss is the same with 4 bits and without."""
    config = method.make_config({"position_bits": 4, "color_bits": 4}).resolved()
    parameters = part("start").start(crop, 30, config, np.random.default_rng(0))
    leaves = {name: value.requires_grad_(True) for name, value in parameters.items()}
    means, _, colors = part("model").Model(config, crop.shape[:2])(leaves)
    weights = torch.rand(30, 2), torch.rand(30, 3)
    ((means * weights[0]).sum() + (colors * weights[1]).sum()).backward()
    torch.testing.assert_close(leaves["positions"].grad, weights[0] * 96)
    torch.testing.assert_close(leaves["colors"].grad, weights[1])
    assert len(colors.unique()) <= 16 < 30


def test_nominal_bits(encode, crop):
    grey = np.ascontiguousarray(crop[..., :1])
    for image, settings, expected in (
        (crop, {}, (4 + 1 + 3) * 32),
        (crop, {"preset": "air600_q"}, 96),
        (crop, {"position_bits": 16, "scale_bits": 16, "angle_bits": 16, "color_bits": 16}, 128),
        (grey, {"preset": "air600_q"}, 80),
    ):
        instance, encoding = encode(image, 200, 3, **settings)
        assert instance.nominal_bits(encoding) == 200 * expected


def test_real_files_are_smaller_than_the_nominal_count(encode, psnr, crop):
    """And quantised from the first step loses little."""
    instance, plain = encode(crop, 900, preset="quick")
    for quantised_scale in ("scale", "inverse"):
        quantised_instance, quantised = encode(crop, 900, 200, preset="air600_q", quantised_scale=quantised_scale)
        data = quantised_instance.to_bytes(quantised)
        assert 8 * len(data) < 0.95 * quantised_instance.nominal_bits(quantised)
        assert len(data) < 0.5 * len(instance.to_bytes(plain))
        assert psnr(quantised.gaussians, crop) > psnr(plain.gaussians, crop) - 2


def test_a_scale_that_crosses_infinity_takes_the_others_along_only_as_published(method, part, crop):
    """One inverse scale of 1e-7: as a scale it stretches the range to 1e7 px, and 16 bits leave steps of 150 px."""
    errors = {}
    for quantised_scale in ("scale", "inverse"):
        config = method.make_config({"preset": "air600_q", "quantised_scale": quantised_scale}).resolved()
        parameters = part("start").start(crop, 500, config, np.random.default_rng(0))
        parameters["scales"] += torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * 0.2
        parameters["scales"][7, 1] = 1e-7
        scales = part("model").Model(config, crop.shape[:2]).gaussians(parameters).scales
        errors[quantised_scale] = float((scales[8:] * parameters["scales"][8:] - 1).abs().max())
    assert errors["inverse"] < 1e-4
    assert errors["scale"] > 0.4  # all others become the smallest


def arrays(n=4):
    rng = np.random.default_rng(0)
    return {
        "means": np.sort(rng.integers(0, 9, (n, 2)).astype(np.uint16), 0),
        "scales": rng.integers(1, 9, (n, 2)).astype(np.uint16),
        "angles": rng.integers(0, 9, (n, 1)).astype(np.uint8),
        "colors": rng.integers(0, 9, (n, 3)).astype(np.uint8),
        "step": np.full(4, 0.1, np.float32),
        "beta": np.zeros(4, np.float32),
    }


def file_of(content, variant="scale", blend="topk"):
    return write("image_gs", (8, 9), blend, [], [Attribute(k, v) for k, v in content.items()], {"variant": variant})


def test_files_by_hand_are_read(method):
    g = method.from_bytes(file_of(arrays()))
    expected = arrays()["means"].astype(np.float32) * np.float32(0.1) * np.float32([9, 8])
    np.testing.assert_array_equal(g.means.numpy(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("angles"), "expected attributes means, scales, angles"),
        (lambda a: a.update(more=np.zeros(4, np.float32)), "expected attributes"),
        (lambda a: a.update(angles=a["angles"][:3]), r"'angles': expected codes or float32 \(4, 1\)"),
        (lambda a: a.update(angles=a["angles"][:, 0]), "'angles'"),
        (lambda a: a.update(colors=a["colors"].astype(np.int16)), "'colors'.*int16"),
        (lambda a: a.update(colors=a["colors"][:, :0]), "colors"),
        (lambda a: a.update(means=a["means"].reshape(-1)), "'means'"),
        (lambda a: a.update(step=np.ones(3, np.float32)), "'step': expected 4 finite"),
        (lambda a: a.update(beta=np.full(4, np.nan, np.float32)), "'beta': expected 4 finite"),
        (lambda a: a.update(step=np.full(4, 1e30, np.float32)), "NaN, infinite or beyond"),
        (lambda a: a.update(step=np.full(4, np.inf, np.float32)), "'step': expected 4 finite"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(method, change, message):
    content = arrays()
    change(content)
    with pytest.raises(BitstreamError, match=message):
        method.from_bytes(file_of(content))


def test_unknown_variants_and_other_methods_are_refused(method):
    with pytest.raises(BitstreamError, match="unknown variant 'other'"):
        method.from_bytes(file_of(arrays(), "other"))
    with pytest.raises(BitstreamError, match="made by method 'elsewhere'"):
        method.from_bytes(write("elsewhere", (4, 4), "topk", [], [], {}))
