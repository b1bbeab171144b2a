"""What `make` installs: every package pinned, each pin within its range, and licences that a user may pass on."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

#: Packages whose licence is none of the permissive ones: name -> why it may be installed.
EXCEPTIONS = {
    "docutils": "public domain and BSD, comes with Snakemake; what is GPL is a mode for an editor, not in the package",
}
_COPYLEFT = re.compile(r"\b(A?GPL|GNU (AFFERO )?GENERAL PUBLIC)", re.I)
_LESSER = re.compile(r"\b(LGPL|GNU (LESSER|LIBRARY) GENERAL PUBLIC)", re.I)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(\s*;.*)?", line)
            assert match, f"constraints.txt: {line!r} is no exact version"
            found[canonicalize_name(match[1])] = match[2]
    return found


def direct() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for name in ("dev", "cluster", "train") for text in extras[name])]
    return [Requirement(text) for text in texts if canonicalize_name(Requirement(text).name) != "splatbench"]


@pytest.mark.parametrize("requirement", direct(), ids=lambda requirement: requirement.name)
def test_every_direct_dependency_is_pinned_within_its_range(requirement):
    version = pins().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in constraints.txt: run `make constraints`"
    assert requirement.specifier.contains(version, prereleases=True), f"{requirement} does not allow {version}"


def installed_by_default() -> set[str]:
    """Names of what `make setup` installs: the dependencies of the project and theirs, extras of none."""
    waiting, seen = [r.name for r in map(Requirement, metadata.requires("splatbench") or []) if not r.marker], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another system
        seen.add(name)
        waiting += [r.name for r in map(Requirement, needs) if r.marker is None or r.marker.evaluate({"extra": ""})]
    return seen


def licence(name: str) -> str:
    """All that a package says of its licence, in one line; the text itself where it says it so."""
    about = metadata.metadata(name)
    classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    return " | ".join([about.get("License-Expression") or "", (about.get("License") or "")[:300], *classifiers])


def is_copyleft(text: str) -> bool:
    return bool(_COPYLEFT.search(_LESSER.sub("", text)))


def test_no_copyleft_is_installed_by_default():
    names = installed_by_default()
    assert len(names) > 60
    copyleft = {name: licence(name) for name in names if is_copyleft(licence(name))}
    assert set(copyleft) == set(EXCEPTIONS), copyleft


@pytest.mark.parametrize(
    ("text", "copyleft"),
    [
        ("GPL-3.0-or-later", True),
        ("AGPL-3.0", True),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True),
        ("GNU Affero General Public License", True),
        ("LGPL-2.1", False),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", False),
        ("MIT | License :: OSI Approved :: MIT License", False),
    ],
)
def test_copyleft_is_recognised(text, copyleft):
    assert is_copyleft(text) is copyleft
