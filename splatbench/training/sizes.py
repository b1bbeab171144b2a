"""Pictures of any size made into batches of one size: random crops, or whole pictures, stretched or one by one."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from splatbench.training.errors import TrainingError
from splatbench.training.picture_rules import Crop, Stretch, Whole


def draw_size(rule: Crop | Stretch | Whole, rng: np.random.Generator) -> tuple[int, int] | None:
    """Height and width of a batch, pixels; None where its picture decides."""
    if isinstance(rule, Whole):
        return None
    if isinstance(rule, Stretch):
        # AIR's code: the area uniform, then the aspect uniform, both truncated to whole pixels.
        area, aspect = rng.uniform(*rule.area), rng.uniform(*rule.aspect)
        return max(1, int(math.sqrt(area / aspect))), max(1, int(math.sqrt(area * aspect)))
    least, most = -(-rule.side[0] // rule.multiple), rule.side[1] // rule.multiple
    height, width = (int(side) * rule.multiple for side in rng.integers(least, most, size=2, endpoint=True))
    return height, height if rule.square else width


def cut(
    picture: np.ndarray,
    size: tuple[int, int] | None,
    rule: Crop | Stretch | Whole,
    rng: np.random.Generator,
    name: str,
) -> np.ndarray:
    """One picture of a batch.

    Args:
        picture: uint8 [H, W, 3], or [H, W, 4] with its label.
        size: what `draw_size` gave.
        name: of the picture, for messages.

    Returns:
        uint8 [height, width, 3 or 4].

    Raises:
        TrainingError: smaller than the crop, where that is refused.
    """
    if size is None or isinstance(rule, Whole):
        return picture
    if isinstance(rule, Stretch):
        return resample(picture, size)
    (height, width), (full_height, full_width) = size, picture.shape[:2]
    needed = max(height / full_height, width / full_width)  # the smallest scale that leaves room for the crop
    if needed > 1 and rule.small == "refuse":
        raise TrainingError(
            f"{name}: {full_width}x{full_height} pixels are less than the crop of {width}x{height}; "
            "leave it out, lower size.side, or set size.small to enlarge"
        )
    low, high = max(rule.scales[0], needed), max(rule.scales[1], needed)
    scale = low if low == high else math.exp(rng.uniform(math.log(low), math.log(high)))
    rows = min(full_height, max(1, round(height / scale)))
    columns = min(full_width, max(1, round(width / scale)))
    top, left = rng.integers(0, full_height - rows + 1), rng.integers(0, full_width - columns + 1)
    return resample(picture[top : top + rows, left : left + columns], size)


def resample(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3 or 4] at another height and width: each axis by area averaging if it shrinks, bilinear if it
    grows.

    (The released code of AIR chooses one of the two for both axes, by the number of pixels.)
    """
    if picture.ndim == 3 and picture.shape[2] == 4:  # a label is no opacity, which Pillow would weight colours by
        return np.dstack([resample(picture[..., :3], size), resample(picture[..., 3], size)])
    height, width = size
    image = Image.fromarray(picture)
    if width != image.width:
        image = image.resize((width, image.height), _filter(image.width, width))
    if height != image.height:
        image = image.resize((width, height), _filter(image.height, height))
    return np.array(image)


def _filter(before: int, after: int) -> Image.Resampling:
    return Image.Resampling.BOX if after < before else Image.Resampling.BILINEAR


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """At most side x side pixels from the middle of uint8 [H, W, 3]."""
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + side, left : left + side])
