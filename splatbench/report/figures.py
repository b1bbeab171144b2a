"""Figures as SVG: rate and distortion, quality against the number of Gaussians, convergence, encode times.

Matplotlib's object interface only: no display, no global state. Equal records give equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from splatbench.record import Record
from splatbench.report.aggregate import Row
from splatbench.report.labels import COLUMN_TITLES, budget_label, count, heading

#: Okabe and Ito's palette without black and yellow: told apart with colour-blind eyes, on white and on black.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GREY = "#808080"
#: Written by matplotlib wherever text and axes are drawn; `inline` replaces it by the page's own text colour.
_INK = "#1a1b1e"
_EXACT = 99.0  # dB: copies of the original would squeeze everything else together
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # names may hold dollar signs
}


@dataclass(frozen=True)
class Picture:
    """A finished figure: a whole SVG file, a title, and what one must know to read it."""

    id: str
    title: str
    svg: str
    caption: str

    @property
    def inline(self) -> str:
        """The SVG element for a page: inherits the text colour, no background, its ids its own."""
        svg = self.svg[self.svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
        svg = svg.replace(_INK, "currentColor")
        svg = re.sub(r'\bid="', f'id="{self.id}-', svg)
        return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{self.id}-", svg)


def figures(dataset: str, identity: str, rows: Sequence[Row], records: Sequence[Record]) -> list[Picture]:
    """All figures of one data set that its results allow.

    Args:
        identity: starts the figures' names; letters, digits and dashes.
    """
    rows = [row for row in rows if row.record.dataset == dataset and row.images]
    records = [record for record in records if record.dataset == dataset and record.status == "ok"]
    made = [
        _rate_figure(identity, rows),
        _count_figure(identity, rows),
        _convergence_figure(identity, records),
        _time_figure(identity, rows),
    ]
    return [picture for picture in made if picture is not None]


# -- series ------------------------------------------------------------------------------------------------------------


def _series(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """(family, column) -> its final rows."""
    series: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.record.snapshot == "final":
            series.setdefault((row.label, row.record.column), []).append(row)
    return series


def _series_label(key: tuple[str, str]) -> str:
    family, column = key
    text = family if column == "control" else f"{family}, {COLUMN_TITLES[column]}"
    return text.lstrip("_") or "entry"  # matplotlib hides what begins with an underscore


def _style(index: int, column: str) -> dict[str, object]:
    """Colour and marker per family, filled for corrected, open and dashed for as published, grey for controls."""
    if column == "control":
        return {"color": _GREY, "marker": "x", "linestyle": ":", "linewidth": 1.2, "markersize": 5}
    style: dict[str, object] = {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 6,
        "linewidth": 1.4,
    }
    return style | ({"linestyle": "--", "fillstyle": "none"} if column == "published" else {"linestyle": "-"})


def _styles(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, object]]:
    families = list(dict.fromkeys(family for family, column in keys if column != "control"))
    return {key: _style(families.index(key[0]) if key[0] in families else 0, key[1]) for key in keys}


# -- figures -----------------------------------------------------------------------------------------------------------


def _rate_figure(identity: str, rows: Sequence[Row]) -> Picture | None:
    """PSNR against real bytes. Of the controls only those without Gaussians (codecs), and no exact copies."""
    points = {
        key: [r for r in members if "bpp" in r.means and r.means.get("psnr", _EXACT) < _EXACT]
        for key, members in _series(rows).items()
        if key[1] != "control" or not any("n_actual" in r.means for r in members)
    }
    caption = (
        "Rates are lengths of files. Means over images. Controls with Gaussians and exact copies are only in the table."
    )
    return _scatter(identity, "rate", "PSNR against rate", points, "bpp", caption)


def _count_figure(identity: str, rows: Sequence[Row]) -> Picture | None:
    """PSNR against the number of Gaussians, without controls."""
    points = {
        key: [r for r in members if "n_actual" in r.means and "psnr" in r.means]
        for key, members in _series(rows).items()
        if key[1] != "control"
    }
    return _scatter(
        identity,
        "count",
        "PSNR against the number of Gaussians",
        points,
        "n_actual",
        "Means over images, final results.",
    )


def _scatter(
    identity: str, name: str, title: str, points: dict[tuple[str, str], list[Row]], x: str, caption: str
) -> Picture | None:
    points = {key: sorted(members, key=lambda r: r.means[x]) for key, members in points.items() if members}
    if not any(column != "control" for _, column in points):
        return None

    def draw(axes: Axes) -> None:
        values = [row.means[x] for members in points.values() for row in members]
        styles = _styles(list(points))
        for key, members in points.items():
            xs, ys = [row.means[x] for row in members], [row.means["psnr"] for row in members]
            axes.plot(xs, ys, label=_series_label(key), **styles[key])  # type: ignore[arg-type]
        if min(values) > 0 and max(values) > 8 * min(values):
            _logarithmic(axes)
        elif x == "n_actual":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
        axes.set_xlabel("N (Gaussians)" if x == "n_actual" else "Rate [bit/pixel], file length × 8 / pixels")
        axes.set_ylabel("PSNR [dB]")

    return _draw(f"{identity}-{name}", title, caption, draw)


def _convergence_figure(identity: str, records: Sequence[Record]) -> Picture | None:
    """Mean training PSNR against the step, per row; the longest run of each family and column."""
    curves: dict[tuple[str, str], pd.Series] = {}
    for key, members in _curves(records).items():
        lengths = {record.budget_slug: max(step for step, _, _ in record.curve) for record in members}
        slug = max(lengths, key=lambda s: (lengths[s], s))
        chosen = [record for record in members if record.budget_slug == slug]
        lines = [
            pd.Series({step: values["psnr"] for step, _, values in record.curve if "psnr" in values})
            for record in chosen
        ]
        mean = pd.concat(lines, axis=1).dropna().mean(axis=1).sort_index()
        if len(mean) > 1:
            label = f"{key[0]}, {budget_label(chosen[0].budget, iterations=False)}"
            curves[(label, key[1])] = mean
    if not curves:
        return None

    def draw(axes: Axes) -> None:
        styles = _styles(list(curves))
        for key, mean in curves.items():
            style = styles[key] | {"marker": "", "fillstyle": "full"}
            axes.plot(mean.index.to_numpy(), mean.to_numpy(), label=_series_label(key), **style)  # type: ignore[arg-type]
        axes.set_xlabel("Iteration")
        axes.set_ylabel("Training PSNR [dB]")

    caption = "Mean over images of the PSNR that the fitting loop reports, at the largest budget of each method."
    return _draw(f"{identity}-convergence", "Convergence", caption, draw)


def _curves(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if any("psnr" in values for _, _, values in record.curve):
            found.setdefault((record.family or record.entry, record.column), []).append(record)
    return found


def _time_figure(identity: str, rows: Sequence[Row]) -> Picture | None:
    """Encode time of every image, and the mean, per row."""
    chosen = [r for r in rows if r.record.snapshot == "final" and min(_times(r), default=0) > 0]
    if not any(row.track != "controls" for row in chosen):
        return None
    chosen.sort(key=lambda r: r.means["encode_seconds"], reverse=True)

    def draw(axes: Axes) -> None:
        families = list(dict.fromkeys(r.record.family for r in rows if r.track != "controls"))
        for place, row in enumerate(chosen):
            control = row.track == "controls"
            colour = _GREY if control else _COLOURS[families.index(row.record.family) % len(_COLOURS)]
            times = _times(row)
            axes.plot(times, [place] * len(times), "|", color=colour, alpha=0.5, markersize=7)
            axes.plot([row.means["encode_seconds"]], [place], "o", color=colour, markersize=6)
        axes.set_yticks(range(len(chosen)), [_time_label(row) for row in chosen], fontsize=9)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(-0.7, len(chosen) - 0.3)
        times = [t for row in chosen for t in _times(row)]
        if max(times) > 8 * min(times):
            _logarithmic(axes)
        axes.set_xlabel(heading("encode_seconds"))

    devices = sorted({device for row in chosen for device in row.devices})
    caption = f"A stroke per image, a dot for the mean. Measured on: {', '.join(devices)}."
    return _draw(f"{identity}-time", "Encode time", caption, draw, height=1.1 + 0.27 * len(chosen))


def _times(row: Row) -> list[float]:
    return list(row.values.get("encode_seconds", {}).values())


def _time_label(row: Row) -> str:
    column = "" if row.track == "controls" else f", {COLUMN_TITLES[row.record.column]}"
    return f"{row.label}{column}, {budget_label(row.record.budget, iterations=False)}"


# -- drawing -----------------------------------------------------------------------------------------------------------


def _logarithmic(axes: Axes) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5, or only at powers of ten over wide ranges."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}" if value >= 1e-4 else f"{value:.0e}"


def _draw(
    identity: str,
    title: str,
    caption: str,
    draw: Callable[[Axes], None],
    height: float = 3.9,
) -> Picture:
    with rc_context({**_STYLE, "svg.hashsalt": identity}):
        canvas = Canvas(figsize=(7.2, height), layout="constrained")
        axes = canvas.add_subplot()
        draw(axes)
        labels = axes.get_legend_handles_labels()[1]
        if labels:
            columns = 2 if max(map(len, labels)) <= 42 else 1
            canvas.set_figheight(height + 0.2 * -(-len(labels) // columns))
            canvas.legend(loc="outside lower left", ncols=columns, fontsize=9)
        canvas.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(identity, title, buffer.getvalue(), caption)
