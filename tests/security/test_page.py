"""docs/security.md names tests that exist, and every kind of promise names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda text: text.rpartition("/")[2])
def test_a_test_that_is_named_exists(path, name):
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.M), f"{path} has no test {name}"


def test_every_promise_names_its_test():
    promises = TEXT.partition("## What is promised")[2].partition("## What is not promised")[0]
    paragraphs = [text for text in promises.split("\n\n") if text.startswith("**")]
    assert len(paragraphs) >= 10
    assert [text[:60] for text in paragraphs if "::" not in text] == []


def test_the_page_is_where_people_look():
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
