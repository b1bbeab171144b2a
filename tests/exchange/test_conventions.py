"""The conventions of the published codes, each written down a second time and drawn at a few points."""

from __future__ import annotations

import numpy as np
import pytest

from splatbench.exchange import ExchangeError, read_arrays, to_gaussians
from tests.exchange.conftest import SIZE, arrays, facts

HEIGHT, WIDTH = SIZE
N = 20
RNG = np.random.default_rng(7)
RAW = {"xy": RNG.normal(0, 0.7, (N, 2)), "s": RNG.normal(2, 0.8, (N, 2)), "turn": RNG.normal(0, 2, N),
       "l": RNG.uniform(0.5, 4, (N, 3)), "colors": RNG.random((N, 3))}  # fmt: skip
PIXEL = {"lengths": "pixels"}
NO_SCALES = {"scales": None, "angle_unit": None, "angle_direction": None}
BOTH = {"compat": ["tiles_3sigma", "tile_cap_256"]}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def ndc(m: np.ndarray) -> np.ndarray:
    """W (m + 1) / 2, where the kernels sample the pixel of column j at j."""
    return np.stack([WIDTH * (m[:, 0] + 1) / 2, HEIGHT * (m[:, 1] + 1) / 2], 1)


def turned(s: np.ndarray, theta: np.ndarray, sign: int) -> np.ndarray:
    """[N, 2, 2]: R diag(s^2) R^T with R = [[c, -sign s], [sign s, c]]."""
    c, n = np.cos(theta), sign * np.sin(theta)
    rotation = np.stack([np.stack([c, -n], 1), np.stack([n, c], 1)], 1)
    return rotation @ (np.eye(2) * (s**2)[:, None, :]) @ rotation.transpose(0, 2, 1)


def gaussianimage_cholesky():
    means, factor = np.tanh(RAW["xy"]), RAW["l"] + [0.5, 0, 0.5]
    lower = np.zeros((N, 2, 2))
    lower[:, 0, 0], lower[:, 1, 0], lower[:, 1, 1] = factor.T
    told = facts(coordinates="ndc", pixel_centers="integer", **PIXEL, **NO_SCALES, **BOTH)
    return {"means": means, "cholesky": factor}, told, ndc(means), lower @ lower.transpose(0, 2, 1)


def gaussianimage_rs(sign: int = -1, floor: bool = False):
    means, theta = np.tanh(RAW["xy"]), 2 * np.pi * sigmoid(RAW["turn"])
    scales = np.maximum(RAW["s"], 0.5) if floor else np.abs(RAW["s"] + 0.5)
    direction = "y_to_x" if sign < 0 else "x_to_y"
    told = facts(coordinates="ndc", pixel_centers="integer", angle_direction=direction, **PIXEL, **BOTH)
    return {"means": means, "scales": scales, "angles": theta}, told, ndc(means), turned(scales, theta, sign)


def image_gs():
    means, inverse = sigmoid(RAW["xy"]), 1 / np.abs(RAW["s"])
    told = facts(coordinates="unit", pixel_centers="integer", scales="inverse", angle_direction="y_to_x", blend="topk",
                 topk={"k": 10, "epsilon": 1e-4}, compat=["tiles_3sigma"], **PIXEL)  # fmt: skip
    given = {"means": means, "scales": inverse, "angles": RAW["turn"][:, None]}
    return given, told, means * [WIDTH, HEIGHT], turned(1 / inverse, RAW["turn"], -1)


def smartsplat():
    """No tanh: means may leave the picture; as 64-bit numbers of another program, in degrees."""
    scales, theta = np.abs(RAW["s"]), 2 * np.pi * sigmoid(RAW["turn"])
    told = facts(coordinates="ndc", pixel_centers="integer", angle_direction="y_to_x", angle_unit="degrees", **PIXEL)
    given = {"means": RAW["xy"], "scales": scales, "angles": np.rad2deg(theta)}
    return given, told, ndc(RAW["xy"]), turned(scales, theta, -1)


