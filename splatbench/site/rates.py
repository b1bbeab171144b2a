"""Rate and distortion: the page, and the curves that its scripts draw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from splatbench.analysis.bd import FEWEST_POINTS
from splatbench.metrics import REGISTRY
from splatbench.report.labels import DECIMALS, heading, meaning
from splatbench.site.bjontegaard import INTERPOLATION, MIN_OVERLAP, NARROW_BELOW, deltas
from splatbench.site.compact import compact
from splatbench.site.page import Data, Page, Site, script
from splatbench.site.series import (
    FLOAT_BITS,
    NOT_QUANTISED,
    Series,
    Subset,
    retired_labels,
    series_of,
    split_retired,
    subsets,
)


def pages(site: Site) -> Iterator[Page | Data]:
    metrics = [name for name in site.metrics if name in REGISTRY]
    yield Data("data/rates.js", script("rates", rates_data(site, metrics)))
    yield Page(
        path="rates.html",
        template="rates.html.j2",
        title="Rate–distortion",
        section="rates",
        context={
            "interpolation": INTERPOLATION,
            "min_overlap": MIN_OVERLAP,
            "fewest_points": FEWEST_POINTS,
            "float_bits": FLOAT_BITS,
            "not_quantised": NOT_QUANTISED.strip(),
        },
        scripts=(
            "assets/vendor/d3.min.js",
            "assets/vendor/plot.umd.min.js",
            "data/rates.js",
            "assets/sort.js",
            "assets/plots.js",
            "assets/rates-bd.js",
            "assets/rates.js",
        ),
        styles=("assets/plots.css",),
    )


def rates_data(site: Site, metrics: Sequence[str]) -> dict[str, Any]:
    """What `assets/rates.js` reads: data sets with series of points, means over each subset of images.

    Numbers of a point stand in the order of `numbers`; null where a value is missing on one of the images.
    """
    numbers = ["bpp", "n_actual", "bytes", *metrics]
    datasets = {}
    for dataset in site.datasets:
        rows = [row for row in site.rows if row.dataset == dataset and row.record.snapshot == "final"]
        kept, retired = split_retired(rows)
        series = series_of(kept)
        if series:
            datasets[dataset] = _dataset(series, numbers) | {"retired": retired_labels(retired)}
    return {
        "numbers": numbers,
        "narrowBelow": NARROW_BELOW,
        "fewestPoints": FEWEST_POINTS,
        "metrics": [
            {"key": name, "heading": heading(name), "meaning": meaning(name), "digits": DECIMALS.get(name, 4),
             "better": REGISTRY[name].direction}
            for name in metrics
        ],
        "datasets": datasets,
    }  # fmt: skip


def _dataset(series: Sequence[Series], numbers: Sequence[str]) -> dict[str, Any]:
    choices = subsets(series)
    return {
        "subsets": [{"label": s.label, "images": s.images} for s in choices],
        "series": [
            {"key": s.key, "label": s.label, "family": s.family, "column": s.column, "kind": s.kind,
             "points": [_point(s, place, choices, numbers) for place in range(len(s.rows))]}
            for s in series
        ],
        "bd": [deltas(series, s.images) for s in choices],
    }  # fmt: skip


def _point(series: Series, place: int, choices: Sequence[Subset], numbers: Sequence[str]) -> dict[str, Any]:
    row = series.rows[place]
    return {
        "row": row.id,
        "budget": row.row.budget,
        "images": len(row.row.images),
        "means": [_means(row.row.values, subset.images, numbers) for subset in choices],
    }


def _means(
    values: dict[str, dict[str, float]], images: Sequence[str], numbers: Sequence[str]
) -> list[float | int | None] | None:
    """Means over the images; None where the row lacks one of them."""
    if not set(images) <= values["bpp"].keys():
        return None
    found: list[float | int | None] = []
    for name in numbers:
        of_name = values.get(name, {})
        whole = all(image in of_name for image in images)
        found.append(compact(math.fsum(of_name[image] for image in images) / len(images)) if whole else None)
    return found
