from __future__ import annotations

import pytest
import torch

from splatbench.budget import Budget
from splatbench.render import render
from splatbench.trace import Trace


def psnr(gaussians, image):
    picture = render(gaussians).clamp(0, 1).double()
    return float(-10 * torch.log10((picture - torch.from_numpy(image).double() / 255).square().mean()))


def encode(method, image, trace=None, n=400, iterations=300, **settings):
    instance = method(method.make_config({"quantise": True, "qat_iterations": 120} | settings))
    budget = Budget(gaussians=n, iterations=iterations)
    return instance, instance.encode(image, budget, trace if trace is not None else Trace(), 1)


@pytest.fixture(scope="module")
def fitted(method, crop):
    """(method, encoding, encodings by snapshot's name)."""
    taken = {}
    names = ["fit", "qat-1", "qat-60"]
    trace = Trace(snapshots=names, on_snapshot=lambda name, encoding: taken.update({name: encoding}))
    instance, encoding = encode(method, crop, trace)
    assert trace.steps == 300 + 120
    assert set(trace.stages) == {"initialise", "fit", "quantise"}
    assert list(taken) == names
    return instance, encoding, taken


def test_refinement_wins_back_what_rounding_costs(fitted, crop):
    _, encoding, taken = fitted
    whole = psnr(taken["fit"].gaussians, crop)
    rounded = psnr(taken["qat-1"].gaussians(), crop)
    refined = psnr(encoding.gaussians(), crop)
    assert rounded < whole - 0.3
    assert refined > rounded + 0.5 * (whole - rounded)


def test_decoded_gaussians_are_those_that_the_encoder_held(fitted):
    instance, encoding, taken = fitted
    for one in (encoding, taken["qat-60"]):
        decoded = type(instance).from_bytes(instance.to_bytes(one))
        for name, value in one.gaussians().tensors().items():
            assert torch.equal(decoded.tensors()[name], value), name


def test_frozen_gaussians_keep_their_codes(fitted):
    """Half of the way through, the half with the largest contribution is frozen, and is in the final file as it is."""
    _, encoding, taken = fitted

    def rows(codes):
        columns = [value.reshape(len(codes), -1) for value in vars(codes).values()]
        return {tuple(row) for row in torch.cat(columns, 1).tolist()}

    middle, final = rows(taken["qat-60"].codes), rows(encoding.codes)
    assert len(middle & final) >= 0.48 * len(encoding)
    start = rows(taken["qat-1"].codes)
    assert len(start & final) < 0.3 * len(encoding)


def test_last_picture_of_the_encoder_is_the_decoded_one(method, part, crop):
    """All are frozen after the last step: what the loss saw then, but for the last Gaussian, is what is written."""
    instance, encoding = encode(method, crop, iterations=60, qat_iterations=50)
    trace = Trace()
    instance, again = encode(method, crop, trace, iterations=60, qat_iterations=50)
    assert instance.to_bytes(encoding) == instance.to_bytes(again)
    assert trace.curve[-1][2]["qat_psnr"] == pytest.approx(psnr(encoding.gaussians(), crop), abs=0.5)


def test_largest_contributions_are_frozen_first(part):
    values = part("model").Activated(
        means=torch.zeros(4, 2),
        scales=torch.tensor([[1.0, 1.0], [4.0, 4.0], [4.0, 4.0], [2.0, 2.0]]),
        theta=torch.zeros(4),
        colors=torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [-1.0, -1.0, -1.0], [1.0, 0.5, 0.0]]),
    )
    assert part("refine")._places(values).tolist() == [3, 2, 0, 1]


def test_file_is_well_below_the_nominal_count(fitted, method, crop):
    instance, encoding, taken = fitted
    nominal = instance.nominal_bits(encoding)
    assert nominal == instance.nominal_bits(taken["fit"]) == 56 * 400
    assert 8 * len(instance.to_bytes(encoding)) < 0.95 * nominal
    assert len(instance.to_bytes(encoding)) < len(instance.to_bytes(taken["fit"])) / 3


def test_fewer_bits_make_smaller_files_of_lower_quality(method, crop, fitted):
    instance, encoding, _ = fitted
    _, coarse = encode(method, crop, scale_bits=5, colour_bits=6, angle_bits=4)
    assert len(instance.to_bytes(coarse)) < 0.85 * len(instance.to_bytes(encoding))
    assert psnr(coarse.gaussians(), crop) < psnr(encoding.gaussians(), crop) - 0.5


def test_published_support_is_in_the_file(method, crop):
    instance, encoding = encode(method, crop, iterations=5, qat_iterations=5, preset="published")
    decoded = method.from_bytes(instance.to_bytes(encoding))
    assert decoded.compat == {"tiles_3sigma", "tile_cap_256"}
    assert torch.equal(decoded.means, encoding.gaussians().means)
