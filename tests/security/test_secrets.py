"""Nothing of the environment but what splatbench itself reads is shown or recorded."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.provenance import provenance
from splatbench.runner.results import EncodeResult

SECRET = "hunter2-is-not-to-be-seen"
NAMES = (
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "HF_TOKEN",
    "DOCKER_AUTH_CONFIG",
    "PASSWORD",
    "http_proxy",
    "PIP_INDEX_URL",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, f"https://user:{SECRET}@proxy.example:3128")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_variable_is_shown(options):
    shown = CliRunner().invoke(app, ["doctor", "--no-imports", *options])
    assert "software" in shown.output
    assert SECRET not in shown.output and "proxy.example" not in shown.output


def test_no_variable_is_recorded():
    result = EncodeResult(image="x", provenance=provenance())
    assert SECRET not in json.dumps(result.model_dump(mode="json"))
