"""Rows that today's code might measure otherwise."""

from __future__ import annotations

import time

import pytest

from splatbench.record import Record
from splatbench.results.stale import _of_method, staleness
from splatbench.runner import plan
from tests.results.changes import changed


def test_fresh_rows_are_not_stale(good):
    assert {staleness(record) for record in good} == {()}


def test_nothing_to_compare_is_not_stale():
    record = Record(experiment="e", dataset="d", image="i", entry="x", method="gaussianimage")
    config, record.config_hash = plan.configured("gaussianimage", {})
    assert staleness(record.model_copy(update={"config": config})) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "gone"}, "method 'gone' is not among today's methods"),
        ({"config_hash": "00000000"}, "version or weights have changed"),
        (
            {"config": {"variant": "cholesky"}, "config_hash": "00000000"},
            "settings that it had not then: codebook_decay",
        ),
        ({"config": {"variannt": "rs"}}, "no longer takes these settings"),
        ({"provenance__version": "0.0.9"}, "measured with splatbench 0.0.9, now "),
        (
            {"provenance__versions": {"torch": "2.3.1+cu121", "numpy": "2.4.0"}},
            "other packages: torch 2.3.1+cu121 (now ",
        ),
    ],
)
def test_why_a_row_is_stale(good, changes, says):
    (reason,) = staleness(changed(good[0], **changes))
    assert says in reason


def test_patch_releases_and_bystanders_do_not_matter(good):
    versions = {"numpy": "2.4.999", "snakemake": "1.0", "python": "3.8.0", "unheard-of": "7"}
    assert staleness(changed(good[0], provenance__versions=versions)) == ()


def test_a_new_version_of_a_method_makes_its_rows_stale(good, monkeypatch):
    from splatbench.method import get_method

    _of_method.cache_clear()
    monkeypatch.setattr(get_method("gaussianimage"), "version", 999)
    assert staleness(good[0]) == ("the method's version or weights have changed since",)
    _of_method.cache_clear()


def test_it_is_cheap(good):
    staleness(good[0])
    begin = time.perf_counter()
    for _ in range(2000):
        staleness(good[0])
    assert time.perf_counter() - begin < 2