def air():
    """The network's position q is stretched to q W / (W - 1)."""
    q = sigmoid(RAW["xy"]) * [WIDTH - 1, HEIGHT - 1]
    scales, theta = np.abs(RAW["s"]), 2 * np.pi * sigmoid(RAW["turn"])
    told = facts(coordinates="unit", pixel_centers="integer", **PIXEL, **BOTH)
    given = {"means": q / [WIDTH - 1, HEIGHT - 1], "scales": scales, "angles": theta}
    return given, told, q * [WIDTH / (WIDTH - 1), HEIGHT / (HEIGHT - 1)], turned(scales, theta, 1)


def fast_2dgs():
    x, y = RNG.integers(0, WIDTH, N), RNG.integers(0, HEIGHT, N)
    means, scales = np.stack([x / (WIDTH - 1), y / (HEIGHT - 1)], 1), np.log1p(np.exp(RAW["s"]))
    told = facts(coordinates="unit", pixel_centers="integer", angle_direction="y_to_x", blend="topk",
                 topk={"k": 10, "epsilon": 1e-4}, compat=["tiles_3sigma"], **PIXEL)  # fmt: skip
    given = {"means": means, "scales": scales, "angles": RAW["turn"]}
    return given, told, means * [WIDTH, HEIGHT], turned(scales, RAW["turn"], -1)


def threedgs():
    """One view: ndc to pixels ((v + 1) W - 1) / 2, sampled at integers; covariance with its low-pass."""
    view, sigma = np.tanh(RAW["xy"]), turned(np.abs(RAW["s"]), RAW["turn"], 1) + 0.3 * np.eye(2)
    told = facts(coordinates="ndc", blend="alpha", opacities="logit", order="front_to_back", background=1.0, **PIXEL,
                 **NO_SCALES)  # fmt: skip
    given = {"means": view, "opacities": RAW["turn"], "covariance": sigma[:, [0, 0, 1], [0, 1, 1]]}
    return given, told, np.stack([((view[:, 0] + 1) * WIDTH - 1) / 2, ((view[:, 1] + 1) * HEIGHT - 1) / 2], 1), sigma


