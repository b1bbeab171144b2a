"""One measurement of `benchmarks.growth`, in a process of its own: `python -m benchmarks.growth_job '{"height": ...}'`.

Prints one line of JSON: seconds of every step, and memory in bytes: `base` (libraries and compiled kernels), `scene`
(with image and parameters) and `peak` (of the whole process).
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scenes import make_scene
from benchmarks.timing import CPU, WALL
from benchmarks.training import STEPS, strip_step

_MOST_STEPS, _FEWEST_STEPS = 20, 3


def memory() -> tuple[int, int]:
    """Resident memory of this process in bytes, now and at most.

    From /proc where there is one: `ru_maxrss` of a new process begins with that of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        text = status.read_text()
        now, most = (re.search(rf"{name}:\s*(\d+) kB", text) for name in ("VmRSS", "VmHWM"))
        if now and most:
            return int(now[1]) * 1024, int(most[1]) * 1024
    most_used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return most_used, most_used


def measure_point(height: int, width: int, gaussians: int, step: str, clock: str, budget: float) -> dict[str, Any]:
    """Steps of one scene until `budget` seconds are used up, at least three and at most twenty."""
    _make(step, 64, 64, 10)()  # compiles
    base, _ = memory()
    function = _make(step, height, width, gaussians)
    scene, _ = memory()
    function()  # memory is touched for the first time
    taken = CPU if clock == "cpu" else WALL
    seconds: list[float] = []
    while len(seconds) < _FEWEST_STEPS or (len(seconds) < _MOST_STEPS and sum(seconds) < budget):
        start = taken.now()
        function()
        seconds.append(taken.now() - start)
    return {"seconds": seconds, "base": base, "scene": scene, "peak": memory()[1]}


def _make(step: str, height: int, width: int, gaussians: int) -> Callable[[], object]:
    objective, optimiser, _ = STEPS[step]
    return strip_step(make_scene("growth", gaussians, height, width, edges=False), objective, optimiser)


if __name__ == "__main__":
    print(json.dumps(measure_point(**json.loads(sys.argv[1]))))
