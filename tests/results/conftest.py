"""Files of made-up records that are right, for tests that break them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from splatbench.record import Record, write_records
from tests.site.synthetic import synthetic_records

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def good() -> list[Record]:
    """Records of one image set that validation accepts; the first is a success of a Gaussian method."""
    return synthetic_records(400)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes records to NAME.jsonl and returns the path."""

    def make(records: Iterable[Record], name: str = "some") -> Path:
        path = tmp_path / f"{name}.jsonl"
        write_records(path, records)
        return path

    return make
