"""Which pictures are learned from, at which sizes, and how they are changed: parts of a training file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from splatbench.schema import Strict

Probability = Annotated[float, Field(ge=0, le=1)]
#: Lower and upper end, drawn uniformly unless said otherwise.
Range = tuple[float, float]


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the lower end comes first, got {list(value)}")
    return value


class Validation(Strict):
    """Pictures that are never trained on: some photographs of the training source, or a source of their own."""

    source: str | None = None  # folder or shards as in `data.train`
    share: float | None = Field(default=None, gt=0, lt=1)  # of the photographs
    count: int | None = Field(default=None, ge=1)  # photographs; with `source`: at most so many pictures
    split_seed: int = 0  # apart from `seed`, so that all phases and runs keep the same photographs back
    crop: int | None = Field(default=None, ge=16)  # at most so many pixels per side, from the middle; None: as they are

    @model_validator(mode="after")
    def _one_rule(self) -> Validation:
        if self.source is None and (self.share is None) == (self.count is None):
            raise ValueError("give `share` or `count` (of photographs), or a `source` of its own")
        if self.source is not None and self.share is not None:
            raise ValueError("`share` splits the training source; with a `source` of its own give `count` or nothing")
        return self


class Data(Strict):
    """Where pictures come from."""

    train: str  # folder, or tar shards with a glob in the file name; relative: below SPLATBENCH_DATA, then from here
    labels: str | None = None  # folder of one grey picture for each picture of `train`, which the task learns with it
    order: Literal["shuffled", "listed"] = "shuffled"  # anew for every pass, or by name (Instant-GI, released code)
    validation: Validation | None = None
    cache_mb: int = Field(default=2048, ge=0)  # decoded pictures kept in memory, 10^6 bytes in all
    workers: int = Field(default=0, ge=0)  # processes; 0: one thread ahead of the training


class Crop(Strict):
    """Random crops; one size per batch."""

    policy: Literal["crop"] = "crop"
    side: tuple[int, int]  # least and largest, pixels
    multiple: int = Field(default=1, ge=1)  # sides are multiples of it
    square: bool = True  # false: width and height are drawn apart
    scales: Range = (1.0, 1.0)  # a picture is reduced by a factor drawn from here (log-uniform) before cropping
    small: Literal["enlarge", "refuse"] = "enlarge"  # pictures smaller than the crop

    @model_validator(mode="after")
    def _possible(self) -> Crop:
        low, high = self.side
        if low < 1 or low > high or high // self.multiple * self.multiple < low:
            raise ValueError(f"side {list(self.side)} holds no multiple of {self.multiple}; lower end first")
        if not 0 < self.scales[0] <= self.scales[1] <= 1:
            raise ValueError(f"scales are in (0, 1], lower end first, got {list(self.scales)}")
        return self


class Stretch(Strict):
    """The whole picture, stretched to one size per batch (AIR, released code)."""

    policy: Literal["stretch"] = "stretch"
    area: tuple[int, int] = (160_000, 640_000)  # pixels
    aspect: Range = (0.5, 2.0)  # width / height

    @model_validator(mode="after")
    def _possible(self) -> Stretch:
        if not 1 <= self.area[0] <= self.area[1] or not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"positive, lower end first: got area {list(self.area)}, aspect {list(self.aspect)}")
        return self


class Whole(Strict):
    """Pictures as they are, one per batch (Instant-GI, released code)."""

    policy: Literal["whole"] = "whole"


#: How a picture is brought to the size of its batch.
Size = Annotated[Crop | Stretch | Whole, Field(discriminator="policy")]


class Colour(Strict):
    """Factors of brightness, contrast and saturation, shift of hue in turns, gamma; in that order."""

    p: Probability = 1.0
    brightness: Range = (0.7, 1.3)
    contrast: Range = (0.7, 1.3)
    saturation: Range = (0.7, 1.3)
    hue: Range = (-0.1, 0.1)
    gamma: Range = (0.7, 1.3)

    _order = field_validator("brightness", "contrast", "saturation", "hue", "gamma")(_ordered)

    @model_validator(mode="after")
    def _possible(self) -> Colour:
        if min(self.brightness[0], self.contrast[0], self.saturation[0]) < 0 or self.gamma[0] <= 0:
            raise ValueError("factors are at least 0, gamma is above 0")
        if not -0.5 <= self.hue[0] <= self.hue[1] <= 0.5:
            raise ValueError("hue is within half a turn, -0.5 to 0.5")
        return self


class ShotNoise(Strict):
    """Poisson noise of so many quanta at white, log-uniform."""

    p: Probability = 0.5
    quanta: Range = (100.0, 10_000.0)

    @field_validator("quanta")
    @classmethod
    def _positive(cls, value: Range) -> Range:
        if value[0] <= 0:
            raise ValueError("quanta are above 0")
        return _ordered(value)


class Jpeg(Strict):
    """Compressed and decoded, 4:2:0, quality an integer within the range, both ends included."""

    p: Probability = 0.5
    quality: tuple[int, int] = (20, 99)

    @field_validator("quality")
    @classmethod
    def _possible(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= 100:
            raise ValueError("qualities are 1 to 100, lower end first")
        return value


class Blur(Strict):
    """Reduced by area averaging to a share of its side, enlarged by a random one of three filters."""

    p: Probability = 0.5
    scale: Range = (0.25, 1.0)

    @field_validator("scale")
    @classmethod
    def _possible(cls, value: Range) -> Range:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError("scales are in (0, 1], lower end first")
        return value


class Augment(Strict):
    """What is done to each picture, in this order; nothing by default. `augment: air` is what AIR's code does."""

    flip: Probability = 0.0  # left and right exchanged
    flip_vertical: Probability = 0.0
    transpose: Probability = 0.0  # rows and columns exchanged; square sizes only
    colour: Colour | None = None
    noise: ShotNoise | None = None
    jpeg: Jpeg | None = None
    blur: Blur | None = None


AIR_AUGMENT = Augment(flip=0.5, colour=Colour(), noise=ShotNoise(), jpeg=Jpeg(), blur=Blur())
