"""Boards: which rows may be compared, on which images, and what may be said about their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from splatbench.analysis.ranks import Ranking, RankRange, rank_ranges
from splatbench.metrics import REGISTRY
from splatbench.report.aggregate import Track
from splatbench.report.verdict import single_errors
from splatbench.site.rows import SiteRow

RANK_BY = "psnr"

#: Metrics other than the one that ranks are tested for their best row only on boards of at most so many rows.
MOST_TESTED = 200

#: What pairs of sets of images share is looked at on boards with at most so many different ones.
MOST_SETS = 40

_SINGLE_ERRORS = "repeats single errors of the published code, to show what each is worth: no contender"
_TOO_FEW_SHARED = "no two rows of this board share at least half of the most complete row's images"


@dataclass(frozen=True)
class Board:
    """Rows of one data set, kind of budget and target.

    Attributes:
        rows: all of them, snapshots and rows that are not ranked included, in the order of the site.
        ranked: those that were compared with each other.
        images: what all of `ranked` share, by name; means over them may be compared.
        ranks: id of a row -> its range of ranks; empty where `reason` says why nothing could be told apart.
        better: [ranked, ranked], whether the row is significantly better than the column; None without ranks.
        best: metric -> id of the row that is significantly better than every other one of `ranked`.
        excluded: id of a row that is not in `ranked` -> why.
    """

    dataset: str
    track: Track
    target: str
    rows: tuple[SiteRow, ...]
    ranked: tuple[SiteRow, ...]
    images: tuple[str, ...]
    ranks: dict[str, RankRange]
    better: NDArray[np.bool_] | None
    reason: str | None
    best: dict[str, str]
    excluded: dict[str, str]

    def values(self, metric: str) -> NDArray[np.float64] | None:
        """[ranked, images] values of a metric, or None where one is missing."""
        return _values(self.ranked, self.images, metric)


def boards(rows: Sequence[SiteRow], metrics: Sequence[str]) -> list[Board]:
    """The boards of a site, in the order of their first row."""
    groups: dict[tuple[str, Track, str], list[SiteRow]] = {}
    for row in rows:
        groups.setdefault(row.board, []).append(row)
    return [_board(group, metrics) for group in groups.values()]


def _board(rows: list[SiteRow], metrics: Sequence[str]) -> Board:
    excluded = {row.id: row.unranked for row in rows if row.unranked is not None}
    excluded |= {row.id: _SINGLE_ERRORS for row in rows if row.unranked is None and single_errors(row.row)}
    candidates = [row for row in rows if row.id not in excluded]
    images = _subset(candidates)
    ranked = [row for row in candidates if images <= row.row.values[RANK_BY].keys()] if images else []
    apart = len(ranked) < 2 <= len(candidates)
    if apart:
        ranked, images = [], frozenset()
    for row in candidates:
        if apart:
            excluded[row.id] = _TOO_FEW_SHARED
        elif row not in ranked:
            excluded[row.id] = (
                f"ran on {len(row.row.values[RANK_BY])} of {row.row.total} images, not on all {len(images)} that rows "
                f"of this board are compared on"
            )
    names = sorted(images)
    ranking, reason = (None, _TOO_FEW_SHARED) if apart else _ranking(ranked, names, RANK_BY)
    dataset, track, target = rows[0].board
    return Board(
        dataset=dataset,
        track=track,
        target=target,
        rows=tuple(rows),
        ranked=tuple(ranked),
        images=tuple(names),
        ranks={} if ranking is None else {r.id: rank for r, rank in zip(ranked, ranking.ranges, strict=True)},
        better=None if ranking is None else ranking.better,
        reason=reason,
        best={} if ranking is None else _best(ranked, names, ranking, metrics),
        excluded=excluded,
    )


def _subset(candidates: Sequence[SiteRow]) -> frozenset[str]:
    """The images that a board is compared on: of the rows' sets of images, and what two of them share, the one on
    which most methods can be compared; of equal ones the largest; never less than half of the most complete row's.

    So a row on four of 24 images does not cut the others down to four, and variants of one method that ran on more
    images than the rest do not keep the rest out.
    """
    sets = {frozenset(row.row.values[RANK_BY]) for row in candidates} - {frozenset()}
    most = max(map(len, sets), default=0)
    if len(sets) <= MOST_SETS:
        sets |= {a & b for a, b in combinations(sets, 2)}

    def worth(images: frozenset[str]) -> tuple[bool, int, int, list[str]]:
        inside = [row.record.method for row in candidates if images <= row.row.values[RANK_BY].keys()]
        return len(inside) > 1, len(set(inside)), len(images), sorted(images)

    return max((images for images in sets if images and 2 * len(images) >= most), key=worth, default=frozenset())


def _ranking(ranked: Sequence[SiteRow], images: Sequence[str], metric: str) -> tuple[Ranking | None, str | None]:
    """A ranking, or why there is none."""
    if not ranked:
        return None, "no row may be ranked"
    if len(ranked) == 1:
        return None, "only one row may be ranked"
    values = _values(ranked, images, metric)
    if values is None:
        return None, f"{metric} is missing on some image"
    ranking = rank_ranges(values, higher_is_better=REGISTRY[metric].direction == "higher")
    return (ranking, None) if ranking.reason is None else (None, ranking.reason)


def _best(ranked: Sequence[SiteRow], images: Sequence[str], ranking: Ranking, metrics: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for metric in metrics if len(ranked) <= MOST_TESTED else (RANK_BY,):
        if metric in REGISTRY:
            tested = ranking if metric == RANK_BY else _ranking(ranked, images, metric)[0]
            ranges = () if tested is None else tested.ranges
            found.update((metric, row.id) for row, rank in zip(ranked, ranges, strict=False) if rank.high == 1)
    return found


def _values(rows: Sequence[SiteRow], images: Sequence[str], metric: str) -> NDArray[np.float64] | None:
    if any(image not in row.row.values.get(metric, {}) for row in rows for image in images):
        return None
    return np.array([[row.row.values[metric][image] for image in images] for row in rows]).reshape(
        len(rows), len(images)
    )
