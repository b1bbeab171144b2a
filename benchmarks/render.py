"""How fast is the renderer here? Medians of forward, backward and whole fitting steps on this machine.

    python benchmarks/render.py
    python benchmarks/render.py --threads 1 --clock cpu           # on a busy machine
    python benchmarks/render.py --yardstick FOLDER                # and within the bench.py of FOLDER, in turns with it

Without --yardstick everything is compared with the float64 reference, on a picture that it can manage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from splatbench.losses import mse
from splatbench.optim import Adan
from splatbench.render import covariance_from_cholesky, rasterize_sum
from splatbench.render.reference import rasterize_sum_reference
from splatbench.render.threads import thread_count

#: name: (Gaussians, height, width). About 15 Gaussians per pixel, as in a fitted picture.
SCENES = {"small": (1500, 128, 192), "kodak-28k": (28_000, 512, 768), "div2k-86k": (86_000, 1356, 2040)}


def make_scene(count: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """Leaves of a fit: means, Cholesky factors, colours; and a target."""
    generator = torch.Generator().manual_seed(0)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    size = (height * width / (torch.pi * count)) ** 0.5
    factor = (0.4 + 1.6 * uniform(count, 3)) * size * torch.tensor([1.0, 0.5, 1.0])
    means = uniform(count, 2) * torch.tensor([float(width), float(height)])
    leaves = {"means": means, "factor": factor, "colors": uniform(count, 3) - 0.3}
    target = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return {name: value.requires_grad_() for name, value in leaves.items()} | {"target": target}


def functions(scene: dict[str, torch.Tensor], reference: bool) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    means, factor, colors, target = scene.values()
    size = target.shape[0], target.shape[1]
    covariance = covariance_from_cholesky(factor).detach().requires_grad_()
    weights = torch.randn(*size, 3)
    leaves = means, covariance, colors
    optimiser = Adan([means, factor, colors], lr=0.0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        mse(rasterize_sum(means, covariance_from_cholesky(factor), colors, size), target).backward()
        optimiser.step()

    measured: dict[str, Callable[[], object]] = {
        "forward": lambda: rasterize_sum(*(x.detach() for x in leaves), size),
        "forward + backward": lambda: torch.autograd.grad(rasterize_sum(*leaves, size), leaves, weights),
        "step (map, render, mse, Adan)": step,
    }
    if reference:
        draw = lambda: rasterize_sum_reference(*leaves, size)  # noqa: E731
        measured["forward + backward, reference"] = lambda: torch.autograd.grad(draw(), leaves, weights.double())
    return measured


def measure(measured: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median milliseconds; everything takes turns, so that load on the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in measured}
    for repeat in range(repeats + 2):
        for name, function in measured.items():
            start = clock()
            function()
            if repeat >= 2:  # compiling and first touches of memory
                times[name].append(1e3 * (clock() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def run_yardstick(folder: Path, args: argparse.Namespace) -> int:
    """The bench.py of `folder`, with the project's renderer beside its own."""
    adapter = Path(__file__).resolve().parent / "yardstick.py"
    command = [sys.executable, "bench.py", "--other", f"{adapter}:Rasterizer", "--clock", args.clock]
    command += ["--repeats", str(args.repeats)]
    command += ["--threads", str(args.threads)] if args.threads else []
    return subprocess.run(command, cwd=folder, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default=",".join(SCENES), help="comma-separated, of " + ", ".join(SCENES))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, help="default: all that are allowed")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--yardstick", type=Path, help="folder with a bench.py that takes --other path.py:factory")
    args = parser.parse_args()
    if args.threads:
        os.environ["SPLATBENCH_THREADS"] = str(args.threads)
        torch.set_num_threads(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    print(f"{thread_count()} threads, clock: {args.clock}, load average {os.getloadavg()[0]:.1f}")
    for name in args.scenes.split(","):
        count, height, width = SCENES[name]
        print(f"\n{name}: {count} Gaussians, {width} x {height}")
        medians = measure(functions(make_scene(*SCENES[name]), reference=name == "small"), args.repeats, clock)
        for what, milliseconds in medians.items():
            print(f"  {what:32s} {milliseconds:10.3f} ms   x {milliseconds / medians['forward + backward']:.2f}")
    return run_yardstick(args.yardstick, args) if args.yardstick else 0


if __name__ == "__main__":
    raise SystemExit(main())
