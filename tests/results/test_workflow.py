"""The workflow that checks a pull request's records and publishes the site: triggers, rights, commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / ".github" / "workflows" / "site.yml"


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    content = yaml.safe_load(PATH.read_text())
    content["on"] = content.pop(True)  # YAML 1.1 reads `on` as true
    return content


def commands(workflow: dict[str, Any]) -> list[str]:
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    return [line.strip() for step in steps for line in step.splitlines()]


def test_triggers(workflow):
    assert workflow["on"]["push"] == {"branches": ["main"]}
    # Not pull_request_target: code of a pull request must never run with the repository's own rights.
    assert set(workflow["on"]) == {"push", "pull_request"}
    paths = workflow["on"]["pull_request"]["paths"]
    assert {"results/**", "reports/**", "splatbench/**", "README.md", ".github/workflows/site.yml"} <= set(paths)
    for path in paths:
        assert (ROOT / path.removesuffix("/**")).exists(), path


def test_rights(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert "permissions" not in jobs["build"]
    assert jobs["publish"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert jobs["publish"]["if"] == "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["concurrency"] == {"group": "pages", "cancel-in-progress": False}
    assert "secrets." not in PATH.read_text()
    for job in jobs.values():
        assert "timeout-minutes" in job


def test_the_whole_history_is_there_and_the_token_is_not(workflow):
    checkout = workflow["jobs"]["build"]["steps"][0]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}


def test_pages_get_what_was_built(workflow):
    steps = {step["uses"].partition("@")[0]: step for step in workflow["jobs"]["build"]["steps"] if "uses" in step}
    out = re.search(r"leaderboard build -o (\S+)", "\n".join(commands(workflow)))
    assert out is not None
    assert steps["actions/upload-pages-artifact"]["with"]["path"] == out[1]
    assert steps["actions/upload-artifact"]["with"]["path"] == out[1]
    used = [step["uses"].partition("@")[0] for step in workflow["jobs"]["publish"]["steps"]]
    assert used == ["actions/configure-pages", "actions/deploy-pages"]


def test_every_command_exists(workflow):
    from splatbench.cli import app

    found = set()
    for line in commands(workflow):
        for command in re.findall(r"\bsplatbench ([a-z]+) ([a-z]+)((?: --?[a-z]+)*)", line):
            group, name, options = command
            shown = CliRunner().invoke(app, [group, name, "--help"], env={"COLUMNS": "200"})
            assert shown.exit_code == 0, shown.output
            for option in shlex.split(options):
                assert re.search(rf"(?<!\S){re.escape(option)}\b", shown.output), f"{group} {name} has no {option}"
            found.add((group, name))
    assert found == {("results", "validate"), ("report", "tables"), ("leaderboard", "build")}
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", "\n".join(commands(workflow)), re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_documents_are_checked_by_the_module_that_fills_them(workflow):
    (line,) = [line for line in commands(workflow) if line.startswith("python -m")]
    assert line == "python -m benchmarks.figures --check README.md docs/*.md"
    assert (ROOT / "benchmarks" / "figures.py").is_file()
