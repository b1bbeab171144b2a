"""Times of every kernel on this machine, in turns with each other and with the machine's own limits.

    python -m benchmarks                                          everything that this machine has
    python -m benchmarks --scenes kodak-28k --devices cpu         part of it
    python -m benchmarks --threads 1                              on a busy machine: CPU time of one thread alone
    python -m benchmarks --other package.module:factory           and another renderer (benchmarks/external.py)
    python -m benchmarks --yardstick FOLDER                       and within the bench.py of FOLDER, in turns with it

On the CPU everything is measured twice: one thread by CPU time, all threads by wall time. Records (JSON lines) and
tables (Markdown) go to results/benchmarks/.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import external, rendering, training
from benchmarks.report import Timing, markdown, to_records, write_timings
from benchmarks.roofline import probes, roofline
from benchmarks.scenes import SCENES, Scene, make_scene
from benchmarks.timing import CPU, WALL, Case, Clock, cuda_clock, measure
from splatbench.provenance import provenance
from splatbench.render.threads import thread_count

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"


@dataclass(frozen=True)
class Mode:
    """A device, how many threads, and what time is."""

    device: str
    threads: int
    clock: Clock


def modes(devices: Sequence[str], threads: int | None) -> list[Mode]:
    """How everything is run. On the CPU: one thread by CPU time; and all threads, if there are more, by wall time."""
    found = []
    if "cpu" in devices:
        found.append(Mode("cpu", 1, CPU))
        if (most := threads or thread_count()) > 1:
            found.append(Mode("cpu", most, WALL))
    if "cuda" in devices:
        found.append(Mode("cuda", threads or thread_count(), cuda_clock()))
    return found


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Lets kernels and torch use so many threads."""
    before, own = torch.get_num_threads(), os.environ.get("SPLATBENCH_THREADS")
    torch.set_num_threads(threads)
    os.environ["SPLATBENCH_THREADS"] = str(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if own is None:
            del os.environ["SPLATBENCH_THREADS"]
        else:
            os.environ["SPLATBENCH_THREADS"] = own


def cases_of(scene: Scene, others: Sequence[str], exact: bool) -> list[Case]:
    """Everything that is measured on a scene.

    Args:
        others: specifications of other renderers.
        exact: also the float64 reference, for small scenes.
    """
    cases = rendering.rendering_cases(scene, exact)
    pairs = next(case.pairs for case in cases if case.kernel == "sum forward")
    assert pairs is not None
    for spec in others:
        cases += external.other_cases(scene, spec, pairs)
    cases += rendering.covariance_cases(scene) + training.loss_cases(scene) + training.optimiser_cases(scene)
    cases += training.step_cases(scene, pairs)
    if scene.means.is_cuda:
        cases += external.gsplat_cases(scene, pairs)
    return cases


def run_mode(scene: Scene, mode: Mode, args: argparse.Namespace) -> list[Timing]:
    """All of a scene in one way of running."""
    with limited(mode.threads):
        there = scene.to(mode.device)
        wanted = [c for c in cases_of(there, args.other, scene.name == "small") if re.search(args.kernels, c.kernel)]
        limits = probes(mode.device)
        measured = measure([*wanted, *limits], mode.clock, args.repeats, args.budget)
        peak = roofline(measured[len(wanted) :])
        made = provenance(mode.device, mode.threads)
        return to_records(measured, there, mode.clock, mode.threads, peak, made)


def run_yardstick(folder: Path, mode: Mode, repeats: int) -> int:
    """The bench.py of `folder`, with the project's renderer beside its own; returns its exit code."""
    adapter = Path(__file__).resolve().parent / "yardstick.py"
    command = [sys.executable, "bench.py", "--other", f"{adapter}:Rasterizer", "--clock", mode.clock.name]
    command += ["--repeats", str(repeats), "--threads", str(mode.threads)]
    environment = os.environ | {"SPLATBENCH_THREADS": str(mode.threads)}
    return subprocess.run(command, cwd=folder, check=False, env=environment).returncode


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", default=",".join(SCENES), help="comma-separated, of " + ", ".join(SCENES))
    parser.add_argument("--kernels", default="", metavar="REGEX", help="only kernels whose name has a match")
    parser.add_argument("--devices", default="cpu,cuda" if torch.cuda.is_available() else "cpu", help="cpu,cuda")
    parser.add_argument("--threads", type=int, help="at most this many (default: all that are allowed)")
    parser.add_argument("--repeats", type=int, default=20, help="turns (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=20, help="seconds after which a case is left out of turns")
    parser.add_argument("--other", action="append", default=[], metavar="MODULE:FACTORY", help="another renderer")
    parser.add_argument("--yardstick", type=Path, metavar="FOLDER", help="one with a bench.py that takes --other")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="default: %(default)s")
    args = parser.parse_args(arguments)
    args.scenes, args.devices = args.scenes.split(","), args.devices.split(",")
    if unknown := set(args.scenes) - set(SCENES):
        parser.error(f"--scenes: unknown {', '.join(sorted(unknown))}; known: {', '.join(SCENES)}")
    if unknown := set(args.devices) - {"cpu", "cuda"}:
        parser.error(f"--devices: unknown {', '.join(sorted(unknown))}; known: cpu, cuda")
    if "cuda" in args.devices and not torch.cuda.is_available():
        parser.error("--devices: no CUDA device is visible to torch")
    if args.repeats < 3:
        parser.error("--repeats: at least 3, for a median and a spread")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    ways = modes(args.devices, args.threads)
    stem = args.output / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    timings: list[Timing] = []
    for name in args.scenes:
        scene = make_scene(name, *SCENES[name])
        for mode in ways:
            print(f"{name}: {mode.device}, {mode.threads} threads, {mode.clock.name} time ...", file=sys.stderr)
            timings += run_mode(scene, mode, args)
            write_timings(stem.with_suffix(".jsonl"), timings)
    table = markdown(timings)
    stem.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)
    print(f"Records: {stem}.jsonl; table: {stem}.md")
    codes = [
        run_yardstick(args.yardstick, mode, args.repeats) for mode in ways if args.yardstick and mode.device == "cpu"
    ]
    return max(codes, default=0)