CODES = {
    "gaussianimage cholesky": gaussianimage_cholesky,
    "gaussianimage rs": gaussianimage_rs,
    "instant_gi": lambda: gaussianimage_rs(sign=1, floor=True),
    "image_gs": image_gs,
    "smartsplat": smartsplat,
    "air": air,
    "fast_2dgs": fast_2dgs,
    "3dgs": threedgs,
}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_published_conventions(save, name, suffix):
    given, told, centres, sigma = CODES[name]()
    path = save(given | {"colors": RAW["colors"]}, told, suffix)
    made = to_gaussians(read_arrays(path), SIZE)
    np.testing.assert_allclose(made.means.numpy() - 0.5, centres, rtol=2e-7, atol=1e-5)
    np.testing.assert_allclose(made.covariance().numpy(), sigma[:, [0, 0, 1], [0, 1, 1]], rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(made.colors.numpy(), RAW["colors"], rtol=1e-7)
    assert made.blend == told["blend"] and made.compat == set(told.get("compat", ()))
    if name == "3dgs":
        assert made.opacities is not None and made.background == 1
        np.testing.assert_allclose(made.opacities.numpy(), sigmoid(RAW["turn"]), rtol=1e-6)


def same(first, second, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(first.means.numpy(), second.means.numpy(), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(first.covariance().numpy(), second.covariance().numpy(), rtol=rtol, atol=1e-4)
    np.testing.assert_allclose(first.colors.numpy(), second.colors.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("axes", ["xy", "yx"])
@pytest.mark.parametrize("coordinates", ["pixels", "unit", "ndc"])
@pytest.mark.parametrize("lengths", ["pixels", "coordinates"])
def test_every_form_of_covariance_says_the_same(save, axes, coordinates, lengths):
    """One set of Gaussians in all forms, orders and units: what comes out is one set."""
    base = arrays()
    wanted = to_gaussians(read_arrays(save(base, facts())), SIZE)
    sides = {"pixels": (1, 1), "unit": (WIDTH, HEIGHT), "ndc": (WIDTH / 2, HEIGHT / 2)}[coordinates]
    unit = np.diag([1 / side for side in sides]) if lengths == "coordinates" else np.eye(2)
    swap = np.array([[0.0, 1], [1, 0]]) if axes == "yx" else np.eye(2)
    xx, xy, yy = wanted.covariance().numpy().T
    sigma = np.stack([np.stack([xx, xy], 1), np.stack([xy, yy], 1)], 1)
    sigma = swap @ unit @ sigma @ unit @ swap
    means = base["means"].astype(np.float64) / sides - (1 if coordinates == "ndc" else 0)
    means = means @ swap
    told = facts(axes=axes, coordinates=coordinates, lengths=lengths, **NO_SCALES)
    pick = lambda matrix: matrix[:, [0, 0, 1], [0, 1, 1]]  # noqa: E731
    forms = {
        "covariance": pick(sigma),
        "conic": pick(np.linalg.inv(sigma)),
        "cholesky": np.linalg.cholesky(sigma)[:, [0, 1, 1], [0, 0, 1]],
    }
    for name, values in forms.items():
        made = to_gaussians(read_arrays(save({"means": means, "colors": base["colors"], name: values}, told)), SIZE)
        same(made, wanted)
    if lengths == "coordinates":
        # The eigenvectors of the stretched covariance are its axes, in units that differ between x and y.
        values, vectors = np.linalg.eigh(swap @ sigma @ swap)
        turns = {"scales": np.sqrt(values), "angles": np.arctan2(vectors[:, 1, 0], vectors[:, 0, 0])}
        told = facts(axes=axes, coordinates=coordinates, lengths=lengths)
        same(to_gaussians(read_arrays(save({"means": means, "colors": base["colors"]} | turns, told)), SIZE), wanted)


@pytest.mark.parametrize(
    ("form", "of"),
    [("variance", np.square), ("inverse", np.reciprocal), ("log", np.log), ("standard_deviation", np.copy)],
)
def test_forms_of_scales(save, form, of):
    base = arrays()
    wanted = to_gaussians(read_arrays(save(base, facts())), SIZE)
    scales = of(base["scales"].astype(np.float64))
    made = to_gaussians(read_arrays(save(base | {"scales": scales}, facts(scales=form))), SIZE)
    np.testing.assert_allclose(made.scales.numpy(), wanted.scales.numpy(), rtol=2e-7)


def test_colours_in_bytes_and_gaussians_from_the_back(save):
    base = arrays()
    base["colors"] = np.random.default_rng(1).integers(0, 256, (20, 3), np.uint8)
    alpha = {"blend": "alpha", "background": 0.25, "colors": "byte", "opacities": "linear"}
    opacities = np.linspace(0, 1, 20)
    told = facts(**alpha, order="back_to_front")
    made = to_gaussians(read_arrays(save(base | {"opacities": opacities}, told)), SIZE)
    np.testing.assert_array_equal(made.colors.numpy()[::-1], (base["colors"] / 255).astype(np.float32))
    np.testing.assert_array_equal(made.means.numpy()[::-1], base["means"])
    np.testing.assert_array_equal(made.opacities.numpy()[::-1], opacities.astype(np.float32))
    assert made.background == 0.25


def test_thin_gaussians_keep_their_width(save):
    """A needle of 0.01 x 3000: its covariance's determinant is beyond float32, its axes are not."""
    base = arrays(1) | {
        "scales": np.array([[3000.0, 0.01]]),
        "angles": np.array([30.0]),
        "means": np.array([[0.5, 0.5]]),
    }
    told = facts(angle_unit="degrees", coordinates="ndc", lengths="coordinates")
    base["scales"] = base["scales"] / [[WIDTH / 2]]
    made = to_gaussians(read_arrays(save(base, told)), SIZE)
    l11, _, l22 = made.cholesky.double().numpy()[0]
    assert l11 * l22 == pytest.approx(3000 * 0.01 * HEIGHT / WIDTH, rel=1e-6)


def test_another_picture_is_refused_with_both_sizes(save):
    with pytest.raises(ExchangeError, match="picture of 60x40 pixels.*this one has 61x40"):
        to_gaussians(read_arrays(save(arrays(), facts())), (40, 61))
