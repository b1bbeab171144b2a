"""Repeats of a run with other seeds: mean per image, and how much the mean over images varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Repeats:
    """Values of several seeds.

    Attributes:
        seeds: how many.
        per_image: image -> mean over the seeds, for the images that all seeds have, by name.
        images: how many images any seed has; `len(per_image)` of them count.
        mean: over per_image; None without common images.
        spread: standard deviation (n - 1) over the seeds of the mean over the common images; None for a single seed or
            without common images.
    """

    seeds: int
    per_image: dict[str, float]
    images: int
    mean: float | None
    spread: float | None


def repeats(values: Mapping[int, Mapping[str, float]]) -> Repeats:
    """Mean and spread over seeds.

    Args:
        values: seed -> image -> value.

    Raises:
        ValueError: no seeds, or a value that is not finite.
    """
    if not values:
        raise ValueError("repeats need the values of at least one seed")
    for seed, by_image in values.items():
        for image, value in by_image.items():
            if not np.isfinite(value):
                raise ValueError(f"seed {seed}, image {image!r}: {value} is no value to average")
    named = [set(by_image) for by_image in values.values()]
    common = sorted(set.intersection(*named))
    images = len(set.union(*named))
    if not common:
        return Repeats(len(values), {}, images, None, None)
    # Sorted seeds: the order of a mapping must not change the last digit of a sum.
    table = np.array([[values[seed][image] for image in common] for seed in sorted(values)], dtype=np.float64)
    means = table.mean(axis=1)
    return Repeats(
        seeds=len(values),
        per_image=dict(zip(common, table.mean(axis=0).tolist(), strict=True)),
        images=images,
        mean=float(means.mean()),
        spread=float(means.std(ddof=1)) if len(values) > 1 else None,
    )
