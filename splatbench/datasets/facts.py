"""What is known of a file's content, remembered as long as the file does not change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict

from splatbench.datasets.images import ImageError, load_image, pixel_sha256
from splatbench.files import sealed, sha256_file, unseal, write_atomic

# A file that was changed this recently could change again within one tick of its time stamps: it is not remembered.
_SETTLED_NS = 2_000_000_000


def cache_folder() -> Path:
    """Where downloads and remembered facts go: SPLATBENCH_CACHE, or the user's cache folder."""
    return Path(os.environ.get("SPLATBENCH_CACHE") or platformdirs.user_cache_dir("splatbench")).expanduser()


class Facts(BaseModel):
    """Of one file: its bytes' hash, and its picture's hash and size or why there is no picture."""

    model_config = ConfigDict(extra="forbid")

    stamp: tuple[int, int, int, int]  # length, mtime, ctime (ns), inode: all must agree for the rest to hold
    sha256: str
    pixel_sha256: str | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None

    @property
    def decoded(self) -> bool:
        return self.error is not None or self.pixel_sha256 is not None


def file_facts(path: Path) -> Facts:
    """Facts with the file's hash; the picture may not be decoded yet.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    stamp = _stamp(path)
    return _remembered(path, stamp) or _remember(path, Facts(stamp=stamp, sha256=sha256_file(path)))


def picture_facts(path: Path) -> Facts:
    """Facts with the picture's hash and size, or with `error`.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    facts = file_facts(path)
    if facts.decoded:
        return facts
    try:
        pixels = load_image(path).pixels
    except ImageError as error:
        return _remember(path, facts.model_copy(update={"error": str(error)}))
    found = {"pixel_sha256": pixel_sha256(pixels), "height": pixels.shape[0], "width": pixels.shape[1]}
    return _remember(path, facts.model_copy(update=found))


def _stamp(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _memory(path: Path) -> Path:
    return cache_folder() / "facts" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _remembered(path: Path, stamp: tuple[int, int, int, int]) -> Facts | None:
    with contextlib.suppress(OSError, ValueError):
        memory = _memory(path)
        facts = Facts.model_validate(unseal(memory.read_bytes(), memory.name))
        return facts if facts.stamp == stamp else None
    return None


def _remember(path: Path, facts: Facts) -> Facts:
    """Stores the facts unless the file changed meanwhile or just now; a read-only cache only costs time."""
    with contextlib.suppress(OSError):
        if _stamp(path) == facts.stamp and time.time_ns() - max(facts.stamp[1:3]) > _SETTLED_NS:
            memory = _memory(path)
            write_atomic(memory, sealed(facts.model_dump(mode="json"), memory.name))
    return facts
