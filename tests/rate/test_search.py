"""Budgets in bytes: the search against a method whose files have any length we like."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.budget import RATE_TOLERANCE, Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, MethodError
from splatbench.rate import Profile, fit_to_rate
from splatbench.rate.search import MAX_FITS, MAX_PILOTS, PILOT_SHARE, PILOT_STEPS, squared_error
from splatbench.trace import Diverged, Trace

IMAGE = np.full((64, 80, 3), 128, np.uint8)
STEPS = 100_000


@dataclass(frozen=True)
class Fitted:
    n: int
    bits: int
    share: float
    size: int


class Stub(Method):
    """Files of `fixed + n (2 + bits / 8)` bytes; pilots are off by `bias`. They decode to one flat Gaussian, which is
    the better the nearer its bits are to `best_bits`."""

    title = "Stub"
    Config = dict

    def __init__(self, fixed: int = 60, bias: float = 0.0, best_bits: int = 6) -> None:
        super().__init__({})
        self.fixed, self.bias, self.best_bits = fixed, bias, best_bits
        self.fits: list[Fitted] = []

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Any:
        raise NotImplementedError

    def fit(self, n: int, profile: Profile, share: float, trace: Trace) -> Fitted:
        with trace.stage("fit"):
            time.sleep(0.002)
            trace.step(n, n, loss=1.0)
        trace.log(n, psnr=20.0)
        size = (self.fixed + n * (2 + profile["bits"] / 8)) * (1 + (self.bias if share < 1 else 0))
        self.fits.append(Fitted(n, profile["bits"], share, round(size)))
        return self.fits[-1]

    def to_bytes(self, encoding: Fitted) -> bytes:
        return bytes([encoding.bits, self.best_bits]).ljust(encoding.size, b"\0")

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        level = 128 / 255 + abs(data[0] - data[1]) / 100
        return Gaussians2D(
            means=torch.tensor([[40.0, 32.0]]),
            colors=torch.full((1, 3), level),
            size=IMAGE.shape[:2],
            scales=torch.full((1, 2), 1e6),
            angles=torch.zeros(1),
        )


def find(stub: Stub, bpp: float, bits: tuple[int, ...] = (4, 6, 8), trace: Trace | None = None) -> Fitted:
    profiles = [{"bits": b} for b in bits]
    if trace is None:
        trace = Trace()
        trace.start()
    return fit_to_rate(stub, IMAGE, Budget(bpp=bpp), profiles, STEPS, stub.fit, trace)


def target(bpp: float) -> float:
    return bpp * 64 * 80 / 8


@settings(max_examples=40)
@given(st.floats(0.4, 14), st.integers(0, 150), st.floats(-0.2, 0.2), st.sampled_from([4, 6, 8]))
def test_the_file_has_the_wanted_length(bpp: float, fixed: int, bias: float, best: int) -> None:
    """Whatever the fixed cost, and however far the pilots' files are from those of whole fits."""
    stub = Stub(fixed, bias, best)
    found = find(stub, bpp)
    one_more = 2 + found.bits / 8
    assert abs(found.size - target(bpp)) <= max(RATE_TOLERANCE * target(bpp), one_more)
    assert found.share == 1 and found.bits == best
    whole = [fit for fit in stub.fits if fit.share == 1]
    assert len(whole) <= 3 and {fit.bits for fit in whole} == {best}
    assert all(fit.share == PILOT_SHARE for fit in stub.fits if fit.share < 1)
    assert len(stub.fits) - len(whole) <= 3 * MAX_PILOTS


def test_the_same_twice() -> None:
    first, second = Stub(bias=0.1), Stub(bias=0.1)
    assert find(first, 2.0) == find(second, 2.0) and first.fits == second.fits


def test_of_equally_good_profiles_the_first() -> None:
    assert find(Stub(best_bits=6), 2.0, (5, 7)).bits == 5
    assert find(Stub(best_bits=6), 2.0, (7, 5)).bits == 7


@pytest.mark.parametrize("steps", [100, 1000, 10**6])
def test_pilots_are_not_too_short(steps: int) -> None:
    stub, trace = Stub(), Trace()
    trace.start()
    fit_to_rate(stub, IMAGE, Budget(bpp=2.0), [{"bits": 6}], steps, stub.fit, trace)
    assert stub.fits[0].share == min(1.0, max(PILOT_SHARE, PILOT_STEPS / steps))


def test_a_profile_that_cannot_meet_the_rate_is_left_out() -> None:
    """At 0.1 bit per pixel, 64 bytes, the fixed cost of the profile of 8 bits alone is too much."""

    class Costly(Stub):
        def fit(self, n: int, profile: Profile, share: float, trace: Trace) -> Fitted:
            self.fixed = 500 if profile["bits"] == 8 else 30
            return super().fit(n, profile, share, trace)

    assert find(Costly(best_bits=8), 0.1).bits == 6
    assert find(Costly(best_bits=8), 2.0).bits == 8


