"""How long AIR's published network takes, with random weights: per stage and in all.

    python -m benchmarks.air_network                            768x512 and 1020x678, p = 7, on the GPU if there is one
    python -m benchmarks.air_network --variants bf16-compiled --sizes 768x512
    python -m benchmarks.air_network --device cpu --tiny        whether it runs: a few thousand parameters

All stages run on all patches, as they would with trained weights; which patches are drawn, and how wide their Gaussians
are, depends on weights, and here nearly all are drawn. On a GPU every part is one CUDA graph, timed between moments at
which the device has nothing left to do. Parts and variants take turns. Records (JSON lines) and a table go to
results/benchmarks/. Published, on a GPU that is not named: 157 ms for Kodak at 28k Gaussians, 292 ms for DIV2K at 46k
(AIR, Tables I and II).
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from benchmarks.on_gpu import recorded
from benchmarks.report import Timing, to_records, write_timings
from benchmarks.roofline import Roofline
from benchmarks.run import RESULTS
from benchmarks.scenes import Scene
from benchmarks.timing import WALL, Case, Clock, Measured, cuda_clock, measure
from splatbench.datasets.synthetic import synthetic_image
from splatbench.method import get_method
from splatbench.provenance import provenance

SIZES = {"768x512": (512, 768), "1020x678": (678, 1020)}
_TINY = {"53x40": (40, 53)}
_PATCH = 7
#: Milliseconds that a whole pass should take at most on an H200, and those that it is aimed at.
BAR, GOAL = 40.0, 20.0
WHOLE = "all stages"


@dataclass(frozen=True)
class Variant:
    """One way to run the network.

    Attributes:
        precision: of products and convolutions.
        compiled: heads by torch.compile.
    """

    precision: torch.dtype
    compiled: bool


VARIANTS = {
    "float32": Variant(torch.float32, False),
    "float32-compiled": Variant(torch.float32, True),
    "bf16": Variant(torch.bfloat16, False),
    "bf16-compiled": Variant(torch.bfloat16, True),
}


def part(name: str) -> ModuleType:
    """A file of AIR's folder."""
    return importlib.import_module(f"{get_method('air').__module__}.{name}")


def make_chain(variant: Variant, size: tuple[int, int], device: str, tiny: bool) -> Any:
    """A `StaticChain` with seeded random weights, drawing as the released code does."""
    shape = None
    if tiny:
        encoder = part("network.vit").ViTShape(width=32, depth=2, heads=2, taps=(0, 1))
        shape = part("network.head").HeadShape(encoder=encoder, widths=(24, 16, 12, 8, 6), token=10)
    net = part("network.airnet").AirNet.seeded(1, patch=_PATCH, quantise=False, shape=shape).to(device)
    inference, stages = part("network.inference"), part("stages")
    inference.accelerate(net, variant.precision, variant.compiled)
    drawing = stages.Drawing(stretch=True, compat=frozenset({"tiles_3sigma", "tile_cap_256"}))
    control = part("control").StageControl(when_none="all")
    return inference.StaticChain(net, size, control, drawing, variant.precision)


def make_target(size: tuple[int, int], device: str) -> Tensor:
    """[1, 3, H, W] float32: the synthetic picture of the other benchmarks."""
    return torch.from_numpy(synthetic_image(*size)).to(device).permute(2, 0, 1)[None].float() / 255


def parts_of(chain: Any, target: Tensor) -> Iterator[tuple[str, Callable[[], object], str]]:
    """Name, call and note of each part of a pass, called with the tensors that it gets in it, and of the whole pass."""
    result = chain(target)
    picture = torch.zeros_like(target)
    for stage in range(chain.net.stages):
        name, drawn = f"stage {stage + 1}", slice(0, stage + 1)
        residual, before = target - picture, picture
        raw, chosen = result.raw[drawn].flatten(0, 1), result.chosen[drawn].flatten()
        picture = chain.draw(raw, chosen)
        yield f"{name}: Stage Control", lambda b=before: chain.control.active(b, target, chain.grid), ""
        yield f"{name}: head", lambda s=stage, r=residual: chain.head(s, r), ""
        note = f"{int(chosen.sum())} of {len(chosen)} candidates"
        yield f"{name}: drawing", lambda r=raw, c=chosen: chain.draw(r, c), note
    yield WHOLE, lambda: chain(target), ""


