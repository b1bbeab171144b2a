"""`encode_from` of every method that has it: the first picture is the start's, a warm fit is ahead of a cold one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.fitting import psnr
from splatbench.fitting.warm import converted, factors
from splatbench.gaussians import Gaussians2D
from splatbench.method import MethodError, get_method
from splatbench.render import render
from splatbench.trace import Trace

#: Methods that begin from given Gaussians, with settings for each kind of parameters.
WARM = [
    ("gaussianimage", {"variant": "cholesky"}),
    ("gaussianimage", {"variant": "rs"}),
    ("gaussianimage", {"variant": "rs", "quantise": True, "qat_iterations": 2, "preset": "published"}),
    ("smartsplat", {}),
    ("smartsplat", {"quantise": True, "qat_iterations": 2}),
    ("image_gs", {"preset": "quick"}),
    ("image_gs", {"preset": "quick", "blend": "sum", "inverse_scale": False}),
    ("image_gs", {"preset": "air600_q"}),
]


def made(name: str, settings: dict):
    kind = get_method(name)
    return kind(kind.make_config(settings), "cpu")


def quality(gaussians: Gaussians2D, image: np.ndarray, clamp: bool = True) -> float:
    picture = render(gaussians)
    picture = picture.clamp(0, 1) if clamp else picture
    return psnr(float((picture - torch.from_numpy(image) / 255).square().mean()))


@pytest.fixture(scope="module")
def image(crop) -> np.ndarray:
    return np.ascontiguousarray(crop[:64, :80])


def some(image: np.ndarray, blend: str = "sum", cholesky: bool = False) -> Gaussians2D:
    """320 Gaussians on a grid of 4 pixels, of various shapes; between 14 and 25 dB."""
    height, width = image.shape[:2]
    y, x = np.mgrid[2:height:4, 2:width:4].reshape(2, -1)
    draw = torch.Generator().manual_seed(3)
    colors = torch.from_numpy(image[y, x]).float() / 255
    means = torch.from_numpy(np.stack([x, y], 1) + 0.5).float() + torch.rand(len(x), 2, generator=draw)
    form = {
        "scales": 1.2 + 1.6 * torch.rand(len(x), 2, generator=draw),
        "angles": 9 * torch.rand(len(x), generator=draw) - 4,
    }
    start = Gaussians2D(means, colors if blend == "topk" else 0.5 * colors, (height, width), blend=blend, **form)
    if cholesky:
        return Gaussians2D(means, start.colors, (height, width), blend=blend, cholesky=factors(start))
    return start


@pytest.mark.parametrize("cholesky", [False, True])
@pytest.mark.parametrize("blend", ["sum", "topk"])
@pytest.mark.parametrize(("name", "settings"), WARM)
def test_the_first_picture_is_that_of_the_start(image, name, settings, blend, cholesky):
    start = some(image, blend, cholesky)
    method, trace = made(name, {key: value for key, value in settings.items() if "quant" not in key}), Trace()
    method.encode_from(start, image, Budget(gaussians=len(start), iterations=1), trace)
    own = settings.get("blend", method.blend)
    shown = converted(start, image, own)
    bits = settings.get("preset") == "air600_q"  # 8 bits of colours and angles
    flags = settings.get("preset") == "published"  # 256 Gaussians per tile are not reached here, 3 sigma are
    first = trace.curve[0][2]["psnr"]
    clamps = name != "image_gs"
    assert first == pytest.approx(quality(shown, image, clamps), abs=0.3 if bits or flags else 0.01)
    if blend == own:
        assert torch.equal(shown.colors, start.colors)


@pytest.mark.parametrize("blend", ["sum", "topk"])
@pytest.mark.parametrize(("name", "settings"), WARM)
def test_a_warm_fit_is_ahead_and_repeatable(image, name, settings, blend):
    start, method = some(image, blend), made(name, settings)
    budget = Budget(gaussians=len(start), iterations=20)
    warm = method.encode_from(start, image, budget, Trace(), 1)
    data = method.to_bytes(warm)
    decoded = method.from_bytes(data)
    assert len(decoded) == len(start)
    cold = method.from_bytes(method.to_bytes(method.encode(image, budget, Trace(), 1)))
    assert quality(decoded, image) > quality(cold, image) + 1
    assert method.to_bytes(method.encode_from(start, image, budget, Trace(), 1)) == data


def test_the_start_is_not_changed(image):
    for name, settings in WARM:
        start = some(image, "topk" if name == "image_gs" else "sum")
        before = {key: value.clone() for key, value in start.tensors().items()}
        made(name, settings).encode_from(start, image, Budget(gaussians=len(start), iterations=3), Trace())
        for key, value in before.items():
            assert torch.equal(start.tensors()[key], value), (name, key)
            assert not start.tensors()[key].requires_grad


def test_gaussians_outside_the_picture_are_noted_where_they_cannot_stay(image):
    start = some(image)
    start.means[:7] -= 30.0
    trace = Trace()
    made("gaussianimage", {}).encode_from(start, image, Budget(gaussians=len(start), iterations=1), trace)
    outside = int(((start.means < 0.5 + 1 / 32).any(1)).sum())
    assert outside >= 5 and trace.notes[0].startswith(f"{outside} of 320 Gaussians of the start")
    for name in ("smartsplat", "image_gs"):
        method, trace = made(name, {}), Trace()
        budget = Budget(gaussians=len(start), iterations=1)
        decoded = method.from_bytes(method.to_bytes(method.encode_from(start, image, budget, trace)))
        assert not trace.notes and int((decoded.means < 0).any(1).sum()) == int((start.means < 0).any(1).sum())


def test_points_and_lines_can_be_fitted(image):
    start = some(image)
    start.scales[0], start.scales[1] = torch.tensor([0.0, 0.0]), torch.tensor([0.0, 20.0])
    for name, settings in WARM:
        method = made(name, settings)
        encoding = method.encode_from(start, image, Budget(gaussians=len(start), iterations=3), Trace())
        method.from_bytes(method.to_bytes(encoding)).check_finite()


def test_time_and_snapshots_of_a_warm_fit(image):
    start, kept = some(image), {}
    trace = Trace(snapshots=[2], on_snapshot=kept.__setitem__, seconds=5.0, elapsed=4.0)
    method = made("gaussianimage", {})
    method.encode_from(start, image, Budget(gaussians=len(start), iterations=3), trace)
    assert set(kept) == {"2"} and trace.snapshot_seconds["2"] == 4.0  # the clock was not started
    assert [i for i, *_ in trace.curve] == [1, 2, 3] and all(at == 4.0 for _, at, _ in trace.curve)


@pytest.mark.parametrize("name", ["gaussianimage", "smartsplat", "image_gs"])
def test_a_start_that_does_not_fit_is_refused(image, name):
    start, method = some(image), made(name, {})
    with pytest.raises(ValueError, match="320 Gaussians, the budget asks for 319"):
        method.encode_from(start, image, Budget(gaussians=319), Trace())
    with pytest.raises(ValueError, match="of 80x64 pixels, the picture of 40x64"):
        method.encode_from(start, image[:, :40], Budget(gaussians=320), Trace())
    with pytest.raises(MethodError, match="takes one of"):
        method.encode_from(start, image, Budget(native=True), Trace())


def test_image_gs_with_gamma_refuses(image):
    with pytest.raises(MethodError, match="gamma must be 1"):
        made("image_gs", {"gamma": 2.2}).encode_from(some(image), image, Budget(gaussians=320), Trace())


def test_methods_without_it_say_so(image):
    assert all(get_method(name).warm for name, _ in WARM)
    for name in ("lig", "threedgs", "air"):
        with pytest.raises(MethodError, match="cannot begin from"):
            made(name, {}).encode_from(some(image), image, Budget(gaussians=320), Trace())
