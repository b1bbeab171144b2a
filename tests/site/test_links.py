"""Names of pages made of names in records."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from splatbench.site.links import row_id, slug, unique_slugs

HOSTILE = [
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "a b",
    "A-b",
    "a  b",
    "ü",
    "日本",
    "",
    "x" * 300,
    "con.",
    "%2e%2e",
]


@given(st.lists(st.text(), unique=True))
def test_slugs_are_safe_and_never_shared(names):
    found = unique_slugs(names)
    assert set(found) == set(names)
    assert len(set(found.values())) == len(names)
    for short in found.values():
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,56}[a-z0-9])?", short), short


def test_hostile_names():
    found = unique_slugs(HOSTILE)
    assert len(set(found.values())) == len(HOSTILE)
    assert all(re.fullmatch(r"[a-z0-9-]{1,58}", short) for short in found.values())


def test_plain_names_stay_readable():
    assert unique_slugs(["kodim01.png", "div2k_valid_x2", "GaussianImage (RS)"]) == {
        "kodim01.png": "kodim01-png",
        "div2k_valid_x2": "div2k-valid-x2",
        "GaussianImage (RS)": "gaussianimage-rs",
    }


def test_a_name_keeps_its_slug_when_others_come():
    alone = unique_slugs(["a b"])
    assert unique_slugs(["a b", "other", "<a b>"])["a b"] == alone["a b"]


@given(st.text())
def test_slug_is_of_letters_digits_and_dashes(text):
    assert re.fullmatch(r"[a-z0-9-]{1,48}", slug(text))


def test_rows_that_differ_anywhere_have_other_ids():
    identity = ["kodak", "air", "ours", "abc", "ours", "n28000", "", "final"]
    ids = {row_id(identity)} | {row_id([*identity[:i], identity[i] + "x", *identity[i + 1 :]]) for i in range(8)}
    assert len(ids) == 9
    assert row_id(identity).startswith("kodak-air-n28000-final-")
