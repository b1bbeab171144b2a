"""`splatbench doctor --check`: what is broken is said, and is an exit code."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from splatbench import method, render
from splatbench.cli import app, health
from splatbench.containers import identity


def test_what_works_is_exit_code_0():
    done = CliRunner().invoke(app, ["doctor", "--check"])
    assert done.exit_code == 0 and "the software works" in done.output


def test_wrong_pixels_are_found(monkeypatch):
    right = render.render
    monkeypatch.setattr(render, "render", lambda gaussians: right(gaussians) * 0.999)
    (fault,) = health._rendering()
    assert "rendered wrongly" in fault


def test_what_a_kernel_raises_is_said(monkeypatch):
    def broken(gaussians):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(render, "render", broken)
    assert health._rendering() == ["Gaussians cannot be rendered: RuntimeError: no such instruction"]


def test_methods_that_cannot_be_loaded_are_named(monkeypatch):
    monkeypatch.setattr(method, "available", lambda: ["gone"])
    (fault,) = health._methods()
    assert fault.startswith("the method gone cannot be loaded")
    monkeypatch.setattr(method, "available", list)
    assert "no methods are found" in health._methods()[0]


def test_packages_that_fail_when_imported_are_named(monkeypatch):
    def broken(module):
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(health, "import_module", broken)
    assert "the package torch cannot be imported: OSError: libcudart.so" in health._not_importable()[0]


@pytest.mark.parametrize(
    ("image", "faults"), [(None, ["the package lpips is not installed"]), ("splatbench-report", [])]
)
def test_missing_packages_are_named_but_where_they_are_left_out(monkeypatch, image, faults):
    monkeypatch.setattr(health, "_installed", lambda name: name != "lpips")
    monkeypatch.setattr(identity, "facts", lambda: identity.Facts(image, "", "") if image else None)
    assert health._missing() == faults


def test_faults_are_exit_code_1(monkeypatch):
    monkeypatch.setattr(health, "broken", lambda: ["one", "two"])
    done = CliRunner().invoke(app, ["doctor", "--check"])
    assert done.exit_code == 1 and "splatbench: one\nsplatbench: two" in done.output
