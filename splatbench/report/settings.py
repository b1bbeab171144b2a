"""The `report:` section of an experiment file. Nothing here makes anything be encoded or measured again."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableSettings(_Strict):
    """A paper's table to stand beside ours."""

    reference: str = Field(description="file in reports/reference/, without .yaml")
    families: dict[str, str] = Field(
        default_factory=dict,
        description="our family -> the paper's, where the names differ; 'X (variant)' is compared with 'X' by itself",
    )

    @field_validator("reference")
    @classmethod
    def _exists(cls, name: str) -> str:
        from splatbench.method import nearest
        from splatbench.report.reference import available_references

        known = available_references()
        if name not in known:
            raise ValueError(f"unknown reference {name!r}{nearest(name, known)}")
        return name


class PictureSettings(_Strict):
    """Which decoded pictures the page shows."""

    images: list[str] = Field(default_factory=list, description="names; empty: the first `count` of each data set")
    count: int = Field(default=2, ge=0, le=50, description="images per data set; 0 shows none")
    entries: list[str] = Field(default_factory=list, description="entry ids; empty: all of them")
    max_side: int = Field(default=768, ge=16, le=8192, description="pixels; larger pictures are shown reduced")


class ReportSettings(_Strict):
    """How the measured records are shown."""

    title: str = ""
    introduction: str = Field(default="", description="a paragraph of plain text below the title")
    tables: list[TableSettings] | None = Field(
        default=None, description="None: every reference that has a table for one of the data sets and methods shown"
    )
    pictures: PictureSettings = Field(default_factory=PictureSettings)
    rank_by: str = Field(default="psnr", description="the metric whose mean rows are ordered by")
    decimals: dict[str, int] = Field(default_factory=dict, description="metric -> digits after the point")

    @field_validator("rank_by")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        from splatbench.metrics import get_metric

        return get_metric(name).name

    @field_validator("decimals")
    @classmethod
    def _known_columns(cls, value: dict[str, int]) -> dict[str, int]:
        from splatbench.method import nearest
        from splatbench.report.labels import DECIMALS

        for name, digits in value.items():
            if name not in DECIMALS:
                raise ValueError(f"unknown column {name!r}{nearest(name, DECIMALS)}")
            if not 0 <= digits <= 8:
                raise ValueError(f"{name}: digits after the point must be 0 to 8, got {digits}")
        return value
