"""The papers' numbers: every file fits the schema, and the schema catches what a transcription gets wrong."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from splatbench.datasets import get_dataset
from splatbench.metrics import RATES, REGISTRY
from splatbench.report.reference import (
    PLAUSIBLE,
    ReferenceFileError,
    ReferenceRow,
    ReferenceTable,
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
            for values in (row.metrics, *row.images.values()):
                for metric, value in values.items():
                    assert metric in table.decimals, f"{table.table}: how many digits of {metric} does the paper print?"
                    assert round(value, table.decimals[metric]) == value


@pytest.mark.parametrize("name", available_references())
def test_images_have_the_names_of_the_data_set(name: str) -> None:
    """As records have them: without the ending."""
    for table in load_reference(name).tables:
        for row in table.rows:
            if row.images:
                assert set(row.images) <= {Path(image.name).stem for image in get_dataset(table.dataset).images}


#: As printed: "ImageGS" has 26.65 dB at CR 100 and 26.80 dB at CR 200.
NOT_MONOTONE = {("smartsplat_table1_div8k", "ImageGS", 100.0, "psnr")}


@pytest.mark.parametrize("name", available_references())
def test_quality_grows_with_the_budget_within_a_method(name: str) -> None:
    """A transposed row of a transcription breaks this."""
    for table in load_reference(name).tables:
        methods: dict[tuple[str, int | None], list[ReferenceRow]] = {}
        for row in table.rows:
            whole = len(row.images) in (0, table.images)
            if whole and row.metrics and (row.n or row.compression_ratio):
                methods.setdefault((row.family, row.iterations), []).append(row)
        for (family, _), rows in methods.items():
            ordered = sorted(rows, key=lambda row: row.n or -(row.compression_ratio or 0))
            for fewer, more in pairwise(ordered):
                assert (fewer.n, fewer.compression_ratio) != (more.n, more.compression_ratio)
                for metric in fewer.metrics.keys() & REGISTRY.keys():
                    if (name, family, more.compression_ratio, metric) not in NOT_MONOTONE:
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


def test_smartsplat_rows_and_words() -> None:
    """Every method at every ratio, numbers or the word that the paper prints."""
    eighths = {"div8k": (16, [20, 50, 100, 200, 500, 1000]), "div16k": (8, [50, 100, 200, 500, 1000, 2000, 3000])}
    for dataset, (images, ratios) in eighths.items():
        (table,) = load_reference(f"smartsplat_table1_{dataset}").tables
        assert (table.dataset, table.images) == (dataset, images)
        assert {row.iterations for row in table.rows} == {50000}
        families = {row.family for row in table.rows}
        assert len(families) == 6
        assert {(r.family, r.compression_ratio) for r in table.rows} == {(f, cr) for f in families for cr in ratios}
        words = {(r.family, r.compression_ratio): r.outcome for r in table.rows if r.outcome}
        for family in ("GaussianImage (RS)", "GaussianImage (Cholesky)"):
            assert {cr for f, cr in words if f == family} == {cr for cr in ratios if cr > 200}
        assert sum(word == "oom" for word in words.values()) == {"div8k": 0, "div16k": 9}[dataset]
        assert not any(family == "SmartSplat" for family, _ in words)


@pytest.mark.parametrize("dataset", ["div8k", "div16k"])
def test_smartsplat_s_logs_agree_with_its_table_but_for_the_known_contradictions(dataset: str) -> None:
    (table,), (logs,) = (load_reference(f"smartsplat_{name}_{dataset}").tables for name in ("table1", "logs"))
    printed = {(row.family, row.compression_ratio): row for row in table.rows}
    differing = {}
    for row in logs.rows:
        paper = printed.get((row.family, row.compression_ratio))
        assert row.images and row.confidence == "logs"
        if paper is not None and paper.metrics != row.metrics:
            both = (paper.outcome or paper.metrics["psnr"], row.metrics["psnr"])
            if both[0] != both[1]:
                differing[row.family, row.compression_ratio] = both
    assert (
        differing
        == {
            "div8k": {("3DGS", 500): (22.38, 23.39), ("SmartSplat", 200): (25.75, 25.74)},
            "div16k": {("3DGS", 200): ("oom", 28.06), ("3DGS", 3000): ("fail", 24.81), ("LIG", 1000): (6.78, 6.98)},
        }[dataset]
    )


def test_image_by_image_values_that_acceptance_is_measured_against() -> None:
    logs = {row.compression_ratio: row for row in load_reference("smartsplat_logs_div8k").tables[0].rows[:7]}
    assert logs[500].images["1404"] == {"psnr": 30.97, "ms_ssim": 0.9433}
    assert logs[1000].images["0138"] == {"psnr": 38.82, "ms_ssim": 0.9929}
    assert logs[20].extra["best_psnr"] == 33.66
    (printed, _) = load_reference("smartsplat_table2").tables
    found = {(row.family, row.iterations): row.metrics["psnr"] for row in printed.rows}
    assert found[("SmartSplat", 1000)] == 30.52 and found[("GaussianImage", 10000)] == 19.86


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {}}, "either metrics or the outcome"),
        ({"outcome": "fail", "note": "a word and numbers"}, "either metrics or the outcome"),
        ({"metrics": {}, "outcome": "oom"}, "the note must say"),
        ({"metrics": {}, "outcome": "crashed", "note": "?"}, "Input should be"),
        ({"images": {"a": {"psnr": 0.9}}}, "outside the plausible range"),
        ({"images": {"a": {"ssim": 0.9}}}, "image a must have the metrics of the row: psnr"),
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


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"a": 26.0, "b": 27.97}, ""),  # 26.985
        ({"a": 26.0, "b": 27.99}, "the images' mean psnr is 26.9950, not 26.98"),
        ({"a": 26.98, "b": 26.98, "c": 26.98}, "3 images in a table of 2"),
    ],
)
def test_means_must_be_those_of_the_images(images: dict[str, float], message: str) -> None:
    values = {name: {"psnr": value} for name, value in images.items()}
    row = {"family": "A", "metrics": {"psnr": 26.98}, "confidence": "logs", "images": values}
    table = {"table": "I", "dataset": "kodak", "images": 2, "decimals": {"psnr": 2}, "rows": [row]}
    if not message:
        assert ReferenceTable.model_validate(table).rows[0].images["b"] == {"psnr": 27.97}
        return
    with pytest.raises(ValidationError, match=message):
        ReferenceTable.model_validate(table)


def test_labels_say_what_fixes_the_budget() -> None:
    common = {"family": "A", "confidence": "printed"}
    rows = [{"n": 28000}, {"compression_ratio": 50}, {"metrics": {"psnr": 30, "nominal_bpp": 0.122}}, {}]
    labels = [ReferenceRow.model_validate({"metrics": {"psnr": 30}, **common, **row}).label for row in rows]
    assert labels == ["N = 28\u202f000", "CR 50", "0.122 bit/pixel (nominal)", "N not stated"]


def test_shared_keys_are_no_part_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(
        """
        title: T
        source: {citation: C, url: "https://example.org"}
        x-rows: {a: &a {family: A, confidence: printed}}
        tables: [{table: I, dataset: kodak, images: 1, rows: [{<<: *a, n: 1, metrics: {psnr: 30}}]}]
        """
    )
    assert read_reference(path).tables[0].rows[0].family == "A"
    path.write_text(path.read_text().replace("x-rows", "y-rows"))
    with pytest.raises(ReferenceFileError, match=r"short.yaml: y-rows"):
        read_reference(path)


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


def test_sentences_that_yaml_cuts_at_a_comma_are_refused() -> None:
    table = load_reference("image_gs_paper").tables[-1].model_dump()
    protocol = yaml.safe_load("[Another group's runs; neither iterations, settings nor GPU are known to us.]")
    with pytest.raises(ValidationError, match="neither iterations. is no sentence"):
        ReferenceTable.model_validate(table | {"protocol": protocol})
    assert "neither iterations, settings nor GPU are known to us." in table["protocol"][0]


def test_caveats_are_checked() -> None:
    row = {"family": "AIR", "n": 1, "metrics": {"psnr": 30.0}, "confidence": "printed"}
    table = {"table": "T", "dataset": "kodak", "images": 1, "rows": [row]}
    with pytest.raises(ValidationError, match="caveats of metrics that the table does not have: flip"):
        ReferenceTable.model_validate(table | {"caveats": {"metrics": {"flip": "text"}}})
    with pytest.raises(ValidationError, match="belong to the table"):
        ReferenceRow.model_validate(row | {"caveats": {"metrics": {"psnr": "text"}}})
    with pytest.raises(ValidationError, match="per_image"):
        ReferenceTable.model_validate(table | {"caveats": {"counts": "per_table"}})


@pytest.mark.parametrize("name", ["air_table1", "air_table2", "air_table7"])
def test_counts_of_air_s_tables_are_of_its_network(name: str) -> None:
    for table in load_reference(name).tables:
        assert table.caveats.counts == "per_image"
        (unstated,) = {tuple(row.caveats.unstated[:2]) for row in table.rows if row.family == "GaussianImage"}
        assert unstated == ("covariance variant", "learning rate")
