from __future__ import annotations

import pytest

from splatbench import method as methods
from splatbench.method import MethodError, get_method

PLAIN = """
from dataclasses import dataclass
from typing import Literal
from splatbench.method import Method
from .helper import VALUE

@dataclass(frozen=True)
class Config:
    steps: int = VALUE
    mode: Literal["a", "b"] = "a"

class Fake(Method):
    title = "Fake"
    Config = Config
    def encode(self, image, budget, trace, seed=1): return image
    def to_bytes(self, encoding): return b""
    @staticmethod
    def from_bytes(data): return data
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "__init__.py").write_text(PLAIN)
    (tmp_path / "fake" / "helper.py").write_text("VALUE = 7")
    monkeypatch.setenv("SPLATBENCH_METHODS", str(tmp_path))
    methods._load.cache_clear()
    yield tmp_path
    methods._load.cache_clear()


def test_a_folder_is_a_method(folder):
    kind = get_method("fake")
    assert (kind.name, kind.title) == ("fake", "Fake")
    assert kind.make_config({}).steps == 7  # relative imports work
    assert "fake" in methods.available()
    assert "gaussianimage" in methods.available()


def test_unknown_method_names_the_nearest():
    with pytest.raises(MethodError, match="unknown method 'gausianimage'; did you mean 'gaussianimage'"):
        get_method("gausianimage")


def test_settings_are_checked(folder):
    kind = get_method("fake")
    assert kind.make_config({"steps": 3, "mode": "b"}).steps == 3
    with pytest.raises(MethodError, match="method fake: unknown setting 'step'; did you mean 'steps'"):
        kind.make_config({"step": 3})
    with pytest.raises(MethodError, match="mode"):
        kind.make_config({"mode": "c"})
    with pytest.raises(MethodError, match="steps"):
        kind.make_config({"steps": "three"})


@pytest.mark.parametrize("text", ["", PLAIN + "\nclass Second(Fake): pass\n"])
def test_exactly_one_class(folder, text):
    (folder / "fake" / "__init__.py").write_text(text)
    with pytest.raises(MethodError, match="exactly one Method"):
        get_method("fake")


def test_a_broken_method_does_not_hide_the_others(folder):
    (folder / "fake" / "__init__.py").write_text("import package_that_is_not_there")
    assert {"fake", "gaussianimage"} <= set(methods.available())
    with pytest.raises(ModuleNotFoundError, match="package_that_is_not_there"):
        get_method("fake")
