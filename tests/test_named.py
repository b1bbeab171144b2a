"""The check of named tests finds what it is for."""

from __future__ import annotations

import pytest

from tests import named

_FILE = """
import pytest
def helper(): ...
def test_plain():
    def test_inside(): ...
def check_nothing(): ...
@pytest.mark.slow
def test_long(): ...
@pytest.mark.skip(reason="some day")
def test_skipped(): ...
@pytest.mark.skipif(True, reason="some day")
def test_never(): ...
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone")
@pytest.mark.parametrize("a", [1])
def test_of_linux(a): ...
class TestThings:
    def test_one(self): ...
class Things:
    def test_two(self): ...
"""


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("`tests/test_a.py::test_plain`", ""),
        ("`tests/test_a.py::test_of_linux`", ""),
        ("`tests/test_a.py::TestThings::test_one`", ""),
        ("`tests/test_a.py::test_long` (nightly)", ""),
        ("`tests/test_a.py::test_long`, it", "is long: say (nightly)"),
        ("`tests/test_a.py::test_plain` (nightly)", "is no long test"),
        ("`tests/test_a.py::test_inside`", "is no test"),
        ("`tests/test_a.py::helper`", "is no test"),
        ("`tests/test_a.py::check_nothing`", "is no test"),
        ("`tests/test_a.py::test_one`", "is no test"),
        ("`tests/test_a.py::Things::test_two`", "is no test"),
        ("`tests/test_b.py::test_plain`", "is no test"),
        ("`tests/test_a.py::test_skipped`", "is always skipped"),
        ("`tests/test_a.py::test_never`", "is always skipped"),
    ],
)
@pytest.mark.parametrize("mark", ["", "pytestmark = pytest.mark.real\n"])
def test_faults(tmp_path, monkeypatch, name, fault, mark):
    monkeypatch.setattr(named, "ROOT", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(_FILE + mark)
    found = list(named.faults(f"| cell | {name} |"))
    assert len(found) == bool(fault) and all(text.endswith(fault) for text in found)


def test_a_whole_file_may_be_long(tmp_path, monkeypatch):
    monkeypatch.setattr(named, "ROOT", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(_FILE + "pytestmark = [pytest.mark.real, pytest.mark.slow]\n")
    assert list(named.faults("`tests/test_a.py::test_plain`")) == ["tests/test_a.py::test_plain is long: say (nightly)"]
