"""Two rows of one board, image by image: differences with their intervals, wins, ties, losses, p values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from splatbench.analysis.paired import compare_rows
from splatbench.metrics import REGISTRY
from splatbench.site.ranking import RANK_BY, Board

#: Boards of more ranked rows have only their values image by image: pairs grow with the square.
MOST_ROWS = 40

#: As printed with two decimals, smaller differences are none.
TIE = 0.005

_RESAMPLES = 2000


def pairs(found: Sequence[Board]) -> dict[str, Any]:
    """What `assets/pairs.js` reads.

    Returns:
        images: data set -> names. values: id of a row -> PSNR in the order of these names, null where there is none.
        boards: per board None, or the ids of its ranked rows and for each pair of them (first with second, first with
        third ...) [difference, low, high, wins, ties, losses, p], low and high null for fewer than three images.
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
    return {"tie": TIE, "images": images, "values": values, "boards": [_board(board) for board in found]}


def _board(board: Board) -> dict[str, Any] | None:
    values = board.values(RANK_BY)
    if values is None or not 2 <= len(board.ranked) <= MOST_ROWS or not board.images:
        return None
    first, second = np.triu_indices(len(values), k=1)
    higher = REGISTRY[RANK_BY].direction == "higher"
    compared = compare_rows(values[first], values[second], tie=TIE, higher_is_better=higher, resamples=_RESAMPLES)
    return {
        "rows": [row.id for row in board.ranked],
        "pairs": [
            [
                _rounded(pair.difference),
                None if pair.interval is None else _rounded(pair.interval.low),
                None if pair.interval is None else _rounded(pair.interval.high),
                pair.wins,
                pair.ties,
                pair.losses,
                None if pair.p_value is None else float(f"{pair.p_value:.3g}"),
            ]
            for pair in compared
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
