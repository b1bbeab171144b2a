"""Bjøntegaard deltas: the average difference of two rate-distortion curves, by the `bjontegaard` package."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from splatbench.analysis.intervals import FEWEST_VALUES, Interval, mean_interval

#: How the points are joined. "akima" follows densely sampled curves best (Herglotz et al. 2022), "pchip" is that of
#: JVET's spreadsheets, "cubic" the original of VCEG-M33: one polynomial of degree 3, by least squares of all points.
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
    interpolation: Interpolation = "akima",
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
    interpolation: Interpolation = "akima",
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
    (anchor_rates, anchor_qualities), (test_rates, test_qualities) = (
        (np.array([rate for rate, _ in curve.points()]), sign * np.array([quality for _, quality in curve.points()]))
        for curve in (anchor, test)
    )
    if kind == "rate":
        overlap = _overlap(anchor_qualities, test_qualities)
        over = _common(sign * anchor_qualities, sign * test_qualities)
    else:
        overlap = _overlap(np.log10(anchor_rates), np.log10(test_rates))
        over = _common(anchor_rates, test_rates)
    if overlap == 0:
        return BD(None, 0.0, reason=f"the curves have no {'quality' if kind == 'rate' else 'rate'} in common")
    if overlap < min_overlap:
        share = f"{100 * overlap:.0f} % of the shorter curve"
        return BD(None, overlap, over, f"only {share} overlaps; {100 * min_overlap:.0f} % are needed")
    value = _package(kind)(
        anchor_rates,
        anchor_qualities,
        test_rates,
        test_qualities,
        method=interpolation,
        require_matching_points=False,
        min_overlap=0,  # checked above, by a definition that is documented
    )
    return BD(float(value) if kind == "rate" else sign * float(value), overlap, over)


def _package(kind: Literal["rate", "quality"]) -> Callable[..., float]:
    import bjontegaard  # here, since it loads matplotlib's pyplot

    return bjontegaard.bd_rate if kind == "rate" else bjontegaard.bd_psnr


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
