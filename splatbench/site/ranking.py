"""Boards: which rows may be compared, on which images, and what may be said about their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatbench.analysis.ranks import RankRange, rank_ranges
from splatbench.metrics import REGISTRY
from splatbench.report.aggregate import Track
from splatbench.site.rows import SiteRow

RANK_BY = "psnr"

#: Metrics other than the one that ranks are tested for their best row only on boards of at most so many rows.
MOST_TESTED = 200


@dataclass(frozen=True)
class Board:
    """Rows of one data set, kind of budget and target.

    Attributes:
        rows: all of them, snapshots and rows that are not ranked included, in the order of the site.
        ranked: those that were compared with each other.
        images: what all of `ranked` share, by name; means over them may be compared.
        ranks: id of a row -> its range of ranks; empty where `reason` says why nothing could be told apart.
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
    """Rows with as many images as the most complete one take part, on the images that all of these share: a row that
    ran on four of 24 images must not cut the others down to four."""
    excluded = {row.id: row.unranked for row in rows if row.unranked is not None}
    candidates = [row for row in rows if row.unranked is None]
    most = max((len(row.row.values[RANK_BY]) for row in candidates), default=0)
    ranked = [row for row in candidates if len(row.row.values[RANK_BY]) == most]
    for row in candidates:
        if len(row.row.values[RANK_BY]) < most:
            excluded[row.id] = f"ran on {len(row.row.values[RANK_BY])} of {row.row.total} images, others on {most}"
    images = sorted(set.intersection(*(set(row.row.values[RANK_BY]) for row in ranked))) if ranked else []
    ranks, reason = _ranks(ranked, images, RANK_BY)
    dataset, track, target = rows[0].board
    return Board(
        dataset=dataset,
        track=track,
        target=target,
        rows=tuple(rows),
        ranked=tuple(ranked),
        images=tuple(images),
        ranks=ranks,
        reason=reason,
        best={} if reason else _best(ranked, images, ranks, metrics),
        excluded=excluded,
    )


def _ranks(ranked: Sequence[SiteRow], images: Sequence[str], metric: str) -> tuple[dict[str, RankRange], str | None]:
    if not ranked:
        return {}, "no row may be ranked"
    if len(ranked) == 1:
        return {}, "only one row may be ranked"
    if not images:
        return {}, "the rows share no image"
    values = _values(ranked, images, metric)
    if values is None:
        return {}, f"{metric} is missing on some image"
    ranking = rank_ranges(values, higher_is_better=REGISTRY[metric].direction == "higher")
    if ranking.reason is not None:
        return {}, ranking.reason
    return {row.id: rank for row, rank in zip(ranked, ranking.ranges, strict=True)}, None


def _best(
    ranked: Sequence[SiteRow], images: Sequence[str], ranks: dict[str, RankRange], metrics: Sequence[str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for metric in metrics if len(ranked) <= MOST_TESTED else (RANK_BY,):
        if metric in REGISTRY:
            ranges = ranks if metric == RANK_BY else _ranks(ranked, images, metric)[0]
            found.update((metric, row_id) for row_id, rank in ranges.items() if rank.high == 1)
    return found


def _values(rows: Sequence[SiteRow], images: Sequence[str], metric: str) -> NDArray[np.float64] | None:
    if any(image not in row.row.values.get(metric, {}) for row in rows for image in images):
        return None
    return np.array([[row.row.values[metric][image] for image in images] for row in rows]).reshape(
        len(rows), len(images)
    )
