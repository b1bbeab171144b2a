"""The papers' numbers: data with their sources, kept apart from what was measured here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

#: How sure the transcription is. printed: read in the paper's table; logs: in run logs that the authors published;
#: second_hand: in a published summary of the paper; figure: read off a plot (about +-0.1 dB); unconfirmed: from memory
#: or of unclear setting.
Confidence = Literal["printed", "logs", "second_hand", "figure", "unconfirmed"]

#: What a paper prints in place of numbers, as its table has it.
OUTCOMES = {"fail": "Fail", "oom": "OOM"}

#: Columns of the papers that have no counterpart among our metrics; kept for completeness, never compared.
Extra = Literal[
    "render_fps",
    "render_ms",
    "iterations_per_second",
    "gpu_memory_mib",
    "gpu_memory_gb",
    "parameters",
    "best_psnr",
    "utilisation",
]

#: Values outside these are typing errors.
PLAUSIBLE = {
    "psnr": (5.0, 60.0),
    "psnr_u8": (5.0, 60.0),
    "ssim": (0.0, 1.0),
    "ms_ssim": (0.0, 1.0),
    "lpips_alex": (0.0, 1.5),
    "lpips_vgg": (0.0, 1.5),
    "lpips_squeeze": (0.0, 1.5),
    "flip": (0.0, 1.0),
    "bpp": (0.001, 64.0),
    "nominal_bpp": (0.001, 64.0),
}


class ReferenceFileError(ValueError):
    """A reference file that is missing or does not fit the schema."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Caveats(_Strict):
    """What a paper leaves open or does otherwise than we do, where a comparison still makes sense.

    Attributes:
        counts: per_image: the printed N is the mean of counts that a network chose image by image.
        unstated: what the paper does not say and a run has to choose, each in a few words ("learning rate").
        differs: other known differences, as sentences without a full stop.
        metrics: metric -> how the paper measures it otherwise; for tables.
    """

    counts: Literal["per_image"] | None = None
    unstated: list[str] = Field(default_factory=list)
    differs: list[str] = Field(default_factory=list)
    metrics: dict[str, str] = Field(default_factory=dict)


class ReferenceRow(_Strict):
    """One row of a paper's table.

    Attributes:
        family: the method's name as the paper has it, abbreviations in full.
        n: Gaussians as printed ("28k" is 28000), or compression_ratio.
        snapshot: the stage of a run that the row is about, as our records name it ("stage1", "final"); empty: any.
        iterations: fitting steps; 0 for a method that fits nothing per image; None where the paper does not say.
        variant: settings that make it this variant of the method (`quantise: false`): a run with other values is
            another thing and never stands in this row.
        count_from: of a method that chooses its number of Gaussians: the settings that gave this one.
        protocol: settings that a comparable run shares (`qat_iterations: 300`): other values are "not comparable".
        metrics: by the names of `splatbench.metrics`; a rate by formula is `nominal_bpp`.
        outcome: the word that the paper prints instead of numbers; `note` says what is known of its cause.
        images: the values behind the means, by the images' names in our data set; perhaps of some images only.
        seconds: encoding (fitting or network) time as printed, on the paper's hardware.
        unconfirmed: columns of this row that are less sure than `confidence` says.
        second_hand: the authors of another paper ran this method.
        incomparable: why no run of ours can have this row's setting, whatever its own settings are.
        not_repeated: why no run of ours can stand beside this row at all (a point of a plot).
        caveats: of this row, besides those of its table.
    """

    family: str
    n: int | None = Field(default=None, ge=1)
    compression_ratio: float | None = Field(default=None, gt=0)
    snapshot: str = ""
    iterations: int | None = Field(default=None, ge=0)
    variant: dict[str, Any] = Field(default_factory=dict)
    count_from: dict[str, Any] = Field(default_factory=dict)
    protocol: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    outcome: Literal["fail", "oom"] | None = None
    images: dict[str, dict[str, float]] = Field(default_factory=dict)
    seconds: float | None = Field(default=None, gt=0)
    extra: dict[Extra, float] = Field(default_factory=dict)
    confidence: Confidence
    unconfirmed: list[str] = Field(default_factory=list)
    second_hand: bool = False
    incomparable: str = ""
    not_repeated: str = ""
    caveats: Caveats = Caveats()
    note: str = ""

    @field_validator("metrics")
    @classmethod
    def _plausible(cls, metrics: dict[str, float]) -> dict[str, float]:
        from splatbench.method import nearest
        from splatbench.metrics import RATES, REGISTRY

        for name, value in metrics.items():
            if name not in REGISTRY and name not in RATES:
                raise ValueError(f"unknown metric {name!r}{nearest(name, [*REGISTRY, *RATES])}")
            low, high = PLAUSIBLE[name]
            if not low <= value <= high:
                raise ValueError(f"{name} = {value} is outside the plausible range {low} to {high}")
        return metrics

    @model_validator(mode="after")
    def _numbers_or_a_word(self) -> ReferenceRow:
        if bool(self.metrics) == bool(self.outcome):
            raise ValueError("give either metrics or the outcome that the paper prints instead")
        if self.outcome and not self.note:
            raise ValueError(f"outcome {self.outcome}: the note must say what is known of its cause")
        for name, values in self.images.items():
            self._plausible(values)
            if values.keys() != self.metrics.keys():
                raise ValueError(f"image {name} must have the metrics of the row: {', '.join(self.metrics)}")
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> ReferenceRow:
        if self.n is not None and self.compression_ratio is not None:
            raise ValueError("give n or compression_ratio, not both")
        columns = {*self.metrics, *self.extra, *(["seconds"] if self.seconds else [])}
        if unknown := set(self.unconfirmed) - columns:
            raise ValueError(f"unconfirmed names columns that the row does not have: {', '.join(sorted(unknown))}")
        if self.caveats.metrics:
            raise ValueError("caveats of metrics belong to the table: they hold for all of its rows")
        return self

    def is_confirmed(self, metric: str) -> bool:
        """Whether the transcription of a value is beyond doubt."""
        return self.confidence in ("printed", "logs", "second_hand") and metric not in self.unconfirmed

    @property
    def rate(self) -> float | None:
        """The nominal rate in bit/pixel where it is the row's setting: it gives neither count nor ratio."""
        named = self.n is not None or self.compression_ratio is not None
        return None if named else self.metrics.get("nominal_bpp")

    @property
    def label(self) -> str:
        stage = f", after {self.snapshot}" if self.snapshot not in ("", "final") else ""
        return self._budget + stage

    @property
    def _budget(self) -> str:
        from splatbench.report.labels import count

        if self.n is not None:
            return f"N = {count(self.n)}"
        if self.compression_ratio is not None:
            return f"CR {self.compression_ratio:g}"
        return "N not stated" if self.rate is None else f"{self.rate:g} bit/pixel (nominal)"


