"""What runs in the repository's own automation: pinned actions, few rights, no text of others in a shell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.y*ml"))

#: Rights beyond reading the repository: (workflow, job) -> what it needs them for.
RIGHTS = {("site.yml", "publish"): {"pages": "write", "id-token": "write"}}  # to publish the pages
#: Values of `${{ }}` that no outsider writes.
TRUSTED = re.compile(r"(matrix|runner|steps|needs|env)\.[\w.-]+|github\.(ref|sha|run_id|workflow|event_name.*)")


def faults(text: str, name: str = "x.yml") -> list[str]:
    """What is wrong with a workflow."""
    content = yaml.safe_load(text)
    found = []
    if content.get("permissions") != {"contents": "read"}:
        found.append("permissions of the workflow are not contents: read alone")
    triggers = content.get("on", content.get(True))
    found += [
        f"trigger {each}" for each in ("pull_request_target", "workflow_run", "issue_comment") if each in triggers
    ]
    for job, settings in content["jobs"].items():
        if settings.get("permissions") not in (None, RIGHTS.get((name, job))):
            found.append(f"permissions of the job {job}")
        for step in settings["steps"]:
            if "uses" in step and not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"]):
                found.append(f"{step['uses']} is not pinned by a commit")
            expressions = re.findall(r"\$\{\{\s*(.*?)\s*\}\}", step.get("run", ""))
            found += [f"{each} in a shell" for each in expressions if not TRUSTED.fullmatch(each)]
            if "secrets." in str(step):
                found.append("a secret")
    # A comment says which release a commit is, for people and for tools that update it.
    found += [f"no version beside {pin}" for pin in re.findall(r"uses: (\S+@[0-9a-f]{40})(?!  # v\d)", text)]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows(path):
    assert faults(path.read_text(), path.name) == []


def test_one_commit_per_action():
    pins = set(re.findall(r"uses: (\S+)@(\S+)", "".join(path.read_text() for path in WORKFLOWS)))
    assert len(pins) == len({name for name, _ in pins})


GOOD = "on: push\npermissions: { contents: read }\njobs: { a: { steps: [ { run: 'echo ${{ matrix.x }}' } ] } }\n"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("contents: read", "contents: write"), "permissions of the workflow"),
        (("permissions: { contents: read }\n", ""), "permissions of the workflow"),
        (("on: push", "on: [pull_request_target]"), "trigger pull_request_target"),
        (("matrix.x", "github.event.pull_request.title"), "github.event.pull_request.title in a shell"),
        (("matrix.x", "github.head_ref"), "github.head_ref in a shell"),
        (("run: 'echo", "uses: actions/checkout@v4, run: 'echo"), "actions/checkout@v4 is not pinned"),
        (("a: {", "a: { permissions: write-all,"), "permissions of the job a"),
        (("matrix.x", "secrets.TOKEN"), "a secret"),
    ],
)
def test_faults_are_found(change, fault):
    assert faults(GOOD) == []
    assert any(fault in each for each in faults(GOOD.replace(*change)))
