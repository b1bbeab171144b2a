"""The papers' numbers: data with their sources, kept apart from what was measured here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

#: How sure the transcription is. printed: read in the paper's table; second_hand: in a published summary of the paper;
#: figure: read off a plot (about +-0.1 dB); unconfirmed: from memory or of unclear setting.
Confidence = Literal["printed", "second_hand", "figure", "unconfirmed"]

#: Columns of the papers that have no counterpart among our metrics; kept for completeness, never compared.
Extra = Literal["render_fps", "gpu_memory_mib", "parameters"]

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


class ReferenceRow(_Strict):
    """One row of a paper's table.

    Attributes:
        family: the method's name as the paper has it.
        n: Gaussians as printed ("28k" is 28000), or compression_ratio.
        iterations: fitting steps; 0 for a method that fits nothing per image; None where the paper does not say.
        variant: settings that make it this variant of the method (`quantise: false`): a run with other values is
            another thing and never stands in this row.
        protocol: settings that a comparable run shares (`qat_iterations: 300`): other values are "not comparable".
        metrics: by the names of `splatbench.metrics`; a rate by formula is `nominal_bpp`.
        seconds: encoding (fitting or network) time as printed, on the paper's hardware.
        unconfirmed: columns of this row that are less sure than `confidence` says.
        second_hand: the authors of another paper ran this method.
    """

    family: str
    n: int | None = Field(default=None, ge=1)
    compression_ratio: float | None = Field(default=None, gt=0)
    iterations: int | None = Field(default=None, ge=0)
    variant: dict[str, Any] = Field(default_factory=dict)
    protocol: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float]
    seconds: float | None = Field(default=None, gt=0)
    extra: dict[Extra, float] = Field(default_factory=dict)
    confidence: Confidence
    unconfirmed: list[str] = Field(default_factory=list)
    second_hand: bool = False
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
    def _names_exist(self) -> ReferenceRow:
        if self.n is not None and self.compression_ratio is not None:
            raise ValueError("give n or compression_ratio, not both")
        columns = {*self.metrics, *self.extra, *(["seconds"] if self.seconds else [])}
        if unknown := set(self.unconfirmed) - columns:
            raise ValueError(f"unconfirmed names columns that the row does not have: {', '.join(sorted(unknown))}")
        return self

    @property
    def label(self) -> str:
        from splatbench.report.labels import count

        if self.n is not None:
            return f"N = {count(self.n)}"
        return f"CR {self.compression_ratio:g}" if self.compression_ratio else "N not stated"


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
    """

    table: str
    page: int | None = None
    dataset: str
    images: int = Field(ge=1)
    hardware: str | None = None
    decimals: dict[str, int] = Field(default_factory=dict)
    protocol: list[str] = Field(default_factory=list)
    rows: list[ReferenceRow] = Field(min_length=1)


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
    """A reference file by path; raises ReferenceFileError naming file and key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Reference.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise ReferenceFileError("\n".join(f"{path}: {problem}" for problem in problems)) from None
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise ReferenceFileError(f"cannot read {path}: {error}") from None
