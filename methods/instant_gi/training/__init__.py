"""What Instant-GI's training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from splatbench.method import MethodError, nearest

if TYPE_CHECKING:
    from .settings import Settings
    from .task import NetworkTask

#: There is one.
PHASES = ("network",)


def make_task(settings: Settings, phase: str) -> NetworkTask:
    """The task of a phase.

    Raises:
        MethodError: no such phase.
    """
    from .task import NetworkTask

    if phase not in PHASES:
        raise MethodError(f"Instant-GI has no phase {phase!r}{nearest(phase, PHASES)}")
    return NetworkTask(settings)
