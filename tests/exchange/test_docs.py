"""docs/import.md says what the code does, and its example is run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from splatbench.exchange import ARRAYS, Facts, read_arrays, to_gaussians

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "import.md").read_text()


def test_the_example_writes_a_file_that_is_taken(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", TEXT, re.S)
    assert code is not None and len(code[1].strip().splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(code[1])
    runpy.run_path("example.py")
    made = to_gaussians(read_arrays("photo.npz"), (480, 640))
    assert len(made) == 1000 and bool((made.scales > 0).all())
    assert made.means.min() > 0.5 and made.means[:, 0].max() < 640.5


@pytest.mark.parametrize("name", [*ARRAYS, *Facts.model_fields])
def test_every_array_and_fact_is_in_the_tables(name):
    rows = [line for line in TEXT.splitlines() if line.startswith("|")]
    assert any(f"`{name}`" in row for row in rows), name
