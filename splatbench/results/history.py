"""Whether the code behind a record has changed since its commit, as git tells."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from splatbench.record import Record

_ROOT = Path(__file__).resolve().parents[2]

#: Beside the method's own folder: what every fit and file goes through.
_SHARED = ("fitting", "render", "losses", "codec", "rate", "optim.py", "optim_gpu.py", "graph.py")


def changed_since(record: Record) -> str | None:
    """What has changed between the record's commit and HEAD that its numbers may depend on; None if nothing.

    A change of code need not change results: a method that computes something else raises its version, which
    `staleness` sees without git.

    Raises:
        OSError: git is not installed.
        RuntimeError: this is no git checkout, or its history is cut (a shallow clone).
    """
    commit = record.provenance.commit
    return _changes(commit, record.method) if commit else None


@functools.cache
def _changes(commit: str, method: str) -> str | None:
    _require_history()
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
        return f"its commit {commit[:12]} is not in this repository's history"
    paths = [f"methods/{method}", *(f"splatbench/{name}" for name in _SHARED)]
    names = _git("diff", "--name-only", commit, "HEAD", "--", *paths).stdout.split("\n")
    changed = [name for name in names if name]
    if not changed:
        return None
    own = sum(name.startswith("methods/") for name in changed)
    return f"since its commit {commit[:12]}, {own} files of the method and {len(changed) - own} of shared code changed"


@functools.cache
def _require_history() -> None:
    shallow = _git("rev-parse", "--is-shallow-repository")
    if shallow.returncode != 0:
        raise RuntimeError(f"--git: {_ROOT} is no git checkout ({shallow.stderr.strip()})")
    if shallow.stdout.strip() != "false":
        raise RuntimeError("--git needs the whole history; this clone is shallow: git fetch --unshallow")


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=60)
