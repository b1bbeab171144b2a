"""Which rows today's code might measure otherwise: other settings, another method version, other packages,
another image."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from splatbench.containers import recipe
from splatbench.method import MethodError, available, get_method
from splatbench.record import ContainerImage, Record
from splatbench.runner.plan import configured

_CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"

#: Packages that run the work but take no part in any number.
_NO_PART = ("snakemake",)


def staleness(record: Record) -> tuple[str, ...]:
    """Why a record may not be what today's code and pinned packages would give; empty if nothing is known against it.

    What is looked at: whether the method is there and makes the record's config_hash of its settings, the version of
    splatbench, major and minor versions of the packages that constraints.txt pins, and the recipe of the image of ours
    that it was made in. Costs microseconds per record
    of a known configuration; equal records get equal answers.
    """
    settings = json.dumps(record.config, sort_keys=True)
    versions = tuple(sorted(record.provenance.versions.items()))
    return (
        *_of_method(record.method, settings, record.config_hash),
        *_of_packages(record.provenance.version, versions),
        *_of_image(record.provenance.image),
    )


@functools.cache
def _of_method(name: str, settings: str, config_hash: str) -> tuple[str, ...]:
    if name not in available():
        return (f"method {name!r} is not among today's methods",)
    recorded: dict[str, Any] = json.loads(settings)
    try:
        config, today = configured(name, recorded)
    except MethodError as error:
        return (f"the method no longer takes these settings ({error})",)
    except Exception as error:  # whatever a folder of somebody's method raises when it is imported
        return (f"the method cannot be loaded ({type(error).__name__}: {error})",)
    if today == config_hash:
        kind = get_method(name)
        why = kind.outdated(kind.make_config(recorded))
        return (why,) if why else ()
    if added := sorted(set(config) - set(recorded)):
        return (f"the method has settings that it had not then: {', '.join(added)}",)
    return ("the method's version or weights have changed since",)


@functools.cache
def _of_packages(version: str, versions: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    reasons = []
    today = metadata.version("splatbench")
    if version and version != today:
        reasons.append(f"measured with splatbench {version}, now {today}")
    changed = _changed(dict(versions), _pinned())
    if changed:
        reasons.append(f"measured with other packages: {', '.join(changed)}")
    return tuple(reasons)


def _of_image(image: ContainerImage | None) -> tuple[str, ...]:
    why = recipe.outdated(image.name, image.recipe) if image else None
    return (why,) if why else ()


def _changed(then: Mapping[str, str], pinned: Mapping[str, str]) -> list[str]:
    """ "torch 2.11.0 (now 2.15.0)" for each pinned package whose major or minor version differs."""
    return [
        f"{name} {then[name]} (now {pinned[name]})"
        for name in then
        if name in pinned and name not in _NO_PART and _minor(then[name]) != _minor(pinned[name])
    ]


def _minor(version: str) -> list[str]:
    return re.split(r"[.+]", version)[:2]


@functools.cache
def _pinned() -> dict[str, str]:
    """Package -> exact version, of constraints.txt."""
    lines = _CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
