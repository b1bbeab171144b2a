"""Where the time of a fitting step goes on a GPU: the parts of `FitStep`, and whole steps, recorded and launched.

    python -m benchmarks.gpu_step                             GaussianImage's step at 768x512, 28 000 Gaussians
    python -m benchmarks.gpu_step --scenes kodak-70k,div2k-86k

Parts and steps are repeated within a CUDA graph and timed by events of the device, in turns with the device's own
limits (a large copy, multiply-adds of a large matrix product). As in a fit, what a part reads may still be in the
caches. "Launched" steps are timed with the host's work. Records (JSON lines) and a table go to results/benchmarks/.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import work
from benchmarks.report import Timing, markdown, to_records, write_timings
from benchmarks.roofline import probes, roofline
from benchmarks.run import RESULTS
from benchmarks.scenes import SCENES, Scene, coverage, make_scene
from benchmarks.timing import Case, Measured, cuda_clock
from benchmarks.work import Work
from splatbench.fitting import Activation, FitStep, Parametrisation
from splatbench.gaussians import MIN_WEIGHT
from splatbench.losses import Objective
from splatbench.optim import Adan
from splatbench.provenance import provenance

OURS, LAUNCHED = "splatbench", "splatbench, launched"
OBJECTIVES = {"L2": Objective(l2=1.0, clamp=True), "L1 + SSIM": Objective(l1=0.7, ssim=0.3)}
#: Seconds that a step at 768x512 with 28 000 Gaussians should take at most, on an H200.
BARS = {"step L2, Adan": 0.25e-3, "step L1 + SSIM, Adan": 0.4e-3}
_INNER = 20  # repeats within a graph, so that launching the graph itself does not count


def make_fit(scene: Scene, objective: Objective) -> FitStep:
    """GaussianImage's step: means by tanh, factors with a bound of half a pixel, Adan. The rate is 0, so that every
    step finds the same scene."""
    height, width = scene.size
    half = scene.means.new_tensor([width / 2, height / 2])
    xy = torch.atanh(((scene.means - 0.5) / half - 1).clamp(-1 + 1e-6, 1 - 1e-6))
    raw = [xy.contiguous(), scene.factors - scene.factors.new_tensor([0.5, 0.0, 0.5]), scene.colors.clone()]
    meaning = Parametrisation(
        (
            Activation("tanh", gain=width / 2, offset=width / 2 + 0.5),
            Activation("tanh", gain=height / 2, offset=height / 2 + 0.5),
        ),
        (Activation(shift=0.5), Activation(), Activation(shift=0.5)),
    )
    return FitStep(raw, meaning, scene.target, objective, Adan(raw, lr=0.0))


def least_work(scene: Scene, pairs: int, ssim: bool) -> dict[str, Work]:
    """What every part has to do at least, by the names of `FitStep.parts`."""
    count, values = scene.count, scene.target.numel()
    positions = Work(8 * count, 16 * count)  # tanh in, mean out
    return {
        "activation": work.map_forward(count, 3) + positions,
        "drawing": work.draw(pairs, count, values),
        "loss": work.loss(values, ssim),
        "gradients of drawing": work.differentiate(pairs, count, values),
        "gradients of activation": work.map_backward(count, 3) + positions,
        "update": work.adan(8 * count),
    }


def repeated(function: Callable[[], object]) -> Callable[[], list[float]]:
    """Records `function` _INNER times in a graph; each call replays it once and returns the seconds of one time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # kernels are compiled before the recording
        for _ in range(3):
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_INNER):
            function()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def replay() -> list[float]:
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        return [1e-3 * start.elapsed_time(end) / _INNER]

    return replay


def with_host(function: Callable[[], object]) -> list[float]:
    """Seconds per call, calls launched one by one."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_INNER):
        function()
    torch.cuda.synchronize()
    return [(time.perf_counter() - start) / _INNER]


def launches(function: Callable[[], object]) -> int:
    """Kernels and copies that a call puts on the device."""
    function()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        function()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if event.device_time_total > 0)


def measure_scene(scene: Scene, repeats: int) -> list[Timing]:
    """Records of all parts, steps and limits; everything takes turns."""
    pairs = int(coverage(scene, MIN_WEIGHT).sum())
    turns: list[tuple[Measured, Callable[[], list[float]]]] = []
    for name, objective in OBJECTIVES.items():
        fit = make_fit(scene, objective)
        least = least_work(scene, pairs, bool(objective.ssim))
        parts = fit.parts()
        for part, function in parts.items():
            case = Case(f"{name}: {part}", OURS, lambda: lambda: None, least[part], note=_count(function))
            turns.append((Measured(case), repeated(function)))
        whole = Case(f"step {name}, Adan", OURS, lambda: lambda: None, _sum(least.values()), 2 * pairs, _count(fit))
        turns.append((Measured(whole), repeated(fit)))
        turns.append((Measured(replace(whole, implementation=LAUNCHED)), lambda fit=fit: with_host(fit)))
    limits = [(Measured(probe), repeated(probe.build())) for probe in probes("cuda")]
    turns += limits
    for _ in range(repeats):
        for measured, take in turns:
            measured.seconds += take()
    peak = roofline([measured for measured, _ in limits])
    results = [measured for measured, _ in turns]
    return to_records(results, scene, cuda_clock(), torch.get_num_threads(), peak, provenance("cuda"))


def _count(function: Callable[[], object]) -> str:
    return f"{launches(function)} launches"


def _sum(parts: Iterable[Work]) -> Work:
    total = Work(0, 0)
    for part in parts:
        total = total + part
    return total


def verdict(timings: Sequence[Timing]) -> str:
    """The steps beside their bars, where the scene has some."""
    lines = []
    for t in timings:
        if t.scene == "kodak-28k" and t.implementation == OURS and t.kernel in BARS and t.median is not None:
            bar = BARS[t.kernel]
            lines.append(
                f"{t.kernel}: {1e3 * t.median:.3f} ms, bar {1e3 * bar:.2f} ms: {'met' if t.median <= bar else 'missed'}"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", default="kodak-28k", help="comma-separated, of " + ", ".join(SCENES))
    parser.add_argument("--repeats", type=int, default=30, help="turns (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="default: %(default)s")
    args = parser.parse_args(arguments)
    names = args.scenes.split(",")
    if unknown := set(names) - set(SCENES):
        parser.error(f"--scenes: unknown {', '.join(sorted(unknown))}; known: {', '.join(SCENES)}")
    if args.repeats < 3:
        parser.error("--repeats: at least 3, for a median and a spread")
    if not torch.cuda.is_available():
        print("benchmarks.gpu_step needs a CUDA device, and torch sees none on this machine", file=sys.stderr)
        return 2
    timings = [t for name in names for t in measure_scene(make_scene(name, *SCENES[name]).to("cuda"), args.repeats)]
    path = args.output / f"gpu-step-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl"
    write_timings(path, timings)
    path.with_suffix(".md").write_text(table := markdown(timings), encoding="utf-8")
    print(table, verdict(timings), f"Records: {path}", sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
