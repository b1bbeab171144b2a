"""Two rows of one board, image by image: differences with their intervals, wins, ties, losses, p values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from splatbench.analysis.paired import compare_rows
from splatbench.metrics import REGISTRY
from splatbench.site.bjontegaard import NARROW_BELOW
from splatbench.site.ranking import RANK_BY, Board
from splatbench.site.rows import SiteRow

#: So many rows of a board are compared with each other, pairs grow with the square; none where more are ranked. Of the
#: others there are only the values image by image.
MOST_ROWS = 40

#: As printed with two decimals, smaller differences are none.
TIE = 0.005

_RESAMPLES = 2000


def pairs(found: Sequence[Board]) -> dict[str, Any]:
    """What `assets/pairs.js` reads.

    Returns:
        images: data set -> names. values: id of a row -> PSNR in the order of these names, null where there is none.
        boards: per board None, or ids of its rows and for each pair of them (first with second, first with third ...)
        [difference, low, high, wins, ties, losses, p], or null where they share no image. Low and high are null for
        fewer than three images, p where one of the two is not ranked. Ranked rows are compared on the images that the
        board shares, others on those that the two share.
    """
    names: dict[str, set[str]] = {}
    for board in found:
        names.setdefault(board.dataset, set()).update(
            image for row in board.rows for image in row.row.values.get(RANK_BY, {})
        )
    images = {dataset: sorted(members) for dataset, members in sorted(names.items())}
    values = {
        row.id: [_rounded(row.row.values.get(RANK_BY, {}).get(image)) for image in images[board.dataset]]
        for board in found
        for row in board.rows
    }
    return {
        "tie": TIE,
        "narrowBelow": NARROW_BELOW,
        "images": images,
        "values": values,
        "boards": [_board(board) for board in found],
    }


def _board(board: Board) -> dict[str, Any] | None:
    rows = _compared(board)
    values = {row.id: row.row.values[RANK_BY] for row in rows}
    ranked = {row.id for row in board.ranked}
    # Pairs with the same images are resampled together.
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for one, other in combinations(values, 2):
        both = one in ranked and other in ranked
        images = board.images if both else tuple(sorted(values[one].keys() & values[other].keys()))
        groups.setdefault(images, []).append((one, other))
    found: dict[tuple[str, str], list[float | None]] = {}
    for images, members in groups.items():
        if images:
            for pair, numbers in zip(members, _compare(members, images, values), strict=True):
                tested = pair[0] in ranked and pair[1] in ranked
                found[pair] = numbers if tested else [*numbers[:-1], None]
    if not found:
        return None
    return {"rows": list(values), "pairs": [found.get(pair) for pair in combinations(values, 2)]}


def _compared(board: Board) -> list[SiteRow]:
    """Ranked rows, then the others, finals first, as far as there are not too many."""
    if len(board.ranked) > MOST_ROWS:
        return []
    ranked = {row.id for row in board.ranked}
    others = [row for row in board.rows if row.id not in ranked and row.row.values.get(RANK_BY)]
    others.sort(key=lambda row: row.record.snapshot != "final")
    return [*board.ranked, *others][:MOST_ROWS]


def _compare(
    members: Sequence[tuple[str, str]], images: Sequence[str], values: dict[str, dict[str, float]]
) -> list[list[float | None]]:
    """Numbers of pairs of rows over the same images."""
    first, second = (np.array([[values[pair[i]][image] for image in images] for pair in members]) for i in (0, 1))
    higher = REGISTRY[RANK_BY].direction == "higher"
    return [
        [
            _rounded(pair.difference),
            None if pair.interval is None else _rounded(pair.interval.low),
            None if pair.interval is None else _rounded(pair.interval.high),
            pair.wins,
            pair.ties,
            pair.losses,
            None if pair.p_value is None else float(f"{pair.p_value:.3g}"),
        ]
        for pair in compare_rows(first, second, tie=TIE, higher_is_better=higher, resamples=_RESAMPLES)
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
