"""Folders that a program of somebody else may write: whether they grow too large, and how they go away."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

#: What a file of no bytes counts: many empty files fill a disk, too.
_FILE_BYTES = 4096


def exceeds(folders: Iterable[Path], limit: int) -> bool:
    """Whether all files below the folders together are longer than `limit` bytes; stops counting there.

    Links are not followed. A file counts its length or what it takes on disk, whichever is more; what cannot be
    looked at (a folder without permissions, a path that is too long) breaks any limit.
    """
    return _bytes_below(list(folders), limit) > limit


def _bytes_below(folders: list[Path], limit: int) -> float:
    total: float = sum(file.stat().st_size for file in folders if file.is_file())
    waiting = [str(folder) for folder in folders if not folder.is_file()]
    while waiting and total <= limit:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    with contextlib.suppress(FileNotFoundError):
                        stat = entry.stat(follow_symlinks=False)
                        total += max(stat.st_size, stat.st_blocks * 512, _FILE_BYTES)
                    if total > limit:
                        return total
        except FileNotFoundError:
            continue
        except OSError:
            return math.inf
    return total


def remove_tree(folder: Path) -> None:
    """Removes a folder with all that is in it, as far as this user may.

    What Python cannot remove (a path that is too long, a folder without permissions) is left to the system's tools:
    they follow no link, and have no limit of depth.
    """
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*command, str(folder)], capture_output=True, check=False)
