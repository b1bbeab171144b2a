"""BD-rate and BD-PSNR of all pairs of series on one set of images: per image, then the mean over them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from splatbench.analysis.bd import BD, FEWEST_POINTS, Curve, Interpolation, MeanBD, bd_quality, bd_rate, mean_bd
from splatbench.site.ranking import RANK_BY
from splatbench.site.series import Series

INTERPOLATION: Interpolation = "pchip"
MIN_OVERLAP = 0.5

#: Bootstrap intervals of fewer images are known to be somewhat too narrow (see `analysis.intervals`).
NARROW_BELOW = 20

#: What turns a reason of one image into one that several share: its numbers go.
_NUMBERS = (
    (re.compile(r"quality does not improve from rate .*"), "quality does not improve everywhere as the rate rises"),
    (re.compile(r"only \S+ % of the shorter curve overlaps"), "too little of the shorter curve overlaps"),
    (re.compile(r"the quality at rate \S+ is infinite"), "the quality at some rate is infinite"),
    (re.compile(r"two points have the rate \S+"), "two points have the same rate"),
)

#: Of so many curves all pairs are computed; where there are more, anchors are controls alone, as far as that goes.
MOST_DELTAS = 4000


def deltas(series: Sequence[Series], images: Sequence[str]) -> dict[str, Any]:
    """What the table of Bjøntegaard deltas reads.

    Args:
        images: those that the points must all have.

    Returns:
        series: keys of the series that can have a delta; left_out: key -> why not; anchors: keys of those that are
        anchors; pairs: for each anchor and each other series
        [anchor, test, rate, quality], both [mean, low, high, n, overlap, reasons]: mean in percent and dB, `overlap`
        the smallest over the images, `reasons` [[why, places in images ...] ...] for all images without a value; places
        in `series`. images: their number, which a mean is over where no reason is given.
    """
    curves = {one.key: _curves(one, images) for one in series}
    usable = [one for one in series if len(curves[one.key]) == len(images) and images]
    left_out = {
        one.key: f"{points} points on these images; {FEWEST_POINTS} are needed"
        for one in series
        if one not in usable and (points := _points(one, images)) > 0
    }
    anchors = usable
    if len(usable) * len(anchors) * len(images) > MOST_DELTAS:
        anchors = [one for one in usable if one.kind == "control"]
        anchors = anchors[: max(1, MOST_DELTAS // (len(usable) * len(images)))]
    places = {one.key: place for place, one in enumerate(usable)}
    order = {image: place for place, image in enumerate(images)}
    pairs = []
    for one, other in combinations(usable, 2):
        anchor, test = (one, other) if one in anchors else (other, one)
        if anchor not in anchors:
            continue
        rates, qualities = _of_pair(curves[anchor.key], curves[test.key])
        pairs.append([places[anchor.key], places[test.key], _mean(rates, order), _mean(qualities, order)])
        if test in anchors:
            rates = {image: _turned(delta, _inverse) for image, delta in rates.items()}
            qualities = {image: _turned(delta, operator.neg) for image, delta in qualities.items()}
            pairs.append([places[test.key], places[anchor.key], _mean(rates, order), _mean(qualities, order)])
    return {
        "series": [one.key for one in usable],
        "anchors": [one.key for one in anchors],
        "left_out": left_out,
        "images": len(images),
        "pairs": pairs,
    }


def _points(series: Series, images: Sequence[str]) -> int:
    return sum(set(images) <= set(row.row.values.get(RANK_BY, {})) for row in series.rows)


def _curves(series: Series, images: Sequence[str]) -> dict[str, Curve]:
    """Image -> curve; empty for too few points."""
    if _points(series, images) < FEWEST_POINTS:
        return {}
    rows = [row.row.values for row in series.rows if set(images) <= set(row.row.values.get(RANK_BY, {}))]
    return {
        image: Curve([row["bpp"][image] for row in rows], [row[RANK_BY][image] for row in rows]) for image in images
    }


def _of_pair(anchor: dict[str, Curve], test: dict[str, Curve]) -> tuple[dict[str, BD], dict[str, BD]]:
    rates, qualities = {}, {}
    for image, curve in anchor.items():
        rates[image] = bd_rate(curve, test[image], interpolation=INTERPOLATION, min_overlap=MIN_OVERLAP)
        qualities[image] = bd_quality(curve, test[image], interpolation=INTERPOLATION, min_overlap=MIN_OVERLAP)
    return rates, qualities


def _turned(delta: BD, turn: Callable[[float], float]) -> BD:
    """The delta with anchor and test exchanged: both are differences of two averages over the same range."""
    names = {"anchor: ": "test: ", "test: ": "anchor: "}
    reason = delta.reason
    for name, other in names.items():
        if delta.reason is not None and delta.reason.startswith(name):
            reason = other + delta.reason.removeprefix(name)
    return replace(delta, value=None if delta.value is None else turn(delta.value), reason=reason)


def _inverse(percent: float) -> float:
    """Twice the rate is half the rate seen from the other side: +100 % is -50 %."""
    return 100 / (1 + percent / 100) - 100


def _mean(found: dict[str, BD], order: dict[str, int]) -> list[Any]:
    mean: MeanBD = mean_bd(found)
    overlaps = [delta.overlap for delta in found.values() if delta.overlap is not None]
    reasons: dict[str, list[int]] = {}
    for image, reason in mean.reasons.items():
        reasons.setdefault(_shared(reason), []).append(order[image])
    interval = mean.interval
    return [
        _short(mean.mean),
        None if interval is None else _short(interval.low),
        None if interval is None else _short(interval.high),
        mean.n,
        _short(min(overlaps, default=None)),
        [[reason, *sorted(places)] for reason, places in reasons.items()],
    ]


def _shared(reason: str) -> str:
    for pattern, text in _NUMBERS:
        reason = pattern.sub(text, reason)
    return reason


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
