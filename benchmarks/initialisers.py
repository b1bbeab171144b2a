"""How long networks take to give Gaussians to begin with, and how much memory: Instant-GI, Fast-2DGS, stage by stage.

    python -m benchmarks.initialisers                        the small networks at 768x512 and 1020x678, on the CPU
    python -m benchmarks.initialisers --official             the published networks too, with random weights
    python -m benchmarks.initialisers --device cuda --official --refine 100

Each case is a process of its own, so that its peak of memory is its own: of the whole process, Python and PyTorch
included, while it encodes. An encoding is what `splatbench run` times; the first one is not counted. Records (JSON
lines) and a table go to results/benchmarks/. Published, on GPUs that are not named: Instant-GI 191 to 503 ms (AIR,
Tables I and II), both networks of Fast-2DGS 4.3 ms without sampling.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.run import RESULTS

SIZES = {"768x512": (512, 768), "1020x678": (678, 1020)}
#: Gaussians of methods that do not choose their number, per pixel: 28 000 on a Kodak picture.
DENSITY = 28_000 / (768 * 512)


@dataclass(frozen=True)
class Case:
    """A method with settings at one size."""

    method: str
    variant: str
    size: tuple[int, int]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether the number of Gaussians has to be given."""
        return self.method == "fast_2dgs"


def cases(official: bool) -> Iterator[Case]:
    for size in SIZES.values():
        for precision in ("float32", "bfloat16"):
            yield Case("instant_gi", f"small, {precision}", size, {"precision": precision})
            yield Case("fast_2dgs", f"small, {precision}", size, {"precision": precision})
        if official:
            yield Case("instant_gi", "published, random weights", size, {"preset": "official"})
            yield Case("fast_2dgs", "published, random weights", size, {"preset": "official"})


def run(case: Case, device: str, repeats: int, refine: int) -> dict[str, Any]:
    """In this process: medians of seconds per stage, and the peak of memory.

    Args:
        repeats: encodings that count, after one that does not.
        refine: steps of refinement, whose time is the stage "fit".
    """
    import torch

    from splatbench.budget import Budget
    from splatbench.method import get_method
    from splatbench.provenance import provenance
    from splatbench.runner.encoding import PeakMemory
    from splatbench.trace import Trace

    kind = get_method(case.method)
    method = kind(kind.make_config(case.settings), device)
    method.prepare()
    memory = PeakMemory(device)
    image = picture(case.size)
    wanted = {"gaussians": round(DENSITY * case.size[0] * case.size[1])} if case.counted else {"native": True}
    budget = Budget(**wanted, iterations=refine or None)
    synchronize = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    seconds, stages, count = [], [], 0
    for turn in range(repeats + 1):
        trace = Trace(synchronize=synchronize)
        trace.start()
        encoding = method.encode(image, budget, trace)
        trace.stop()
        count = len(encoding)
        if turn:
            seconds.append(trace.seconds)
            stages.append(trace.stages)
    names = stages[0]
    return {
        "benchmark": "initialisers", **asdict(case), "gaussians": count, "refine": refine, "repeats": repeats,
        "seconds": statistics.median(seconds),
        "stages": {name: statistics.median(s[name] for s in stages) for name in names},
        "peak_mib": memory.mib(),
        "threads": torch.get_num_threads(),
        "provenance": provenance(device, torch.get_num_threads()).model_dump(mode="json"),
    }  # fmt: skip


def with_weights(case: Case, folder: Path) -> Case:
    """A case whose weights are there: where they are to be random, files of seeded ones are written and named."""
    return replace(case, settings=case.settings | random_weights(case, folder)) if "random" in case.variant else case


def random_weights(case: Case, folder: Path) -> dict[str, Any]:
    """Settings that name files with seeded random weights of the published shapes, which are written."""
    import torch

    from splatbench.checkpoints import write_checkpoint
    from splatbench.method import get_method

    package = get_method(case.method).__module__
    if case.method == "instant_gi":
        path = folder / "epoch_best_ks_3.pth"
        write_checkpoint(path, import_module(f"{package}.network.official").OfficialNet.seeded(1), {})
        return {"weights": str(path)}
    unet, names = import_module(f"{package}.unet"), {}
    torch.manual_seed(1)
    for name, net in (("heat_weights", unet.HeatNet()), ("attribute_weights", unet.AttributeNet())):
        torch.save(net.state_dict(), folder / f"{name}.pth")
        names[name] = str(folder / f"{name}.pth")
    return names


def picture(size: tuple[int, int]) -> Any:
    """A photograph that comes with scikit-image, mirrored until it is large enough."""
    import numpy as np
    from skimage import data

    photo = data.chelsea()
    more = [(0, max(0, wanted - side)) for wanted, side in zip(size, photo.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(photo, [*more, (0, 0)], mode="symmetric")[: size[0], : size[1]])


def table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds per stage, a row per case."""
    stages = list(dict.fromkeys(name for row in rows for name in row["stages"]))
    lines = [
        [
            row["method"], row["variant"], f"{row['size'][1]}x{row['size'][0]}", row["gaussians"],
            f"{1000 * row['seconds']:.1f}", f"{row['peak_mib']:.0f}",
            *(f"{1000 * row['stages'][name]:.1f}" if name in row["stages"] else "" for name in stages),
        ]
        for row in rows
    ]  # fmt: skip
    headers = ["method", "network", "picture", "N", "all, ms", "peak, MiB", *stages]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--refine", type=int, default=0, help="steps of refinement after the start")
    parser.add_argument("--official", action="store_true", help="the published networks too, with random weights")
    parser.add_argument("--out", type=Path, default=RESULTS / "initialisers.jsonl")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run(Case(**json.loads(options.case)), options.device, options.repeats, options.refine)))
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with options.out.open("w", encoding="utf-8") as file:
        for case in cases(options.official):
            print(f"{case.method}, {case.variant}, {case.size[1]}x{case.size[0]} ...", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                rows.append(json.loads(_in_a_process(with_weights(case, Path(folder)), options)))
            file.write(json.dumps(rows[-1]) + "\n")
    options.out.with_suffix(".md").write_text(table(rows) + "\n", encoding="utf-8")
    print(table(rows))


def _in_a_process(case: Case, options: argparse.Namespace) -> str:
    threads = str(options.threads or len(os.sched_getaffinity(0)))
    arguments = {"case": json.dumps(asdict(case)), "device": options.device, "repeats": options.repeats}
    arguments["refine"] = options.refine
    command = [sys.executable, "-m", "benchmarks.initialisers"]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "SPLATBENCH_THREADS", "NUMBA_NUM_THREADS"), threads)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **limits})
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()
