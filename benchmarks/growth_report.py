"""Records, table, figure and words of `benchmarks.growth`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from tabulate import tabulate

from splatbench.files import write_atomic
from splatbench.record import Provenance

#: Slopes of log cost against log size between these count as near-linear.
NEAR_LINEAR = (0.9, 1.1)


class Growth(BaseModel):
    """One fitting step at one size. Seconds; memory in bytes."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    axis: Literal["pixels", "gaussians"]
    height: int
    width: int
    gaussians: int
    step: str
    threads: int
    clock: Literal["wall", "cpu"]
    status: Literal["ok", "failed"] = "ok"
    reason: str | None = None
    seconds: list[float] = Field(default_factory=list)  # of every step
    base: int | None = None  # resident: libraries and compiled kernels
    scene: int | None = None  # and image and parameters
    peak: int | None = None  # at most, of the whole process
    provenance: Provenance = Field(default_factory=Provenance)

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two records measurements of the same thing."""
        return self.axis, self.height, self.width, self.gaussians, self.step, self.threads, self.clock

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def size(self) -> int:
        """Along the axis."""
        return self.pixels if self.axis == "pixels" else self.gaussians

    @property
    def time(self) -> float:
        return float(np.median(self.seconds))

    @property
    def memory(self) -> int:
        """Beyond what libraries and compiled kernels take."""
        return (self.peak or 0) - (self.base or 0)


def write_growth(path: Path, records: Iterable[Growth]) -> None:
    """JSON lines, whole or not at all."""
    lines = [json.dumps(r.model_dump(mode="json"), sort_keys=True, allow_nan=False) for r in records]
    write_atomic(path, "".join(line + "\n" for line in lines).encode())


def read_growth(path: Path) -> Iterator[Growth]:
    """Raises ValueError naming file and line of the first record that does not fit the schema."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield Growth.model_validate_json(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error


@dataclass(frozen=True)
class Law:
    """cost = fixed + each * size, by least squares of the relative error; and the slope of log cost to log size."""

    fixed: float
    each: float
    slope: float
    error: float  # the largest relative error

    def __call__(self, size: float) -> float:
        return self.fixed + self.each * size


def fit_law(sizes: Sequence[float], costs: Sequence[float]) -> Law:
    """Raises ValueError for fewer than two sizes."""
    if len(set(sizes)) < 2:
        raise ValueError("a law of growth needs costs of at least two sizes")
    x, y = np.asarray(sizes, float), np.asarray(costs, float)
    columns = np.stack([1 / y, x / y], 1)
    scale = np.linalg.norm(columns, axis=0)
    fixed, each = np.linalg.lstsq(columns / scale, np.ones(len(x)), rcond=None)[0] / scale
    if fixed < 0:
        fixed, each = 0.0, float((x / y).sum() / np.square(x / y).sum())
    slope = np.polyfit(np.log(x), np.log(y), 1)[0]
    error = np.abs((fixed + each * x) / y - 1).max()
    return Law(float(fixed), float(each), float(slope), float(error))


def growth_markdown(records: Sequence[Growth]) -> str:
    """Tables with the slopes, and where growth is not near-linear, why."""
    first = records[0]
    made = first.provenance
    how = f"{first.threads} thread{'s' * (first.threads > 1)}, {'CPU' if first.clock == 'cpu' else 'wall'} time"
    lines = [
        "# How cost grows",
        "",
        f"One fitting step ({first.step}), strip by strip, on the synthetic picture; {how}. CPU: {made.cpu}. "
        f"Commit {(made.commit or 'outside a checkout')[:12]}{', with uncommitted changes' if made.dirty else ''}.",
    ]
    for axis, title in (("pixels", "Against pixels, at constant density of Gaussians"),
                        ("gaussians", "Against Gaussians, at constant pixels")):  # fmt: skip
        group = [r for r in records if r.axis == axis]
        if group:
            lines += ["", f"## {title}", "", _table(group)]
            good = _good(group)
            if len(good) > 1:
                lines += ["", f"Time: {_words(good, 'time')}", "", f"Memory beyond libraries: {_words(good, 'memory')}"]
    return "\n".join(lines) + "\n"


def _good(group: Sequence[Growth]) -> list[Growth]:
    return sorted((r for r in group if r.status == "ok"), key=lambda r: r.size)