def measure_size(
    size: tuple[int, int], names: Sequence[str], device: str, repeats: int, tiny: bool
) -> tuple[list[Measured], Clock]:
    """All parts of all variants at one size, in turns."""
    clock, cases = (cuda_clock() if device == "cuda" else WALL), []
    target = make_target(size, device)
    for name in names:
        chain = make_chain(VARIANTS[name], size, device, tiny)
        for kernel, function, note in parts_of(chain, target):
            build = (lambda f=function: recorded(f)) if device == "cuda" else (lambda f=function: f)
            cases.append(Case(kernel, name, build, note=note))
    return measure(cases, clock, repeats), clock


def to_timings(measured: Sequence[Measured], size: tuple[int, int], clock: Clock, device: str) -> list[Timing]:
    """A record for every part of every variant; `gaussians` are the candidates of a stage."""
    count = len(part("patches").PatchGrid(*size, _PATCH))
    at, empty = torch.zeros(count, 2, device=device), torch.zeros(count, 3, device=device)
    scene = Scene(f"AIR {size[1]}x{size[0]}", at, empty, empty, torch.zeros(*size, 3, dtype=torch.uint8, device=device))
    nothing = Roofline(0.0, ())  # no part is compared with the machine's limits
    return to_records(measured, scene, clock, torch.get_num_threads(), nothing, provenance(device))


def table(timings: Sequence[Timing]) -> str:
    """Milliseconds: a row per part, a column per variant."""
    variants = list(dict.fromkeys(t.implementation for t in timings))
    rows = []
    for kernel in dict.fromkeys(t.kernel for t in timings):
        cells = {t.implementation: t for t in timings if t.kernel == kernel}
        rows.append([kernel, *(_cell(cells.get(v)) for v in variants)])
    text = tabulate(rows, ["ms", *variants], tablefmt="github", disable_numparse=True)
    failures = [f"- {t.implementation}, {t.kernel}: {t.reason}" for t in timings if t.reason]
    return "\n".join([text, *([""] if failures else []), *failures])


def _cell(timing: Timing | None) -> str:
    if timing is None:
        return ""
    return timing.status if timing.median is None else f"{1e3 * timing.median:.3f}"


def verdict(timings: Sequence[Timing]) -> str:
    """On a GPU: the fastest whole pass of each size beside the bar."""
    lines = []
    passes = [t for t in timings if t.device == "cuda" and t.kernel == WHOLE and t.median is not None]
    for scene in dict.fromkeys(t.scene for t in timings):
        whole = [t for t in passes if t.scene == scene]
        if whole:
            best = min(whole, key=lambda t: t.median or 0.0)
            taken = 1e3 * (best.median or 0.0)
            met = f"goal of {GOAL:.0f} ms met" if taken <= GOAL else "met" if taken <= BAR else "missed"
            lines.append(f"{scene}, {best.implementation}: {taken:.1f} ms, bar {BAR:.0f} ms: {met}")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.air_network",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated (default: %(default)s)")
    parser.add_argument(
        "--variants", help=f"comma-separated, of {', '.join(VARIANTS)} (default: all, on the CPU those not compiled)"
    )
    parser.add_argument("--repeats", type=int, default=20, help="turns (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="a tiny network and picture, to see that it runs")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="default: %(default)s")
    args = parser.parse_args(arguments)
    quick = [name for name, variant in VARIANTS.items() if args.device == "cuda" or not variant.compiled]
    args.variants, args.sizes = args.variants.split(",") if args.variants else quick, args.sizes.split(",")
    for what, given, known in (("variants", args.variants, VARIANTS), ("sizes", args.sizes, SIZES)):
        if unknown := set(given) - set(known):
            parser.error(f"--{what}: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    if args.repeats < 3:
        parser.error("--repeats: at least 3, for a median and a spread")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: no CUDA device is visible to torch")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    torch.backends.cudnn.benchmark = True  # sizes do not change
    path = args.output / f"air-network-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl"
    timings: list[Timing] = []
    texts: list[str] = []
    for name, size in (_TINY if args.tiny else {name: SIZES[name] for name in args.sizes}).items():
        measured, clock = measure_size(size, args.variants, args.device, args.repeats, args.tiny)
        mine = to_timings(measured, size, clock, args.device)
        timings += mine
        made = mine[0].provenance
        texts.append(
            f"## {name}, {made.gpu or made.cpu}, {mine[0].threads} threads\n\n{table(mine)}\n\n{verdict(mine)}\n"
        )
        write_timings(path, timings)
    path.with_suffix(".md").write_text(text := "\n".join(texts), encoding="utf-8")
    print(text, f"Records: {path}", sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
