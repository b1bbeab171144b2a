"""The measured records in the repository: whole, clean, and what the tables beside them say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import figures
from splatbench.record import Record, read_records

FOLDER = Path(__file__).resolve().parent.parent / "results" / "published"
FILES = sorted(FOLDER.glob("*.jsonl"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def published(request) -> tuple[Path, list[Record]]:
    return request.param, list(read_records(request.param))


def test_there_are_some():
    assert FILES


def test_every_row_says_where_it_comes_from(published):
    _, records = published
    assert len({record.key for record in records}) == len(records)
    for record in records:
        assert re.fullmatch("[0-9a-f]{40}", record.provenance.commit or "")
        assert record.provenance.dirty is False, "measured with uncommitted changes"
        assert record.provenance.cpu
        assert record.provenance.device


def test_rates_are_lengths_of_files(published):
    _, records = published
    for record in records:
        if record.status == "ok":
            assert record.bpp == pytest.approx(8 * record.bytes / (record.height * record.width), rel=1e-12)
            assert record.metrics["psnr"] <= 100


def test_no_local_paths(published):
    path, _ = published
    assert not re.search(r"/(tmp|root|home|work|Users)/", path.read_text())


def test_table_beside_it_is_made_of_it(published):
    from splatbench.cli.report import app

    path, _ = published
    made = CliRunner().invoke(app, ["tables", str(path)])
    assert made.exit_code == 0, made.output
    assert made.stdout == path.with_suffix(".md").read_text(), f"stale: splatbench report tables {path} > ...md"


def test_readme_shows_the_measured_means():
    """The table in the README against the records."""
    records = list(read_records(FOLDER / "kodak_gaussianimage.jsonl"))
    readme = (FOLDER.parent.parent / "README.md").read_text()
    for n in (28000, 37000, 52000):
        cells = re.search(rf"^\| {n // 1000} 000 \|(.*)\|$", readme, re.M)
        assert cells is not None
        shown = [float(cell) for cell in cells[1].split("|")][1:]
        for entry, value in zip(
            ("cholesky_published", "cholesky_corrected", "rs_published", "rs_corrected"), shown, strict=True
        ):
            values = [r.metrics["psnr"] for r in records if r.entry == entry and r.n_target == n]
            assert len(values) == 24
            assert round(sum(values) / 24, 2) == value


@pytest.mark.parametrize("name", ["docs/corrections.md", "docs/reproduce.md", "README.md"])
def test_figures_in_documents_are_those_of_the_records(name):
    text = (FOLDER.parent.parent / name).read_text()
    assert figures.fill(text) == text, f"stale: python -m benchmarks.figures {name}"
