"""Bjøntegaard deltas: the average difference of two rate-distortion curves, by the `bjontegaard` package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from splatbench.analysis.intervals import FEWEST_VALUES, Interval, mean_interval

#: How the points are joined. "pchip" is that of JVET's spreadsheets, and rises wherever its points do. "akima" follows
#: densely sampled curves better (Herglotz et al. 2022), but like "cubic", the original polynomial of VCEG-M33 (by least
#: squares where there are more than four points), it swings by decades where a method's quality stops to rise.
Interpolation = Literal["akima", "pchip", "cubic"]

#: Four points are what VCEG-M33 and JVET's test conditions use; fewer leave the shape of a curve to the interpolation.
FEWEST_POINTS = 4


@dataclass(frozen=True)
class Curve:
    """Points of a rate-distortion curve, in any order.

    Attributes:
        rates: above 0, all in one unit.
        qualities: one per rate; infinite where a picture is lossless.

    Raises:
        ValueError: lengths that differ, rates that are not positive and finite, or qualities that are NaN.
    """

    rates: Sequence[float]
    qualities: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.qualities):
            raise ValueError(f"a curve of {len(self.rates)} rates and {len(self.qualities)} qualities")
        for rate, quality in zip(self.rates, self.qualities, strict=True):
            if not (math.isfinite(rate) and rate > 0) or math.isnan(quality):
                raise ValueError(f"rate {rate}, quality {quality} is no point of a curve")

    def points(self) -> list[tuple[float, float]]:
        """(rate, quality), by rate."""
        return sorted(zip(map(float, self.rates), map(float, self.qualities), strict=True))


@dataclass(frozen=True)
class BD:
    """A Bjøntegaard delta.

    Attributes:
        value: None where the curves do not allow one.
        overlap: the part that both curves cover, as a share of the shorter one: 0..1, along quality for `bd_rate` and
            along the logarithm of the rate for `bd_quality`. None where the curves cannot be compared at all.
        over: what the average is taken over: (low, high) quality for `bd_rate`, rate for `bd_quality`.
        reason: why there is no value.
    """

    value: float | None
    overlap: float | None = None
    over: tuple[float, float] | None = None
    reason: str | None = None


def bd_rate(
    anchor: Curve,
    test: Curve,
    *,
    interpolation: Interpolation = "pchip",
    min_overlap: float = 0.5,
    lower_is_better: bool = False,
) -> BD:
    """Average difference of rate at equal quality, in percent of the anchor's: -10 means that test is 10 % cheaper.

    Args:
        min_overlap: smallest `BD.overlap` that gives a value.
        lower_is_better: the quality is a distance such as LPIPS.
    """
    return _delta("rate", anchor, test, interpolation, min_overlap, lower_is_better)


def bd_quality(
    anchor: Curve,
    test: Curve,
    *,
    interpolation: Interpolation = "pchip",
    min_overlap: float = 0.5,
    lower_is_better: bool = False,
) -> BD:
    """Average of test's quality minus the anchor's at equal rate, in the metric's unit and sign: BD-PSNR for PSNR.

    Args:
        min_overlap: smallest `BD.overlap` that gives a value.
        lower_is_better: the quality is a distance such as LPIPS; a negative value then means that test is better.
    """
    return _delta("quality", anchor, test, interpolation, min_overlap, lower_is_better)


def _delta(
    kind: Literal["rate", "quality"],
    anchor: Curve,
    test: Curve,
    interpolation: Interpolation,
    min_overlap: float,
    lower_is_better: bool,
) -> BD:
    if not 0 < min_overlap <= 1:
        raise ValueError(f"the smallest overlap is above 0 and at most 1, got {min_overlap}")
    for name, curve in (("anchor", anchor), ("test", test)):
        reason = _why_unusable(curve, lower_is_better)
        if reason is not None:
            return BD(None, reason=f"{name}: {reason}")
    sign = -1 if lower_is_better else 1
    (rates, qualities), (test_rates, test_qualities) = _arrays(anchor, sign), _arrays(test, sign)
    if kind == "rate":
        overlap = _overlap(qualities, test_qualities)
        over = _common(sign * qualities, sign * test_qualities)
    else:
        overlap = _overlap(np.log10(rates), np.log10(test_rates))
        over = _common(rates, test_rates)
    if overlap == 0:
        return BD(None, 0.0, reason=f"the curves have no {'quality' if kind == 'rate' else 'rate'} in common")
    if overlap < min_overlap:
        share = f"{100 * overlap:.3g} % of the shorter curve"
        return BD(None, overlap, over, f"only {share} overlaps; {100 * min_overlap:g} % are needed")
    value = _average(kind, (rates, qualities), (test_rates, test_qualities), interpolation)
    if value is None:
        return BD(None, overlap, over, f"{interpolation} interpolation falls between points that rise")
    return BD(value if kind == "rate" else sign * value, overlap, over)


def _arrays(curve: Curve, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Rates and sign * qualities, both rising."""
    rates, qualities = np.array(curve.points()).T
    return rates, sign * qualities


