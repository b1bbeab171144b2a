"""What removes a container when its harness is gone: a process that waits at its standard input."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace

import pytest

from splatbench.containers import reaper
from splatbench.containers.docker import _GRACE_SECONDS
from splatbench.method import get_method


@pytest.fixture
def harness(monkeypatch):
    """The end of the pipe that the harness holds, and the containers that were removed."""
    read, write = os.pipe()
    removed: list[str] = []
    answers = [False, False, True]  # the daemon is busy at first

    def remove(container: str) -> bool:
        removed.append(container)
        return answers[len(removed) - 1]

    monkeypatch.setattr("splatbench.containers.docker.remove_container", remove)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield SimpleNamespace(pipe=write, removed=removed)


def test_all_is_well(harness):
    os.write(harness.pipe, b".")
    os.close(harness.pipe)
    assert reaper.main("c", 60) == 0 and harness.removed == []


def test_a_harness_that_died(harness):
    os.close(harness.pipe)
    assert reaper.main("c", 60) == 0 and harness.removed == ["c"] * 3, "it asks again until it is gone"


def test_a_harness_that_hangs(harness):
    assert reaper.main("c", 0.05) == 0 and harness.removed == ["c"] * 3
    os.close(harness.pipe)


def test_the_longest_time_limit(harness):
    """What a configuration may ask for can be waited for."""
    longest = sys.modules[get_method("external").Config.__module__].MAX_SECONDS
    os.write(harness.pipe, b".")
    os.close(harness.pipe)
    assert longest == 10 * 366 * 86400
    assert reaper.main("c", longest + _GRACE_SECONDS) == 0 and harness.removed == []


def test_a_daemon_that_never_answers(harness, monkeypatch):
    monkeypatch.setattr("splatbench.containers.docker.remove_container", lambda _: False)
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    os.close(harness.pipe)
    assert reaper.main("c", 60) == 1


def test_the_process_ends_when_dismissed():
    """The real one, which never asks a daemon."""
    waiting = reaper.Reaper("none", 60)
    assert waiting._process.poll() is None
    waiting.dismiss()
    assert waiting._process.returncode == 0
