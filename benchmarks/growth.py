"""How cost grows: time and peak memory of one fitting step against pixels and against Gaussians.

    python -m benchmarks.growth                                   0.1 to 200 megapixels, 1000 to 2 million Gaussians
    python -m benchmarks.growth --threads 1 --clock cpu           on a busy machine
    python -m benchmarks.growth --axes pixels --most-pixels 5e7

Every measurement has a process of its own. What is measured stays measured: the same command goes on where it was
stopped (--again measures anew), as long as code and machine are the same. Records, a table and a figure go to
results/benchmarks/growth/.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from benchmarks.growth_report import Growth, draw_figure, drawable, growth_markdown, read_growth, write_growth
from benchmarks.run import RESULTS
from benchmarks.training import STEPS
from splatbench.provenance import provenance
from splatbench.record import Provenance
from splatbench.render.threads import thread_count

_ROOT = Path(__file__).resolve().parent.parent
#: Height and width: of the same shape, each with four times the pixels of the one before (nearly, at the small end).
SIZES = ((272, 360), (384, 510), (768, 1020), (1536, 2040), (3072, 4080), (6144, 8160), (12288, 16320))
#: Gaussians per pixel along the axis of pixels: 430 000 on the largest.
DENSITY = 430_000 / (12288 * 16320)
COUNTS = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000)
#: Height and width along the axis of Gaussians.
FIXED = (1356, 2040)

Axis = Literal["pixels", "gaussians"]


def points(axis: Axis, most_pixels: float, most_gaussians: float) -> list[tuple[int, int, int]]:
    """(height, width, Gaussians) along an axis."""
    if axis == "pixels":
        sizes = [(h, w) for h, w in SIZES if h * w <= most_pixels]
        return [(h, w, max(1, round(DENSITY * h * w))) for h, w in sizes]
    return [(*FIXED, count) for count in COUNTS if count <= most_gaussians]


def run_point(growth: Growth, budget: float) -> Growth:
    """Measures in a process of its own; a process that dies is a result that says how."""
    fields = ("height", "width", "gaussians", "step", "clock")
    job = json.dumps({name: getattr(growth, name) for name in fields} | {"budget": budget})
    environment = os.environ | {
        name: str(growth.threads) for name in ("SPLATBENCH_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth_job", job], cwd=_ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        hint = ": out of memory?" if name == "SIGKILL" else ""
        return growth.model_copy(update={"status": "failed", "reason": f"ended by {name}{hint}"})
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return growth.model_copy(update={"status": "failed", "reason": reason[0]})
    return growth.model_copy(update=json.loads(done.stdout.splitlines()[-1]))


def measure_all(args: argparse.Namespace, path: Path) -> list[Growth]:
    """All points that are wanted, those of `path` that are still valid among them; writes after each."""
    made = provenance("cpu", args.threads)
    known = {growth.key: growth for growth in read_growth(path)} if path.exists() else {}
    found: list[Growth] = []
    warm = False
    for axis in args.axes:
        for height, width, count in points(axis, args.most_pixels, args.most_gaussians):
            growth = Growth(
                axis=axis, height=height, width=width, gaussians=count, step=args.step, clock=args.clock,
                threads=args.threads, provenance=made,
            )  # fmt: skip
            before = known.get(growth.key)
            if before is None or before.status == "failed" or args.again or not _same(before.provenance, made):
                if not warm:  # what compiling takes, once per version of the kernels, is no part of a step
                    run_point(growth.model_copy(update={"height": 64, "width": 64, "gaussians": 10}), 0.0)
                    warm = True
                print(f"{width}x{height}, {count} Gaussians ...", file=sys.stderr)
                before = run_point(growth, args.budget)
            known[growth.key] = before
            found.append(before)
            write_growth(path, known.values())
    return found


def _same(before: Provenance, now: Provenance) -> bool:
    """Whether code and machine are those of now."""
    return (before.commit, before.cpu, before.cores) == (now.commit, now.cpu, now.cores)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", default="pixels,gaussians", help="default: %(default)s")
    parser.add_argument("--step", default=list(STEPS)[-1], choices=list(STEPS), help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: all that are allowed")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--most-pixels", type=float, default=2.1e8)
    parser.add_argument("--most-gaussians", type=float, default=2e6)
    parser.add_argument("--budget", type=float, default=5.0, help="seconds per point (at least three steps)")
    parser.add_argument("--again", action="store_true", help="measure what is measured already")
    parser.add_argument("--output", type=Path, default=RESULTS / "growth", metavar="FOLDER")
    args = parser.parse_args(arguments)
    args.axes, args.threads = args.axes.split(","), args.threads or thread_count()
    if unknown := set(args.axes) - {"pixels", "gaussians"}:
        parser.error(f"--axes: unknown {', '.join(sorted(unknown))}; known: pixels, gaussians")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    found = measure_all(args, args.output / "growth.jsonl")
    table = growth_markdown(found)
    (args.output / "growth.md").write_text(table, encoding="utf-8")
    if drawable(found):
        for ending in ("svg", "png"):
            draw_figure(found, args.output / f"growth.{ending}")
    print(table)
    print(f"Records, table and figure: {args.output}")
    return 1 if any(growth.status == "failed" for growth in found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
