"""Making the labels that a method learns with: one grey picture for each training picture."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from splatbench.datasets.images import ImageError
from splatbench.files import write_atomic
from splatbench.method import Method, MethodError
from splatbench.trace import Diverged
from splatbench.training.errors import TrainingError
from splatbench.training.label_files import label_of
from splatbench.training.sources import open_source

_MANIFEST = "manifest.json"
_SILENCE = 5.0  # seconds between two lines about progress


@dataclass(frozen=True)
class LabelMaker:
    """How a method makes labels.

    Attributes:
        settings: a dataclass with everything that labels depend on, beside the picture and the method's version.
        make: uint8 [H, W, 3] -> float32 [H, W] in [0, 1]; a picture that has none raises MethodError or Diverged.
    """

    settings: Any
    make: Callable[[np.ndarray], np.ndarray]


def write_labels(
    method: type[Method], maker: LabelMaker, data: str, out: Path, say: Callable[[str], None] = print
) -> int:
    """Writes the labels of all pictures of a source that have none yet, by name, 8-bit grey PNGs, and `manifest.json`.

    Args:
        data: folder or shards, as `data.train` of a training file.
        out: the folder of labels.
        say: where lines for a person go.

    Returns:
        How many were made.

    Raises:
        TrainingError: no pictures; labels of other settings are in `out`; or some pictures can have no label: names
            them, after all others have been done.
    """
    source = open_source(data)
    _claim(out, method, maker)
    made, failed, spoken = 0, list[str](), time.monotonic()
    for index, name in enumerate(source.names):
        path = out / label_of(name)
        if path.is_file():
            continue
        try:
            write_atomic(path, encoded(maker.make(source.read(index))))
        except (ImageError, MethodError, Diverged) as error:
            failed.append(name)
            say(f"{name}: no label: {error}")
            continue
        made += 1
        if time.monotonic() - spoken >= _SILENCE:
            spoken = time.monotonic()
            say(f"{index + 1} of {len(source.names)}: {name}")
    if failed:
        raise TrainingError(
            f"{len(failed)} of {len(source.names)} pictures can have no label, so nothing can be trained on them: "
            f"{', '.join(failed[:3])}{' ...' if len(failed) > 3 else ''}; take them out of {source.place}"
        )
    say(f"{len(source.names)} labels in {out}, {made} of them new")
    return made


def encoded(label: np.ndarray) -> bytes:
    """A label, float [H, W] in [0, 1], as an 8-bit grey PNG, rounded to the nearest.

    Raises:
        ValueError: not such a label.
    """
    if label.ndim != 2 or not bool(((label >= 0) & (label <= 1)).all()):
        raise ValueError(f"a label is [H, W] in [0, 1], got {list(label.shape)}, {label.min():g} to {label.max():g}")
    file = io.BytesIO()
    Image.fromarray(np.rint(label * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _claim(out: Path, method: type[Method], maker: LabelMaker) -> None:
    """Writes the manifest, or compares with the one that is there."""
    facts: dict[str, Any] = {"method": method.name, "version": method.version, "settings": asdict(maker.settings)}
    path = out / _MANIFEST
    if not path.is_file():
        if out.is_dir() and any(out.rglob("*.png")):
            raise TrainingError(f"{out} holds pictures that are no labels of this command; name another --out")
        write_atomic(path, json.dumps(facts | {"splatbench": version("splatbench")}, indent=2).encode())
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        before = {"method": there["method"], "version": there["version"], **there["settings"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: not a manifest of labels ({type(error).__name__}: {error})") from None
    now = json.loads(json.dumps({"method": method.name, "version": method.version, **facts["settings"]}))
    if changed := [key for key in {**before, **now} if before.get(key) != now.get(key)]:
        what = "; ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} here" for key in changed)
        raise TrainingError(f"{out} holds labels that were made in another way ({what}); name another --out")
