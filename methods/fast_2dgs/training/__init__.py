"""What the phases of Fast-2DGS' training minimise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from splatbench.method import MethodError, nearest

if TYPE_CHECKING:
    from splatbench.training.task import Task

    from .settings import Settings

#: In their order: where Gaussians sit, and what they look like.
PHASES = ("heat", "attributes")


def make_task(settings: Settings, phase: str) -> Task:
    """The task of a phase.

    Raises:
        MethodError: no such phase.
    """
    from .attributes import AttributeTask
    from .heat import HeatTask

    if phase not in PHASES:
        raise MethodError(f"Fast-2DGS has no phase {phase!r}{nearest(phase, PHASES)}")
    return HeatTask(settings) if phase == "heat" else AttributeTask(settings)
