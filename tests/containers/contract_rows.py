"""A tiny experiment of programs that keep, or break, the file contract: two pictures, all stages in this process."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from splatbench.record import Record
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter

HOSTILE = Path(__file__).resolve().parent / "fixtures" / "hostile.py"
RUNNER = Path(__file__).resolve().parents[2] / "containers" / "runner" / "splatbench_runner.py"
#: Widths of the two pictures; both are 24 pixels high. Programs misbehave for the second.
GOOD, BAD = 32, 40
#: Of the test programs: quick to reach, and nothing that a small machine lacks.
LIMITS = {"memory_mib": 400, "seconds": 20, "output_mib": 32, "pids": 40, "threads": 1}


def entry(mode: str, program: Mapping[str, Any], budget: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An entry named after a mode, with fields of the method's config."""
    titles = {"id": mode, "title": mode, "family": mode}
    return {**titles, "method": "external", "config": dict(program), "budgets": [dict(budget or {"gaussians": 20})]}


def hostile(mode: str, limits: Mapping[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """Config of the hostile program as a child process. `decoder: container` where the mode is about decoding."""
    import ast

    tree = ast.parse(HOSTILE.read_text())
    assigned = next(n for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "DECODERS")
    assert isinstance(assigned.value, ast.Dict)
    decoding = mode in [ast.literal_eval(key) for key in assigned.value.keys if key is not None]
    return {
        "engine": "process",
        "command": ["python", str(HOSTILE), mode, str(BAD)],
        "settings": {"mode": mode, "width": BAD, **settings},
        "decoder": "container" if decoding else "gaussians",
        "limits": {**LIMITS, **(limits or {})},
    }


class Rows:
    """The records of an experiment by (entry, picture), and what was printed while it ran."""

    def __init__(
        self,
        folder: Path,
        photograph: np.ndarray,
        entries: list[dict[str, Any]],
        widths: tuple[int, ...] = (GOOD, BAD),
    ) -> None:
        pictures = folder / "pictures"
        pictures.mkdir(exist_ok=True)
        for width in widths:
            crop = np.ascontiguousarray(photograph[100:124, 100 : 100 + width])
            Image.fromarray(crop).save(pictures / f"w{width}.png")
        values = {
            "name": "tiny",
            "datasets": [{"folder": str(pictures)}],
            "metrics": ["psnr"],
            "controls": False,
            "entries": entries,
        }
        self.file = folder / "tiny.yaml"
        self.file.write_text(yaml.safe_dump(values))
        self.results = folder / "results"
        self.printed = io.StringIO()
        self.plan = Plan.load(self.file, self.results)
        self.records: list[Record] = []

    def run(self) -> Rows:
        reporter = Reporter("test", stream=self.printed)
        for shard in self.plan.ordered_shards():
            encode_shard(self.plan, shard, reporter)
            evaluate_shard(self.plan, shard, reporter)
        self.records = collect(self.plan)
        return self

    def of(self, entry: str, width: int) -> Record:
        return next(r for r in self.records if r.entry == entry and r.image == f"w{width}")
