"""`Lease`: workspaces that pictures borrow, so that the memory of one serves the next."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

from .cpu_tiles import TileRasterizer
from .threads import thread_count

R = TypeVar("R", bound=TileRasterizer)
_free: dict[type, list[Any]] = {}  # by kind, those that no picture is waiting for


class Lease(Generic[R]):
    """A rasterizer of a kind that goes back when nothing can ask for its gradients any more."""

    def __init__(self, kind: type[R]) -> None:
        free = _free.setdefault(kind, [])
        try:
            self.rasterizer: R = free.pop()
        except IndexError:
            self.rasterizer = kind()
        self.rasterizer.threads = thread_count()
        weakref.finalize(self, free.append, self.rasterizer)
