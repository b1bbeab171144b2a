"""The papers' numbers: every file fits the schema, and the schema catches what a transcription gets wrong."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from splatbench.metrics import RATES, REGISTRY
from splatbench.report.reference import (
    PLAUSIBLE,
    ReferenceFileError,
    ReferenceRow,
    available_references,
    load_reference,
    read_reference,
)
from splatbench.report.verdict import TOLERANCES


@pytest.mark.parametrize("name", available_references())
def test_every_reference_file_is_valid_and_names_its_source(name: str) -> None:
    reference = load_reference(name)
    assert reference.source.citation and reference.source.url.startswith("https://")
    for table in reference.tables:
        assert table.protocol, "how the values came about must be said"
        for row in table.rows:
            assert row.metrics.keys() <= REGISTRY.keys() | RATES.keys()
            assert row.metrics.keys() <= TOLERANCES.keys()
            for metric, value in row.metrics.items():
                assert metric in table.decimals, f"{table.table}: how many digits of {metric} does the paper print?"
                assert round(value, table.decimals[metric]) == value


@pytest.mark.parametrize("name", available_references())
def test_quality_grows_with_the_count_within_a_method(name: str) -> None:
    """A transposed row of a transcription breaks this."""
    for table in load_reference(name).tables:
        methods: dict[str, list[ReferenceRow]] = {}
        for row in table.rows:
            methods.setdefault(row.family, []).append(row)
        for rows in methods.values():
            ordered = sorted((row for row in rows if row.n), key=lambda row: row.n or 0)
            for fewer, more in pairwise(ordered):
                assert fewer.n != more.n
                for metric in fewer.metrics:
                    direction = REGISTRY[metric].direction
                    assert (more.metrics[metric] > fewer.metrics[metric]) == (direction == "higher"), (fewer, more)


def test_the_rows_that_the_acceptance_is_measured_against() -> None:
    (table,) = load_reference("air_table1").tables
    rows = {row.n: row for row in table.rows if row.family == "GaussianImage"}
    assert {n: row.metrics["psnr"] for n, row in rows.items()} == {28000: 26.98, 37000: 29.20, 52000: 30.90}
    assert all(row.iterations == 800 and row.second_hand for row in rows.values())
    assert (table.dataset, table.images) == ("kodak", 24)
    assert len(table.rows) == len(load_reference("air_table2").tables[0].rows) == 11
    (seventh,) = load_reference("air_table7").tables
    assert {row.family: row.metrics.get("nominal_bpp") for row in seventh.rows}["GaussianImage"] == 3.51
    kodak, div2k, _ = load_reference("gaussianimage_paper").tables
    own = next(row for row in kodak.rows if row.family == "GaussianImage")
    assert (own.metrics["psnr"], own.n, own.iterations, own.confidence) == (44.08, 70000, 50000, "second_hand")
    assert all(row.confidence == "unconfirmed" and "ms_ssim" in row.unconfirmed for row in div2k.rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"psnr": 0.914}}, "outside the plausible range"),
        ({"metrics": {"ms_ssim": 91.4}}, "outside the plausible range"),
        ({"metrics": {"msssim": 0.914}}, "did you mean 'ms_ssim'"),
        ({"confidence": "sure"}, "Input should be"),
        ({"unconfirmed": ["flip"]}, "does not have: flip"),
        ({"compression_ratio": 50.0}, "not both"),
        ({"psnr": 26.98}, "Extra inputs"),
    ],
)
def test_wrong_rows_are_refused(change: dict[str, object], message: str) -> None:
    row = {"family": "GaussianImage", "n": 28000, "metrics": {"psnr": 26.98}, "confidence": "printed"}
    ReferenceRow.model_validate(row)
    with pytest.raises(ValidationError, match=message):
        ReferenceRow.model_validate(row | change)


def test_every_metric_has_a_plausible_range_and_a_tolerance() -> None:
    assert PLAUSIBLE.keys() == TOLERANCES.keys() == REGISTRY.keys() | RATES.keys()


def test_errors_name_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(ReferenceFileError, match="did you mean 'air_table1'"):
        load_reference("air_tabel1")
    content = yaml.safe_load(
        """
        title: T
        source: {citation: C, url: "https://example.org"}
        tables: [{table: I, dataset: kodak, images: 0, rows: [{family: A, metrics: {psnr: 30}, confidence: printed}]}]
        """
    )
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ReferenceFileError, match=r"wrong.yaml: tables.0.images"):
        read_reference(path)
    path.write_text("- a list")
    with pytest.raises(ReferenceFileError, match=r"wrong.yaml"):
        read_reference(path)
