"""Bjøntegaard deltas against another package, our own integrals, curves whose delta is known, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from splatbench.analysis.bd import BD, Curve, MeanBD, bd_quality, bd_rate, mean_bd

#: Four-point example that is handed on with implementations of VCEG-M33.
EXAMPLE = (
    Curve([686.76, 309.58, 157.11, 85.95], [40.28, 37.18, 34.24, 31.42]),
    Curve([893.34, 407.8, 204.93, 112.75], [40.39, 37.21, 34.17, 31.24]),
)
#: Example of the bjontegaard package's documentation: x265 at two presets.
PRESETS = (
    Curve([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]),
    Curve([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]),
)
INTERPOLATIONS = ["akima", "pchip", "cubic"]


@pytest.mark.parametrize(
    ("curves", "rate", "quality"),
    [(EXAMPLE, 31.397374, -1.184898), (PRESETS, -4.420463, 0.120409)],
    ids=["example", "presets"],
)
def test_cubic_as_another_package(curves, rate, quality):
    """Numbers printed by bd-metric 0.9.0, which implements VCEG-M33 independently."""
    assert bd_rate(*curves, interpolation="cubic").value == pytest.approx(rate, abs=1e-5)
    assert bd_quality(*curves, interpolation="cubic").value == pytest.approx(quality, abs=1e-5)


@pytest.mark.parametrize(
    ("curves", "rate", "quality"),
    [(EXAMPLE, 31.379849, -1.183474), (PRESETS, -4.417312, 0.119690)],
    ids=["example", "presets"],
)
def test_pchip_as_another_package(curves, rate, quality):
    """Numbers printed by bd-metric 0.9.0, which adds up 100 trapezia where we integrate exactly."""
    assert bd_rate(*curves, interpolation="pchip").value == pytest.approx(rate, abs=1e-3)
    assert bd_quality(*curves, interpolation="pchip").value == pytest.approx(quality, abs=1e-4)


def _mean_difference(anchor, test, fit):
    """Average of fit(test) - fit(anchor) over the x that both cover; anchor and test are (x, y), x rising."""
    low, high = max(anchor[0][0], test[0][0]), min(anchor[0][-1], test[0][-1])
    difference, first = fit(*test), fit(*anchor)
    return quad(lambda x: difference(x) - first(x), low, high, limit=400, epsabs=1e-12)[0] / (high - low)


FITS = {
    "akima": Akima1DInterpolator,
    "pchip": PchipInterpolator,
    "cubic": lambda x, y: np.poly1d(np.polyfit(x, y, 3)),
}


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("curves", [EXAMPLE, PRESETS], ids=["example", "presets"])
def test_own_integral(curves, interpolation):
    points = [np.array(curve.points()).T for curve in curves]
    by_quality = [(quality, np.log(rate)) for rate, quality in points]
    by_rate = [(np.log(rate), quality) for rate, quality in points]
    rate = 100 * math.expm1(_mean_difference(*by_quality, FITS[interpolation]))
    quality = _mean_difference(*by_rate, FITS[interpolation])
    assert bd_rate(*curves, interpolation=interpolation).value == pytest.approx(rate, abs=1e-6)
    assert bd_quality(*curves, interpolation=interpolation).value == pytest.approx(quality, abs=1e-6)


_STEPS = st.lists(st.tuples(st.floats(1.05, 4), st.floats(0.3, 4)), min_size=4, max_size=8)


def _curve(steps, rate=0.05, quality=24.0):
    rates, qualities = np.cumprod([rate, *(r for r, _ in steps)]), np.cumsum([quality, *(q for _, q in steps)])
    return Curve(rates.tolist(), qualities.tolist())


@given(_STEPS, st.sampled_from(INTERPOLATIONS), st.floats(0.5, 2))
def test_a_curve_that_is_cheaper_everywhere_is_cheaper_by_just_that(steps, interpolation, factor):
    anchor = _curve(steps)
    test = Curve([factor * rate for rate in anchor.rates], anchor.qualities)
    tenth = Curve([0.9 * rate for rate in anchor.rates], anchor.qualities)
    for cheaper, expected in ((test, 100 * (factor - 1)), (tenth, -10)):
        result = bd_rate(anchor, cheaper, interpolation=interpolation)
        assert result.overlap == 1
        if result.value is None:
            assert interpolation != "pchip" and "falls between points" in result.reason
        else:
            assert result.value == pytest.approx(expected, abs=1e-6)


@given(_STEPS, st.sampled_from(INTERPOLATIONS), st.floats(-3, 3))
def test_a_curve_that_is_better_everywhere_is_better_by_just_that(steps, interpolation, gain):
    anchor = _curve(steps)
    test = Curve(anchor.rates, [quality + gain for quality in anchor.qualities])
    result = bd_quality(anchor, test, interpolation=interpolation)
    if result.value is None:
        assert interpolation != "pchip" and "falls between points" in result.reason
    else:
        assert result.value == pytest.approx(gain, abs=1e-6)


@given(_STEPS, _STEPS)
def test_pchip_stays_within_the_points(a, b):
    """Where pchip gives a number it lies between the extreme ratios of the rates, however the points lie."""
    anchor, test = _curve(a), _curve(b, 0.06, 24.5)
    result = bd_rate(anchor, test, min_overlap=0.01)
    if result.value is None:
        assert result.overlap < 0.01
    else:
        ratio = 1 + result.value / 100
        assert test.rates[0] / anchor.rates[-1] <= ratio <= test.rates[-1] / anchor.rates[0]


@given(_STEPS, _STEPS, st.sampled_from(INTERPOLATIONS))
def test_swapping_anchor_and_test_inverts_the_delta(a, b, interpolation):
    first, second = _curve(a), _curve(b, 0.06, 24.5)
    there = bd_rate(first, second, interpolation=interpolation)
    back = bd_rate(second, first, interpolation=interpolation)
    assert there.overlap == back.overlap and there.over == back.over and there.reason == back.reason
    if there.value is not None:
        assert (1 + there.value / 100) * (1 + back.value / 100) == pytest.approx(1)
    there, back = (bd_quality(*pair, interpolation=interpolation) for pair in ((first, second), (second, first)))
    if there.value is not None:
        assert there.value == pytest.approx(-back.value)


def test_the_order_of_points_and_the_unit_of_rates_do_not_matter():
    shuffled = [
        Curve([curve.rates[i] for i in (2, 0, 3, 1)], [curve.qualities[i] for i in (2, 0, 3, 1)]) for curve in EXAMPLE
    ]
    assert bd_rate(*shuffled) == bd_rate(*EXAMPLE)
    bits = [Curve([8 * rate for rate in curve.rates], curve.qualities) for curve in EXAMPLE]
    assert bd_rate(*bits).value == pytest.approx(bd_rate(*EXAMPLE).value)


def test_distances_are_turned_round():
    anchor, test = (Curve(curve.rates, [-quality for quality in curve.qualities]) for curve in EXAMPLE)
    rate, quality = bd_rate(anchor, test, lower_is_better=True), bd_quality(anchor, test, lower_is_better=True)
    assert rate.value == bd_rate(*EXAMPLE).value
    assert rate.over == pytest.approx((-40.28, -31.42))
    assert quality.value == -bd_quality(*EXAMPLE).value > 0  # worse, since the distance is larger
    assert "anchor: quality does not improve" in bd_rate(anchor, test).reason


def test_what_the_average_is_taken_over():
    rate, quality = bd_rate(*EXAMPLE), bd_quality(*EXAMPLE)
    assert rate.over == (31.42, 40.28) and rate.overlap == 1
    assert quality.over == (112.75, 686.76)
    assert quality.overlap == pytest.approx(math.log(686.76 / 112.75) / math.log(893.34 / 112.75))


LINE = Curve([1, 2, 4, 8], [30, 32, 34, 36])


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        (Curve([1, 2, 4], [30, 32, 34]), "test: 3 points, 4 are needed"),
        (Curve([], []), "test: 0 points, 4 are needed"),
        (Curve([1, 2, 4, 8], [30, 32, 31, 36]), "test: quality does not improve from rate 2 (32) to rate 4 (31)"),
        (Curve([1, 2, 4, 8], [30, 32, 32, 36]), "test: quality does not improve from rate 2 (32) to rate 4 (32)"),
        (Curve([8, 1, 4, 4], [36, 30, 34, 35]), "test: two points have the rate 4"),
        (Curve([1, 2, 4, 8], [30, 32, 34, math.inf]), "test: the quality at rate 8 is infinite"),
    ],
)
def test_curves_that_allow_no_delta_are_refused(test, reason):
    for delta in (bd_rate, bd_quality):
        assert delta(LINE, test) == BD(None, reason=reason)
        assert delta(test, LINE) == BD(None, reason=reason.replace("test:", "anchor:"))


def test_curves_must_overlap():
    above = Curve(LINE.rates, [quality + 6 for quality in LINE.qualities])
    assert bd_rate(LINE, above) == BD(None, 0.0, reason="the curves have no quality in common")
    assert bd_quality(LINE, above).value == pytest.approx(6)
    beyond = Curve([10 * rate for rate in LINE.rates], LINE.qualities)
    assert bd_quality(LINE, beyond) == BD(None, 0.0, reason="the curves have no rate in common")
    little = bd_rate(LINE, Curve(LINE.rates, [quality + 4 for quality in LINE.qualities]))
    assert (little.value, little.over) == (None, (34, 36))
    assert little.overlap == pytest.approx(1 / 3)
    assert little.reason == "only 33.3 % of the shorter curve overlaps; 50 % are needed"
    allowed = bd_rate(LINE, Curve(LINE.rates, [quality + 4 for quality in LINE.qualities]), min_overlap=0.3)
    assert allowed.value == pytest.approx(-75)  # 4 dB are two doublings of the rate


@pytest.mark.parametrize("interpolation", ["akima", "cubic"])
@pytest.mark.parametrize("step", [0.01, 1e-6])
def test_an_interpolation_that_swings_gives_no_number(interpolation, step):
    """Where quality stops to rise, log rate jumps: these two leave the points by decades (1e12 % and more)."""
    plateau = Curve([1, 2, 4, 8], [30, 31, 31 + step, 36])
    result = bd_rate(LINE, plateau, interpolation=interpolation)
    assert (result.value, result.overlap) == (None, 1)
    assert result.reason == f"{interpolation} interpolation falls between points that rise"
    assert bd_rate(LINE, plateau).value == pytest.approx(78, abs=1)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_short_curve_inside_a_long_one_overlaps_in_full(interpolation):
    """Both on one straight line of log rate: nothing to choose between them, whatever the number of points."""
    rates = np.array([0.8, 1.2, 1.7, 2.9, 3.1])
    result = bd_rate(LINE, Curve(rates.tolist(), (30 + 2 * np.log2(rates / 1.0)).tolist()), interpolation=interpolation)
    assert result.overlap == pytest.approx((30 + 2 * np.log2(3.1) - 30) / (2 * np.log2(3.1 / 0.8)))
    assert result.value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("rates", "qualities"), [([1, 2], [30]), ([0, 1], [30, 31]), ([-1], [30]), ([math.inf], [30]), ([1], [math.nan])]
)
def test_what_is_no_curve_is_refused(rates, qualities):
    with pytest.raises(ValueError, match="no point of a curve|rates and"):
        Curve(rates, qualities)


@pytest.mark.parametrize("min_overlap", [0, -1, 1.5, math.nan])
def test_a_wrong_least_overlap_is_refused(min_overlap):
    with pytest.raises(ValueError, match="smallest overlap"):
        bd_rate(LINE, LINE, min_overlap=min_overlap)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="spline"):
        bd_rate(LINE, LINE, interpolation="spline")


def test_mean_over_images():
    deltas = {
        "c": BD(-12.0, 1.0, (30, 36)),
        "a": BD(-8.0, 1.0, (30, 36)),
        "x": BD(None, reason="anchor: 3 points, 4 are needed"),
        "b": BD(-10.0, 1.0, (30, 36)),
    }
    result = mean_bd(deltas)
    assert result.mean == pytest.approx(-10)
    assert (result.n, result.total) == (3, 4)
    assert result.reasons == {"x": "anchor: 3 points, 4 are needed"}
    assert -12 <= result.interval.low < -10 < result.interval.high <= -8
    assert result == mean_bd(dict(reversed(deltas.items())))


def test_mean_of_few_or_no_images():
    assert mean_bd({}) == MeanBD(mean=None, interval=None, n=0, total=0, reasons={})
    two = mean_bd({"a": BD(1.0), "b": BD(3.0)})
    assert (two.mean, two.interval, two.n) == (2.0, None, 2)
