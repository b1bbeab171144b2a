"""Figures about AIR: what its stages do to a picture, what its weights were trained like, quality against time.

    python -m benchmarks.air_figures --images kodim23 photo.png --output figures     of the weights that AIR comes with
    python -m benchmarks.air_figures --set weights=mine.safetensors --images kodim05
    python -m benchmarks.air_figures --records results/published/air_small.jsonl     time, and Stage Control
    python -m benchmarks.air_figures --claims results/published/air_claims           training with POD and without

Of every picture: `density` (where each stage puts Gaussians), `progress` (the picture and its error after each stage),
`features` (principal components of what each stage sees). PNG for pictures, SVG for curves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.air_anatomy import View, components, look
from benchmarks.air_claims_training import TrainingRecord, read_trainings
from splatbench.datasets import get_dataset
from splatbench.datasets.dataset import DataMissing
from splatbench.datasets.images import load_image
from splatbench.record import Record, read_records
from splatbench.report.aggregate import Row, summarise

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Error maps are white from here on.
_LARGEST_ERROR = 0.15
#: Runs that belong into one panel of the training curves.
CURVES = {
    "recipe's learning rate": ("pod", "direct", "direct_clipped"),
    "ten times that, constant": ("pod_hot", "direct_hot", "direct_hot_clipped"),
}


# -- pictures ----------------------------------------------------------------------------------------------------------


def density_figure(image: np.ndarray, views: Sequence[View]) -> Figure:
    """The image, Gaussians per patch of each stage, and of all."""
    maps = [view.density for view in views]
    total = np.sum(maps, axis=0)
    figure, panels = _panels(1, len(maps) + 2, image)
    panels[0, 0].imshow(image)
    panels[0, 0].set_title("image")
    most = int(total.max())
    for panel, found, title in zip(
        panels[0, 1:], [*maps, total], [*(f"stage {i}" for i in range(1, len(maps) + 1)), "all"], strict=True
    ):
        shown = panel.imshow(found, vmin=0, vmax=most, cmap="viridis")
        panel.set_title(f"{title}: {int(found.sum())}")
    figure.colorbar(shown, ax=panels[0, -1], label="Gaussians per patch", shrink=0.7)
    return figure


def progress_figure(image: np.ndarray, views: Sequence[View]) -> Figure:
    """The picture after each stage, and below it where it is wrong."""
    figure, panels = _panels(2, len(views), image)
    for stage, (view, column) in enumerate(zip(views, panels.T, strict=True), 1):
        column[0].imshow(view.picture)
        column[0].set_title(f"stage {stage}: N = {view.count}\n{view.psnr:.2f} dB")
        shown = column[1].imshow(view.error, vmin=0, vmax=_LARGEST_ERROR, cmap="magma")
    figure.colorbar(shown, ax=panels[1, -1], label="absolute error", shrink=0.7)
    return figure


def features_figure(image: np.ndarray, views: Sequence[View]) -> Figure:
    """The first three principal components of each stage's features as colours, and their shares of the variance."""
    figure, panels = _panels(2, len(views), image)
    for stage, (view, column) in enumerate(zip(views, panels.T, strict=True), 1):
        found = components(view.features)
        column[0].imshow(found.colours)
        column[0].set_title(f"stage {stage}")
        shares = 100 * found.shares[:8]
        column[1].set_axis_on()
        column[1].bar(range(1, len(shares) + 1), shares, color=_COLOURS[0])
        column[1].set(xlabel="component", ylim=(0, 100), title=f"first: {shares[0]:.1f} %")
    panels[1, 0].set_ylabel("share of variance, %")
    return figure