class ReferenceTable(_Strict):
    """One table of a paper on one data set.

    Attributes:
        table: its name in the paper.
        page: printed page, where known.
        dataset: our name of the data set.
        images: how many images the means are over.
        hardware: what the times were taken on; None where the paper does not say.
        decimals: digits after the point that the paper prints, by metric and for `seconds`.
        protocol: how the values came about, as far as it is known.
        caveats: those of all rows.
    """

    table: str
    page: int | None = None
    dataset: str
    images: int = Field(ge=1)
    hardware: str | None = None
    decimals: dict[str, int] = Field(default_factory=dict)
    protocol: list[str] = Field(default_factory=list)
    caveats: Caveats = Caveats()
    rows: list[ReferenceRow] = Field(min_length=1)

    @model_validator(mode="after")
    def _means_are_of_the_images(self) -> ReferenceTable:
        """Both are rounded to the printed digits, so a mean may be off by one unit of the last."""
        for row in self.rows:
            if len(row.images) > self.images:
                raise ValueError(f"{row.family}, {row.label}: {len(row.images)} images in a table of {self.images}")
            for name, mean in row.metrics.items() if row.images else ():
                found = sum(values[name] for values in row.images.values()) / len(row.images)
                if abs(found - mean) > 10.0 ** -self.decimals.get(name, 2) + 1e-9:
                    raise ValueError(f"{row.family}, {row.label}: the images' mean {name} is {found:.4f}, not {mean}")
        return self

    @field_validator("protocol")
    @classmethod
    def _sentences(cls, protocol: list[str]) -> list[str]:
        """YAML cuts a list in brackets at every comma that is not quoted."""
        for text in protocol:
            if not text.endswith("."):
                raise ValueError(f"{text!r} is no sentence: it lacks the full stop (a comma without quotes around it?)")
        return protocol

    @model_validator(mode="after")
    def _caveats_are_of_metrics(self) -> ReferenceTable:
        if unknown := self.caveats.metrics.keys() - set(self.metrics):
            raise ValueError(f"caveats of metrics that the table does not have: {', '.join(sorted(unknown))}")
        return self

    @property
    def metrics(self) -> list[str]:
        """What the table prints, in its order: also what a row without numbers would have."""
        return list(dict.fromkeys(name for row in self.rows for name in row.metrics))


class Source(_Strict):
    citation: str
    url: str


class Reference(_Strict):
    """One file of reports/reference/."""

    name: str
    title: str
    source: Source
    tables: list[ReferenceTable] = Field(min_length=1)


def reports_folder() -> Path:
    """`reports/` of the project: templates and reference numbers.

    Raises:
        ReferenceFileError: the library runs without the project's checkout.
    """
    folder = Path(__file__).resolve().parent.parent.parent / "reports"
    if not (folder / "reference").is_dir() or not (folder / "templates").is_dir():
        raise ReferenceFileError(
            f"{folder} does not hold the page's templates and the papers' numbers; install from a checkout of the "
            f"project (pip install --editable .)"
        )
    return folder


def available_references() -> list[str]:
    """Names of the reference files, in alphabetical order."""
    return sorted(path.stem for path in (reports_folder() / "reference").glob("*.yaml"))


@functools.cache
def load_reference(name: str) -> Reference:
    """A reference file by name.

    Raises:
        ReferenceFileError: unknown (names the nearest), not YAML, or not of the schema; names file and key.
    """
    from splatbench.method import nearest

    if name not in available_references():
        raise ReferenceFileError(f"unknown reference {name!r}{nearest(name, available_references())}")
    return read_reference(reports_folder() / "reference" / f"{name}.yaml")


def read_reference(path: Path) -> Reference:
    """A reference file by path; keys that begin with `x-` only hold what its rows share (YAML anchors).

    Raises:
        ReferenceFileError: names file and key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {key: value for key, value in dict(content).items() if not str(key).startswith("x-")}
        return Reference.model_validate({"name": path.stem, **known})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise ReferenceFileError("\n".join(f"{path}: {problem}" for problem in problems)) from None
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise ReferenceFileError(f"cannot read {path}: {error}") from None