def _table(group: Sequence[Growth]) -> str:
    headers = [
        "pixels",
        "size",
        "Gaussians",
        "ms per step",
        "slope",
        "ns per pixel",
        "peak MB",
        "beyond libraries",
        "slope",
    ]
    rows, before = [], None
    for r in sorted(group, key=lambda r: r.size):
        place = [f"{r.pixels / 1e6:.2f} M", f"{r.width}x{r.height}", str(r.gaussians)]
        if r.status == "failed" or r.peak is None:
            rows.append([*place, f"failed: {r.reason}", "", "", "", "", ""])
            continue
        slopes = [_slope(before, r, cost) for cost in (_COSTS["time"], _COSTS["memory"])] if before else ["", ""]
        rows.append([
            *place, f"{1e3 * r.time:.2f}", slopes[0], f"{1e9 * r.time / r.pixels:.1f}",
            f"{r.peak / 1e6:.0f}", f"{r.memory / 1e6:.0f}", slopes[1],
        ])  # fmt: skip
        before = r
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=["right"] * 9)


_COSTS: dict[str, Callable[[Growth], float]] = {"time": lambda r: r.time, "memory": lambda r: r.memory}


def _slope(before: Growth, after: Growth, cost: Callable[[Growth], float]) -> str:
    return f"{np.log(cost(after) / cost(before)) / np.log(after.size / before.size):.2f}"


#: What the fixed part is, by axis and cost.
_FIXED = {
    ("pixels", "time"): "calls, and threads that are woken up",
    ("pixels", "memory"): "strips of the picture, two at a time, and workspaces",
    ("gaussians", "time"): "the loss of every pixel, and the pairs of pixels and Gaussians, of which there are as many "
    "whatever the number, for Gaussians shrink as they become more",
    ("gaussians", "memory"): "the image and strips of the picture",
}


def _words(group: Sequence[Growth], cost: str) -> str:
    """The law that was fitted, whether it is near-linear, and what keeps it from being so."""
    axis = group[0].axis
    law = fit_law([r.size for r in group], [_COSTS[cost](r) for r in group])
    thing = "pixel" if axis == "pixels" else "Gaussian"
    fixed, each = (
        (f"{1e3 * law.fixed:.2f} ms", f"{1e9 * law.each:.1f} ns per {thing}")
        if cost == "time"
        else (f"{law.fixed / 1e6:.0f} MB", f"{law.each:.1f} bytes per {thing}")
    )
    text = f"log-log slope {law.slope:.2f}; {fixed} + {each} fits within {law.error:.0%}. "
    if NEAR_LINEAR[0] <= law.slope <= NEAR_LINEAR[1]:
        text += "Near-linear."
    elif law.slope < NEAR_LINEAR[0] and law.each > 0:
        text += (
            f"Less than linear because of a fixed part ({_FIXED[axis, cost]}), which is as much as "
            f"{law.fixed / law.each:.3g} {thing}s cost; above that it is near-linear."
        )
    elif law.slope < NEAR_LINEAR[0]:
        text += f"It hardly grows: all of it is a fixed part ({_FIXED[axis, cost]})."
    else:
        text += "More than linear: the slopes in the table show where."
    if law.error > 0.25:
        text += " The straight line is a rough one; the slopes in the table say where it bends."
    return text


def drawable(records: Sequence[Growth]) -> list[str]:
    """Axes of which at least two points were measured."""
    return [axis for axis in ("pixels", "gaussians") if len(_good([r for r in records if r.axis == axis])) > 1]


def draw_figure(records: Sequence[Growth], path: Path) -> None:
    """Time and memory against both axes, measured and fitted, on logarithmic scales."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axes = drawable(records)
    if not axes:
        raise ValueError("nothing to draw: at least two points of an axis must be measured")
    costs = (("time", "ms per step", 1e3), ("memory", "memory beyond libraries, MB", 1e-6))
    figure, panels = plt.subplots(len(axes), 2, figsize=(8.5, 3.4 * len(axes)), squeeze=False, layout="constrained")
    for row, axis in zip(panels, axes, strict=True):
        group = _good([r for r in records if r.axis == axis])
        sizes = [r.size for r in group]
        for panel, (cost, label, unit) in zip(row, costs, strict=True):
            values = [_COSTS[cost](r) for r in group]
            law = fit_law(sizes, values)
            line = np.geomspace(sizes[0], sizes[-1], 200)
            panel.loglog(
                line, [unit * law(x) for x in line], color="0.6", label=f"fixed + linear (slope {law.slope:.2f})"
            )
            panel.loglog(sizes, [unit * v for v in values], "o", color="#0b62a4", label="measured")
            other = f"{group[0].width}x{group[0].height}" if axis == "gaussians" else "constant density"
            panel.set(xlabel=f"{axis} ({other})".capitalize(), ylabel=label)
            panel.grid(True, which="major", color="0.9")
            panel.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