def _panels(rows: int, columns: int, image: np.ndarray) -> tuple[Figure, Any]:
    aspect = image.shape[0] / image.shape[1]
    figure = Figure(figsize=(3.2 * columns, (3.2 * aspect + 0.5) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    return figure, panels


# -- curves ------------------------------------------------------------------------------------------------------------


def time_figure(records: Sequence[Record]) -> Figure:
    """PSNR against encode time: a line per family, a point per budget; without other thresholds of Stage Control. All
    means are over the images that every point has.

    Raises:
        ValueError: no record has both, or no image is in all points.
    """
    measured = [r for r in records if r.column != "control" and r.snapshot == "final" and not _thresholds(r)]
    measured = [r for r in measured if r.metrics.get("psnr") is not None and r.encode_seconds is not None]
    if not measured:
        raise ValueError("no record has both PSNR and encode time")
    points: dict[tuple[str, str], set[str]] = {}
    for record in measured:
        points.setdefault((record.entry, record.budget_slug), set()).add(record.image)
    common = set.intersection(*points.values())
    if not common:
        raise ValueError("no image has been measured in every budget of every entry")
    series: dict[str, list[Row]] = {}
    for row in summarise(r for r in measured if r.image in common):
        series.setdefault(row.label, []).append(row)
    figure, axes = _axes("encode time [s]", f"PSNR [dB], {len(common)} images")
    for index, (label, rows) in enumerate(series.items()):
        rows.sort(key=lambda row: row.means["encode_seconds"])
        x, y = ([row.means[name] for row in rows] for name in ("encode_seconds", "psnr"))
        axes.plot(x, y, "o-", color=_COLOURS[index % len(_COLOURS)], label=label)
    axes.set_xscale("log")
    axes.legend(frameon=False)
    return figure


def utilisation_figure(
    records: Sequence[Record], patch: int = 7, stages: int = 4, metric: str = "lpips_alex"
) -> Figure:
    """A metric against utilisation, N over the number of candidates, for thresholds of Stage Control (AIR, Table IV).

    Args:
        patch: p of the network.
        stages: of the network.

    Raises:
        ValueError: no record of AIR has the metric.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for row in summarise(r for r in records if r.method == "air" and not r.config["quantise"]):
        if row.record.snapshot != "final" or metric not in row.means:
            continue
        height, width = row.record.height or 0, row.record.width or 0
        candidates = stages * -(-height // patch) * -(-width // patch)
        points.setdefault(_criteria(row.record), []).append((row.means["n_actual"] / candidates, row.means[metric]))
    if not points:
        raise ValueError(f"no record of AIR has {metric}")
    figure, axes = _axes("utilisation, N / candidates", metric)
    for index, (label, values) in enumerate(points.items()):
        axes.plot(*zip(*sorted(values), strict=True), "o-", color=_COLOURS[index], label=label)
    axes.legend(frameon=False)
    return figure


def _criteria(record: Record) -> str:
    names = [title for name, title in (("psnr", "PSNR"), ("ssim", "SSIM")) if record.config[f"{name}_threshold"]]
    return " and ".join(names) + (" alone" if len(names) == 1 else "") if names else "no criterion"


def _thresholds(record: Record) -> bool:
    """Whether it is there for its thresholds of Stage Control, which are not the default."""
    thresholds = (record.config.get("psnr_threshold"), record.config.get("ssim_threshold"))
    return record.method == "air" and thresholds != (35.0, 0.95)


def curves_figure(trainings: Sequence[TrainingRecord]) -> Figure:
    """PSNR of held-out photographs against the step, with POD and without, a panel per learning rate.

    Raises:
        ValueError: none of the runs was recorded.
    """
    known = {record.name: record for record in trainings if record.curve}
    groups = {title: [known[name] for name in names if name in known] for title, names in CURVES.items()}
    groups = {title: runs for title, runs in groups.items() if runs}
    if not groups:
        raise ValueError("no training of POD or of direct supervision is recorded")
    figure = Figure(figsize=(4.6 * len(groups), 3.4), layout="constrained")
    for axes, (title, runs) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for run, colour in zip(runs, _COLOURS, strict=False):
            steps, quality = zip(*run.last_stage, strict=True)
            broken = " (broke off)" if run.status == "failed" else ""
            axes.plot(steps, quality, color=colour, label=run.name + broken)
        axes.set(title=title, xlabel="step", ylabel="PSNR after the last active stage [dB]")
        axes.grid(True, color="0.9")
        axes.legend(frameon=False)
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(True, color="0.9")
    return figure, axes


# -- files -------------------------------------------------------------------------------------------------------------


def of_picture(name: str, settings: dict[str, Any], output: Path) -> list[Path]:
    """The three figures of a picture of Kodak, by name, or of any picture file."""
    path = Path(name) if Path(name).is_file() else get_dataset("kodak").locate(name).path
    image = load_image(path).pixels
    views = look(image, settings)
    made = []
    for title, draw in (("density", density_figure), ("progress", progress_figure), ("features", features_figure)):
        made.append(output / f"{title}-{path.stem}.png")
        draw(image, views).savefig(made[-1], dpi=150)
    return made


def of_records(records: Sequence[Record], output: Path, patch: int) -> list[Path]:
    """Time against quality, and thresholds of Stage Control."""
    time_figure(records).savefig(output / "time.svg")
    utilisation_figure(records, patch).savefig(output / "utilisation.svg")
    return [output / "time.svg", output / "utilisation.svg"]


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """Settings of the method from "KEY=VALUE", the value as YAML has it.

    Raises:
        ValueError: no "=" in it.
    """
    if wrong := [text for text in texts if "=" not in text]:
        raise ValueError(f"--set takes KEY=VALUE, got {wrong[0]!r}")
    return {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in texts)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.air_figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", nargs="*", default=[], metavar="NAME", help="of Kodak, or files")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the method; repeatable")
    parser.add_argument("--records", type=Path, help="of config/air_small.yaml")
    parser.add_argument("--patch", type=int, default=7, help="of the network of the records (default: %(default)s)")
    parser.add_argument("--claims", type=Path, metavar="FOLDER", help="records of benchmarks.air_claims")
    parser.add_argument("--output", type=Path, default=Path("results/air_figures"), metavar="FOLDER")
    args = parser.parse_args(arguments)
    if not (args.images or args.records or args.claims):
        parser.error("give --images, --records or --claims")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    try:
        for name in args.images:
            made += of_picture(name, settings_of(args.set), args.output)
        if args.records:
            made += of_records(list(read_records(args.records)), args.output, args.patch)
        if args.claims:
            made.append(args.output / "curves.svg")
            curves_figure(list(read_trainings(args.claims / "trainings.jsonl"))).savefig(made[-1])
    except (ValueError, OSError, DataMissing) as error:
        print(error, file=sys.stderr)
        return 1
    print(*made, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
