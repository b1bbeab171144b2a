"""What keeps a comparison with a paper from being one of equal settings without forbidding it: what the paper leaves
open, what it does otherwise, and what of it our row stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from splatbench.report.aggregate import Row, fitted_iterations
from splatbench.report.labels import COLUMN_TITLES, count
from splatbench.report.reference import ReferenceRow, ReferenceTable


def caveats(
    table: ReferenceTable, paper: ReferenceRow, row: Row, metric: str, images: Sequence[str]
) -> tuple[str, ...]:
    """What must be known of a verdict on one value of a paper, as sentences without a full stop.

    Args:
        images: where the paper gives values image by image, those that are compared.
    """
    found = [*_counts(table, paper, row), *table.caveats.differs, *paper.caveats.differs]
    if unstated := dict.fromkeys([*_unstated(paper, row), *table.caveats.unstated, *paper.caveats.unstated]):
        found.append(f"the paper does not state: {', '.join(unstated)}")
    if metric in table.caveats.metrics:
        found.append(table.caveats.metrics[metric])
    if 0 < len(images) < table.images:
        found.append(f"over {len(images)} of the paper's {table.images} images, with the paper's values of these")
    if row.record.column != "published":
        found.append(f"ours is “{COLUMN_TITLES[row.record.column]}”: nothing as published has the paper's setting")
    if not paper.is_confirmed(metric):
        found.append("the transcription of the paper's value is unconfirmed")
    return tuple(dict.fromkeys(found))


def _counts(table: ReferenceTable, paper: ReferenceRow, row: Row) -> Iterable[str]:
    """A method that chooses its counts here, too, has those of its own images."""
    per_image = "per_image" in (table.caveats.counts, paper.caveats.counts)
    if not per_image or paper.n is None or row.record.budget.get("native"):
        return
    counts = set(row.values.get("n_actual", {}).values())
    here = f"every image here has {count(counts.pop())}" if len(counts) == 1 else "the counts here are others"
    yield f"the paper's N = {count(paper.n)} is the mean of its network's counts, image by image, but {here}"


def _unstated(paper: ReferenceRow, row: Row) -> Iterable[str]:
    """What the row of the paper would have to name for `obstacles` to check it."""
    if paper.n is None and paper.compression_ratio is None:
        yield "number of Gaussians"
    if paper.iterations is None and not (row.iterations is None and fitted_iterations(row.record) is None):
        yield "iterations"
