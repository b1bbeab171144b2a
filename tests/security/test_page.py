"""docs/security.md names tests that run, and every kind of promise names one."""

from __future__ import annotations

from tests.named import NAMED, ROOT, faults

TEXT = (ROOT / "docs" / "security.md").read_text()


def test_the_tests_that_are_named_run():
    assert len(NAMED.findall(TEXT)) > 30
    assert list(faults(TEXT)) == []


def test_every_promise_names_its_test():
    promises = TEXT.partition("## What is promised")[2].partition("## What is not promised")[0]
    paragraphs = [text for text in promises.split("\n\n") if text.startswith("**")]
    assert len(paragraphs) >= 10
    assert [text[:60] for text in paragraphs if "::" not in text] == []


def test_the_page_is_where_people_look():
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
