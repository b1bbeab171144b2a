"""Each line of the fault table names tests that run."""

from __future__ import annotations

from tests.named import NAMED, ROOT, faults


def test_every_line_names_tests_that_run() -> None:
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
    assert len(lines) > 30 and all(NAMED.search(line) for line in lines)
    assert list(faults(text)) == []
