"""Records in the formats of other programs, read back."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from splatbench.metrics import REGISTRY
from splatbench.record import Provenance, Record
from splatbench.results.export import column_kinds, flat, write_csv, write_latex, write_parquet
from splatbench.results.survey import HEADER, Submethod, SurveyError, write_survey
from tests.results.changes import changed

HOSTILE = 'a,"b"\n<script>alert(1)</script>'


def test_columns_are_the_same_whatever_the_records(good):
    few, many = flat(good[:1]), flat(good)
    assert list(few.columns) == list(many.columns) == list(column_kinds())
    assert few.dtypes.equals(many.dtypes)
    assert {f"provenance_{name}" for name in Provenance.model_fields} < set(few.columns)
    assert set(Record.model_fields) - set(few.columns) == {"metrics", "metrics_not_run", "provenance", "curve"}
    assert set(REGISTRY) < set(few.columns)
    assert flat([]).dtypes.equals(few.dtypes)


def test_an_unknown_metric_gets_a_column_but_no_name_of_a_field(good):
    table = flat([changed(good[0], metrics__mine=0.5)])
    assert table["mine"][0] == 0.5
    with pytest.raises(ValueError, match="names of a record's fields: bytes"):
        flat([changed(good[0], metrics__bytes=0.5)])


def test_parquet_round_trip(good, tmp_path):
    rows = [*good[:50], changed(good[50], image=HOSTILE, provenance__gpu="GPU"), *good[51:]]
    write_parquet(rows, tmp_path / "a.parquet")
    write_parquet(rows, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    table = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert len(table) == len(rows)
    for row, record in zip(table, rows, strict=True):
        for name in ("image", "status", "reason", "bytes", "bpp", "n_actual", "seed", "gpu_shared", "encode_seconds"):
            assert row[name] == getattr(record, name)
        for name in ("config", "budget", "notes", "encode_seconds_all", "stage_seconds"):
            assert json.loads(row[name]) == json.loads(record.model_dump_json())[name]
        for name in REGISTRY:
            assert row[name] == record.metrics.get(name)
        assert row["provenance_gpu"] == record.provenance.gpu
        assert json.loads(row["provenance_versions"]) == record.provenance.versions


def test_csv_round_trip(good, tmp_path):
    rows = [changed(good[0], image=HOSTILE, reason=None), *good[1:]]
    write_csv(rows, path := tmp_path / "a.csv")
    with open(path, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["image"] for row in table] == [record.image for record in rows]
    for row, record in zip(table, rows, strict=True):
        assert row["bytes"] == ("" if record.bytes is None else str(record.bytes))
        assert row["psnr"] == "" if record.status != "ok" else float(row["psnr"]) == record.metrics["psnr"]
    read = pd.read_csv(path)
    assert np.allclose(read["bpp"].dropna(), [record.bpp for record in rows if record.bpp is not None], rtol=0)


def test_latex_has_each_table_once(good, tmp_path):
    rows = [*good[:150], *(changed(record, experiment="other & more") for record in good[:20])]
    write_latex(rows, path := tmp_path / "tables.tex")
    text = path.read_text()
    labels = [line for line in text.splitlines() if line.startswith(r"\label")]
    assert len(labels) == len(set(labels)) > 1
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == len(labels)


# -- the survey --------------------------------------------------------------------------------------------------------


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_survey_folders_and_rows(good, tmp_path):
    rows = [changed(record, metrics__lpips_vgg=0.25) if record.status == "ok" and i % 2 else record
            for i, record in enumerate(good)]  # fmt: skip
    named = [Submethod.parse("cholesky@n28000-i2000=Baseline"), Submethod.parse("rs@n28000-i2000=-RS")]
    one_seed = [record for record in rows if record.seed == 1]
    written = write_survey(one_seed, tmp_path, named)
    wanted = [r for r in one_seed if r.status == "ok" and r.column != "control"]
    assert (written.rows, written.left_out) == (len(wanted), len(one_seed) - len(wanted))
    assert written.without_lpips == sum("lpips_vgg" not in record.metrics for record in wanted)
    assert sum(len(read(path)) - 1 for path in written.files) == len(wanted)
    table = read(tmp_path / "gaussianimage" / "made-up-photos" / "picture0001.csv")
    assert ",".join(table[0]) == "Submethod,PSNR,SSIM,LPIPS,Size [Bytes],#Gaussians"
    assert [row[0] for row in table[1:4]] == ["Baseline", "-RS", ""]
    first = next(r for r in wanted if (r.entry, r.budget_slug, r.image) == ("cholesky", "n28000-i2000", "picture0001"))
    lpips = first.metrics.get("lpips_vgg")
    assert table[1][1:] == [
        f"{first.metrics['psnr']:.6f}", f"{first.metrics['ssim']:.6f}", "" if lpips is None else f"{lpips:.6f}",
        str(first.bytes), str(first.n_actual),
    ]  # fmt: skip


def test_other_networks_do_not_pass_for_the_survey_s(good, tmp_path):
    record = changed(good[0], metrics__lpips_alex=0.3)
    (path,) = write_survey([record], tmp_path).files
    assert read(path)[1][HEADER.index("LPIPS")] == ""


def test_survey_file_names_are_safe_and_distinct(good, tmp_path):
    images = ["../../etc/passwd", "<script>", "画像", "絵", "x" * 300, "x" * 299 + "y", "a b", "a-b"]
    written = write_survey([changed(good[0], image=image) for image in images], tmp_path / "out")
    assert len({path.name for path in written.files}) == len(images)
    assert {path.parent for path in written.files} == {tmp_path / "out" / "gaussianimage" / "made-up-photos"}


@pytest.mark.parametrize("text", ["cholesky=Baseline", "a@b=RS", "a@b=", "a@b=-", "@b=Baseline", "a@b= "])
def test_submethods_that_cannot_be(text):
    with pytest.raises(SurveyError):
        Submethod.parse(text)


def test_submethods_fit_the_records(good, tmp_path):
    rows = [changed(good[0], budget={"gaussians": n}, budget_slug=f"n{n}") for n in (1, 2, 3)]
    with pytest.raises(SurveyError, match="no final result of other@n1"):
        write_survey(rows, tmp_path, [Submethod("other", "n1", "Baseline")])
    names = [Submethod(good[0].entry, f"n{n}", f"-{n}") for n in (1, 2, 3)]
    with pytest.raises(SurveyError, match="gaussianimage has 3 named submethods; the survey shows at most 2"):
        write_survey(rows, tmp_path, names)
    with pytest.raises(SurveyError, match="several results of picture0001"):
        write_survey([rows[0], changed(rows[0], seed=7)], tmp_path, names[:1])
    controls = [record for record in good if record.column == "control"]
    with pytest.raises(SurveyError, match="no final result of a method with Gaussians"):
        write_survey(controls, tmp_path)
    assert not list(tmp_path.iterdir())
