"""What the phases of AIR's training minimise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from splatbench.method import MethodError, nearest

if TYPE_CHECKING:
    from .settings import Settings
    from .tasks import AirTask

#: Phases of the paper (Sec. 3.4 to 3.6) in their order.
PHASES = ("pod", "finetune", "quantise", "adapt", "refine")


def make_task(settings: Settings, phase: str) -> AirTask:
    """The task of a phase.

    "pod": Predict-Optimize-Distill. "finetune": rendering supervision. "quantise": the same with the quantiser, whose
    ranges start from the first batch. "adapt" (another patch size) and "refine" (high resolution) go on with it.

    Raises:
        MethodError: no such phase.
    """
    from .tasks import PodTask, QuantiseTask, RenderTask

    if phase not in PHASES:
        raise MethodError(f"AIR has no phase {phase!r}{nearest(phase, PHASES)}")
    if phase == "pod":
        return PodTask(settings, phase)
    if phase == "finetune":
        return RenderTask(settings, phase)
    return QuantiseTask(settings, phase)
