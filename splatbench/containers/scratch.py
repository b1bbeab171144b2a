"""Folders of one task, in the folder for temporary files: they go with the task, or with the next one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from splatbench.containers.folders import remove_tree
from splatbench.containers.owner import OwnedBy, myself

_PREFIX = "splatbench-task-"
#: File beside the folders of a task, which it does not see: whose they are (`OwnedBy`).
_OWNER = "owner"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A fresh folder that no other user of this machine can enter, for folders of a task; removed at the end with all
    that is in it. A harness that is killed cannot do that: the next one removes what it left.

    Raises:
        OSError: it cannot be made.
    """
    remove_stale_folders()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        (folder / _OWNER).write_text(myself().label(), encoding="utf-8")
        yield folder
    finally:
        remove_tree(folder)


def remove_stale_folders() -> list[Path]:
    """Removes folders of this user whose harness ended without doing it; never those of a living process or of another
    machine, nor any that do not say whose they are."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = _owner(folder)
        if owner is not None and owner.is_gone(running=False):
            remove_tree(folder)
            removed.append(folder)
    return removed


def _owner(folder: Path) -> OwnedBy | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        state = folder.lstat()  # anybody may make a link of this name where all users put their files
        if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid():
            return OwnedBy.parse((folder / _OWNER).read_text(encoding="utf-8"))
    return None
