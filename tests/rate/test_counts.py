"""Counts for a wanted file length: against synthetic rate functions with fixed cost, curvature, steps and noise."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from splatbench.budget import RATE_TOLERANCE
from splatbench.rate.counts import CountSearch, OutOfReach


class Rate:
    """Bytes of n Gaussians: fixed + slope * n^power, with noise that is the same for the same n."""

    def __init__(self, fixed: float, slope: float, power: float = 1.0, noise: float = 0.0, grain: int = 1) -> None:
        self.fixed, self.slope, self.power, self.noise, self.grain = fixed, slope, power, noise, grain

    def __call__(self, n: int) -> int:
        draw = int.from_bytes(hashlib.sha256(str(n).encode()).digest()[:4], "little") / 2**32
        size = (self.fixed + self.slope * n**self.power) * (1 + self.noise * (2 * draw - 1))
        return max(1, round(size / self.grain) * self.grain)


def search(rate: Rate, target: float, highest: int, start: int, prior: float | None = None) -> CountSearch:
    counts = CountSearch(target, highest, start, prior)
    for _ in range(60):
        n = counts.propose()
        if n is None:
            return counts
        assert 1 <= n <= highest and n not in counts.sizes, "every proposal is new and possible"
        counts.add(n, rate(n))
    raise AssertionError(f"no end: {counts}")


RATES = st.builds(
    Rate,
    fixed=st.floats(0, 2000),
    slope=st.floats(0.5, 40),
    power=st.floats(0.7, 1.3),
    noise=st.floats(0, 0.01),
    grain=st.sampled_from([1, 4, 100]),
)


@given(RATES, st.integers(1, 200_000), st.integers(1, 400_000))
def test_every_length_that_some_count_has_is_met(rate: Rate, wanted: int, start: int) -> None:
    target = rate(wanted)
    counts = search(rate, target, 400_000, start)
    n = counts.nearest
    if abs(counts.off) > RATE_TOLERANCE:  # then no count in the neighbourhood does better
        around = [rate(m) for m in range(max(1, n - 1), n + 2)]
        assert min(abs(size - target) for size in around) == abs(rate(n) - target)


@given(
    st.builds(Rate, fixed=st.floats(0, 2000), slope=st.floats(2, 40), power=st.floats(0.85, 1.15),
              noise=st.floats(0, 0.005)),
    st.integers(1000, 100_000),
    st.floats(0.2, 5),
)  # fmt: skip
def test_smooth_functions_take_few_fits(rate: Rate, wanted: int, factor: float) -> None:
    """Rates of real codecs are close to affine: from a start that is five times off."""
    counts = search(rate, rate(wanted), 1_000_000, round(wanted * factor))
    assert abs(counts.off) <= RATE_TOLERANCE and len(counts.sizes) <= 5


def test_a_good_prior_needs_two() -> None:
    """A large fixed cost misleads length / count; the slope that another search found does not."""
    rate = Rate(fixed=5000, slope=5)
    assert len(search(rate, 10_000, 10**6, start=900, prior=5.2).sizes) == 2
    assert len(search(rate, 10_000, 10**6, start=900).sizes) > 2


@given(RATES, st.floats(0.2, 0.9))
def test_below_the_file_of_one_gaussian(rate: Rate, share: float) -> None:
    smallest = min(rate(n) for n in range(1, 100))
    assume(share * smallest >= 1)
    with pytest.raises(OutOfReach) as caught:
        search(rate, share * smallest / (1 + RATE_TOLERANCE) * 0.97, 1000, 500)
    assert (caught.value.count, caught.value.size) == (1, rate(1))


@given(RATES, st.floats(1.1, 50))
def test_above_the_file_of_all_pixels(rate: Rate, factor: float) -> None:
    largest = max(rate(n) for n in range(1, 301))
    with pytest.raises(OutOfReach) as caught:
        search(rate, factor * largest, 300, 20)
    assert (caught.value.count, caught.value.size) == (300, rate(300))


def test_one_gaussian_more_or_less_is_too_much() -> None:
    """20 bytes each: 50 bytes cannot be met within 2 %; the nearest is returned, of two the smaller."""
    counts = search(Rate(fixed=0, slope=20), 50, 100, 7)
    assert counts.nearest == 2 and counts.off == pytest.approx(-0.2) and {2, 3} <= set(counts.sizes)


@pytest.mark.parametrize(("low", "high"), [(100, 101), (100, 106)])
def test_noise_that_turns_neighbours_round_ends(low: int, high: int) -> None:
    """More Gaussians gave a shorter file: what lies between is tried, then it ends."""
    counts = CountSearch(1000, 10_000, 100)
    counts.add(low, 1030)
    counts.add(high, 970)
    seen = []
    while (n := counts.propose()) is not None:
        seen.append(n)
        counts.add(n, 1040 if n % 2 else 960)
    assert len(set(seen)) == len(seen) <= high - low - 1
    assert counts.slope > 0


def test_a_curved_function_does_not_keep_one_end() -> None:
    """Plain regula falsi crawls along a strongly convex function."""
    counts = search(Rate(fixed=10, slope=1e-6, power=3.0), Rate(10, 1e-6, 3.0)(5000), 10**5, 1)
    assert abs(counts.off) <= RATE_TOLERANCE and len(counts.sizes) < 20