@pytest.mark.parametrize(
    ("bpp", "sentence"),
    [
        (0.05, "0.05 bit/pixel are 32 bytes here, and Stub makes no shorter file than one of 62 bytes "
               "(0.0969 bit/pixel) with N = 1; ask for more"),
        (40.0, "40 bit/pixel are 25600 bytes here, and Stub makes no longer file than one of 15420 bytes "
               "(24.1 bit/pixel) with N = 5120; ask for less"),
    ],
)  # fmt: skip
def test_rates_out_of_reach_say_what_can_be_had(bpp: float, sentence: str) -> None:
    stub = Stub()
    with pytest.raises(MethodError) as caught:
        find(stub, bpp)
    assert str(caught.value) == sentence
    assert all(fit.share < 1 for fit in stub.fits), "found out before a whole fit"


def test_whole_fits_that_never_come_near_end() -> None:
    """Lengths without any order: the nearest of a few is returned, and the note says by how much it is off."""

    class Wild(Stub):
        def fit(self, n: int, profile: Profile, share: float, trace: Trace) -> Fitted:
            fitted = super().fit(n, profile, share, trace)
            if share == 1:
                size = (1000, 2000, 1100, 1700)[sum(f.share == 1 for f in self.fits) - 1]
                fitted = self.fits[-1] = Fitted(n, fitted.bits, share, size)
            return fitted

    stub, trace = Wild(), Trace()
    trace.start()
    assert find(stub, 2.0, trace=trace).size == 1100  # of 1280
    assert sum(fit.share == 1 for fit in stub.fits) == MAX_FITS
    (note,) = trace.notes
    assert note.startswith("the file is -14.06 % off its budget: N = ") and note.endswith("bits 6; whole fits: 4")


def test_the_trace_tells_the_fit_from_the_search() -> None:
    stub, steps = Stub(bias=0.15), []
    trace = Trace(on_step=lambda i, n, values: steps.append(i), interval=0.0)
    trace.start()
    found = find(stub, 2.0, trace=trace)
    trace.stop()
    assert sum(fit.share == 1 for fit in stub.fits) == 2, "so that one whole fit was thrown away"
    assert steps == [fit.n for fit in stub.fits], "progress of all fits is shown"
    assert trace.steps == found.n and [i for i, _, _ in trace.curve] == [found.n]
    assert set(trace.stages) == {"search", "fit"}
    assert sum(trace.stages.values()) == pytest.approx(trace.seconds, abs=0.002)
    assert trace.stages["search"] > 0.002 * (len(stub.fits) - 1) and trace.stages["fit"] < trace.stages["search"]
    assert trace.curve[0][1] > trace.stages["search"], "the curve's clock is that of the whole encoding"


def test_what_several_fits_cannot_share_is_refused() -> None:
    stub = Stub()
    with pytest.raises(MethodError, match="snapshots cannot be had"):
        find(stub, 2.0, trace=Trace(snapshots=[100]))
    with pytest.raises(MethodError, match="a time limit cannot be had"):
        fit_to_rate(stub, IMAGE, Budget(bpp=2.0, seconds=5.0), [{"bits": 6}], STEPS, stub.fit, Trace())
    assert not stub.fits


def test_a_fit_that_diverges_is_not_hidden() -> None:
    def fit(n: int, profile: Profile, share: float, trace: Trace) -> Fitted:
        trace.step(1, 2, loss=float("nan"))
        raise AssertionError

    with pytest.raises(Diverged, match="loss became nan"):
        fit_to_rate(Stub(), IMAGE, Budget(bpp=2.0), [{"bits": 6}], STEPS, fit, Trace())


@pytest.mark.parametrize("channels", [1, 3])
def test_squared_error_is_that_of_the_clamped_picture(channels: int) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (300, 21, channels)).astype(np.uint8)  # two strips
    gaussians = Gaussians2D(
        means=torch.tensor([[8.0, 40.0], [12.0, 280.0]]),
        colors=torch.tensor([[1.8] * channels, [-0.7] * channels]),
        size=(300, 21),
        scales=torch.tensor([[5.0, 9.0], [30.0, 6.0]]),
        angles=torch.tensor([0.3, -1.0]),
    )
    y, x = np.mgrid[0:300, 0:21] + 0.5
    picture = np.zeros((300, 21))
    for (mx, my), (sxx, sxy, syy), color in zip(
        gaussians.means.numpy(), gaussians.covariance().numpy(), (1.8, -0.7), strict=True
    ):
        dx, dy = x - mx, y - my
        power = (syy * dx**2 - 2 * sxy * dx * dy + sxx * dy**2) / (sxx * syy - sxy**2)
        weight = np.exp(-0.5 * power)
        picture += np.where(weight >= 1 / 255, weight, 0) * color
    expected = np.mean((picture.clip(0, 1)[..., None] - image / 255.0) ** 2)
    assert squared_error(gaussians, image) == pytest.approx(expected, rel=1e-5)
