"""`splatbench results` as a person uses it: exit codes, messages, files."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.record import Record, read_records, write_records
from splatbench.results import check
from tests.results.changes import changed
from tests.site.synthetic import synthetic_records


@pytest.fixture(scope="module")
def good() -> list[Record]:
    return synthetic_records(60)


@pytest.fixture
def records(tmp_path: Path, good: list[Record]) -> Path:
    write_records(tmp_path / "some.jsonl", good)
    return tmp_path / "some.jsonl"


def run(*arguments: object):
    return CliRunner().invoke(app, ["results", *map(str, arguments)], env={"COLUMNS": "200"})


def test_validate(records):
    result = run("validate", records)
    assert (result.exit_code, result.stdout) == (0, "60 records in 1 files: 0 errors, 0 warnings\n")


def test_validate_lists_every_kind_and_fails(records, good):
    write_records(records, [*(changed(record, bpp=99.0) for record in good), changed(good[0], notes=["x"])])
    lines = run("validate", records).stdout.splitlines()
    assert run("validate", records).exit_code == 1
    assert sum(line.startswith("error: ") and "bpp is 99.0" in line for line in lines) == 10
    assert any("... and " in line and "(rate)" in line for line in lines)
    assert any("with other content" in line for line in lines)
    assert len(run("validate", records, "--all").stdout.splitlines()) > len(lines)


def test_stale_rows_are_warnings(records, good):
    write_records(records, [changed(good[0], method="gone")])
    result = run("validate", records)
    assert result.exit_code == 0
    assert "warning: " in result.stdout
    assert result.stdout.endswith("1 records in 1 files: 0 errors, 1 warnings\n")


def test_validate_looks_at_the_published_records_by_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = run("validate")
    assert result.exit_code == 1
    assert "results/published: no such file or folder" in str(result.exception)


def test_fifty_thousand_records_in_half_a_minute(records):
    """A twentieth of them, in twice a twentieth of half a minute of processor time: machines differ."""
    write_records(records, synthetic_records(2500))
    begin = time.process_time()
    assert check.check([records]).problems == []
    assert time.process_time() - begin < 3


def test_merge(records, good, tmp_path):
    other = tmp_path / "other.jsonl"
    write_records(other, [changed(good[0], notes=["again"]), *good[1:3]])
    out = tmp_path / "out.jsonl"
    refused = run("merge", records, other, "-o", out)
    assert refused.exit_code == 1
    assert "--on-conflict" in str(refused.exception)
    result = run("merge", records, other, "-o", out, "--on-conflict", "newest")
    assert result.exit_code == 0
    assert result.stdout.startswith("conflict: ")
    assert "60 records of 63 in 2 files; 2 stood there more than once, 1 conflicts settled by newest" in result.stdout
    assert len(list(read_records(out))) == 60


@pytest.mark.parametrize("format", ["csv", "parquet", "latex", "survey"])
def test_export(records, tmp_path, format):
    out = tmp_path / f"out.{format}"
    result = run("export", records, "-f", format, "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: ")
    if format in ("csv", "parquet"):
        assert len(getattr(pd, f"read_{format}")(out)) == 60
    elif format == "latex":
        assert r"\toprule" in out.read_text()
    else:
        assert "LPIPS cells are empty: the survey wants lpips_vgg" in result.stdout
        assert list(out.rglob("*.csv"))


def test_export_refuses_what_it_cannot_write(records, good, tmp_path):
    assert run("export", records, "-f", "csv", "-o", tmp_path / "x.csv", "--submethod", "a@b=Baseline").exit_code == 2
    write_records(records, [good[0], good[0]])
    result = run("export", records, "-f", "csv", "-o", tmp_path / "x.csv")
    assert result.exit_code == 1
    assert f"{records}:2 is the same measurement as {records}:1: merge first" in str(result.exception)
    records.write_text("")
    result = run("export", records, "-f", "csv", "-o", tmp_path / "x.csv")
    assert "there are no records" in str(result.exception)
    assert not (tmp_path / "x.csv").exists()


def test_folders_that_are_not_there_are_not_made(records, tmp_path):
    missing = tmp_path / "missing"
    for command in (["export", records, "-f", "csv"], ["export", records, "-f", "survey"], ["merge", records]):
        result = run(*command, "-o", missing / "folder" / "x.jsonl")
        assert result.exit_code == 2
        assert "there is no folder" in " ".join(result.output.replace("│", " ").split())
        assert not missing.exists()


def test_validate_measures_again_when_asked(records):
    assert "measured again" not in run("validate", records).stdout
    assert "(PSNR of 0 measured again)" in run("validate", records, "--decode").stdout