def _average(
    kind: Literal["rate", "quality"],
    anchor: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    interpolation: Interpolation,
) -> float | None:
    """The delta of curves (rates, qualities) that overlap; None where one does not rise between its points."""
    import bjontegaard  # here, since it loads matplotlib's pyplot

    delta = bjontegaard.bd_rate if kind == "rate" else bjontegaard.bd_psnr
    options = {"method": interpolation, "require_matching_points": False, "interpolators": True}
    with np.errstate(over="ignore"):  # of curves that are refused below
        # The caller has checked the overlap, by a definition that is documented.
        value, *fits = delta(*anchor, *test, **options, min_overlap=0)
    base = (anchor[1], test[1]) if kind == "rate" else (np.log10(anchor[0]), np.log10(test[0]))
    samples = np.array([fit(np.linspace(*_common(*base), 512)) for fit in fits])
    # Rounding lets flat parts fall by the last digits.
    falls = np.diff(samples, axis=1).min(axis=1) < -1e-9 * np.ptp(samples, axis=1)
    return None if falls.any() else float(value)


def _why_unusable(curve: Curve, lower_is_better: bool) -> str | None:
    points = curve.points()
    if len(points) < FEWEST_POINTS:
        return f"{len(points)} points, {FEWEST_POINTS} are needed"
    for rate, quality in points:
        if math.isinf(quality):
            return f"the quality at rate {rate:g} is infinite"
    for (rate, quality), (next_rate, next_quality) in pairwise(points):
        if next_rate == rate:
            return f"two points have the rate {rate:g}"
        if (next_quality >= quality) if lower_is_better else (next_quality <= quality):
            steps = f"from rate {rate:g} ({quality:g}) to rate {next_rate:g} ({next_quality:g})"
            return f"quality does not improve {steps}"
    return None


def _common(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Lower and upper limit of what both ranges cover; empty where the lower one is not below."""
    return float(max(a.min(), b.min())), float(min(a.max(), b.max()))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the shorter range that both cover."""
    low, high = _common(a, b)
    return max(0.0, high - low) / float(min(np.ptp(a), np.ptp(b)))


@dataclass(frozen=True)
class MeanBD:
    """Bjøntegaard deltas of several images.

    Attributes:
        mean: of the images that have a value, as JVET averages over sequences; None where no image has one.
        interval: of the mean; None for fewer than three values.
        n: images with a value, of `total`.
        reasons: image -> why it has none.
    """

    mean: float | None
    interval: Interval | None
    n: int
    total: int
    reasons: dict[str, str]


def mean_bd(deltas: Mapping[str, BD], level: float = 0.95) -> MeanBD:
    """The mean over images of `bd_rate` or `bd_quality`, which are image -> delta."""
    values = [delta.value for _, delta in sorted(deltas.items()) if delta.value is not None]
    low, high = mean_interval(values, level)
    return MeanBD(
        mean=float(np.mean(values)) if values else None,
        interval=Interval(float(low), float(high), level) if len(values) >= FEWEST_VALUES else None,
        n=len(values),
        total=len(deltas),
        reasons={image: delta.reason for image, delta in sorted(deltas.items()) if delta.reason is not None},
    )
