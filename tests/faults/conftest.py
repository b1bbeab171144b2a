"""One small experiment with all kinds of rows, run once undisturbed; each test disturbs a copy of its own."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from splatbench.datasets.synthetic import synthetic_image
from splatbench.record import Record
from splatbench.render import jit
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.fetch import fetch_dataset
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter

#: Rows by their key.
Table = dict[tuple[str, ...], dict[str, Any]]

jit.cache_folder()  # kernels stay where they are, whatever folder a test names for caches

METHODS = Path(__file__).resolve().parents[1] / "runner" / "methods"

#: What may differ between two runs of the same: times, memory, energy, and the machine with its load.
_OF_THE_RUN = (
    "encode_seconds",
    "encode_seconds_all",
    "stage_seconds",
    "to_bytes_seconds",
    "decode_seconds",
    "evaluate_seconds",
    "peak_memory_mib",
    "energy_joules",
    "energy_source",
    "gpu_shared",
    "provenance",
)


def _entry(name: str, method: str, *budgets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": name, "title": name, "family": name, "method": method, "budgets": list(budgets), **more}


EXPERIMENT: dict[str, Any] = {
    "name": "tiny",
    "datasets": [{"folder": "pictures"}, {"name": "made"}],
    "metrics": ["psnr", "ssim"],
    "controls": False,
    "shard_size": 2,
    "entries": [
        _entry("copy", "slow", {"gaussians": 20}, {"gaussians": 30}, snapshots=[2]),
        _entry("jpeg", "codecs", {"quality": 50}, config={"codec": "jpeg"}, column="control"),
        _entry("fails", "slow", {"gaussians": 20}, config={"fail": "raise", "fail_width": 40}),
        _entry("own", "selfcount", {"native": True}),
        _entry("fit", "gaussianimage", {"gaussians": 20, "iterations": 4}, snapshots=[2]),
        _entry("matched", "gaussianimage", {"matched_to": "own", "iterations": 4}),
        _entry("warm", "gaussianimage", {"matched_to": "fit", "warm": True, "iterations": 2}),
    ],
}


def table(records: list[Record]) -> Table:
    """The rows by their key, without what may differ between two runs, one of which may be in another folder."""
    rows = {}
    for record in records:
        row = json.loads(re.sub(r"[^\" ]*/pictures/", "pictures/", record.model_dump_json()))
        for name in _OF_THE_RUN:
            del row[name]
        row["curve"] = [(step, values) for step, _, values in row["curve"]]
        if row["start"]:
            del row["start"]["seconds"]
        rows[record.key] = row
    return rows


class Project:
    """A working folder with pictures, methods and results, and what `splatbench run` does there, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "results" / "tiny"
        self.said = ""  # by the last run
        self.errors: list[str] = []  # of its jobs: the sentence with which a job ended

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SPLATBENCH_METHODS": str(METHODS),
            "SPLATBENCH_CACHE": str(self.folder / "cache"),
            "SPLATBENCH_DATASETS": str(self.folder / "manifests"),
            "SPLATBENCH_DATA": "",
            "ENCODE_LOG": str(self.folder / "encodes.txt"),
        }

    @contextmanager
    def here(self) -> Iterator[None]:
        """Inside, the folder and its variables are those of this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    def plan(self) -> Plan:
        return Plan.load("tiny.yaml")

    def run(self, retry_before: float = 0.0) -> Table:
        """All stages, each job on its own as processes are: one that ends with an error does not stop the others.

        Returns:
            The table; empty if the records could not be written.
        """
        stream, self.errors = io.StringIO(), []
        reporter = Reporter("run", stream=stream)
        records: list[Record] = []
        with self.here():
            plan = self.plan()
            for name in plan.datasets:
                self._job(fetch_dataset, plan, name, reporter)
            for shard in plan.ordered_shards():
                if self._job(encode_shard, plan, shard, reporter, 1, retry_before):
                    self._job(evaluate_shard, plan, shard, reporter, retry_before)
            self._job(lambda: records.extend(collect(plan)))
        self.said = stream.getvalue()
        return table(records)

    def _job(self, job: Callable[..., Any], *arguments: Any) -> bool:
        try:
            job(*arguments)
        except OSError as error:
            self.errors.append(str(error))
            return False
        return True

    def files(self, *below: str) -> list[Path]:
        """All files, in a fixed order; locks left out, which hold nothing."""
        folders = [self.folder / name for name in below] or [self.root]
        found = (path for folder in folders for path in sorted(folder.rglob("*")))
        return [path for path in found if path.is_file() and path.suffix != ".lock"]

    def encodes(self) -> list[str]:
        return (self.folder / "encodes.txt").read_text().splitlines()

    def result(self, entry: str, image: str, stage: str = "encodings", budget: str = "*") -> Path:
        (found,) = self.root.glob(f"{stage}/{entry}-*/*/{budget}/{image}.json")
        return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray) -> Project:
    """The undisturbed run. Its files are not to be changed."""
    project = Project(tmp_path_factory.mktemp("finished"))
    (project.folder / "encodes.txt").touch()
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    pictures = project.folder / "pictures"
    pictures.mkdir()
    for width in (32, 40):
        crop = np.ascontiguousarray(photograph[100:124, 100 : 100 + width])
        Image.fromarray(crop).save(pictures / f"w{width}.png")
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    digest = hashlib.sha256(synthetic_image(24, 36, 5).tobytes()).hexdigest()
    image = {"name": "s.png", "width": 36, "height": 24, "seed": 5, "pixel_sha256": digest}
    manifest = {"name": "made", "title": "Made", "licence": "CC0", "citation": "none", "generator": "synthetic"}
    (project.folder / "manifests").mkdir()
    (project.folder / "manifests" / "made.yaml").write_text(yaml.safe_dump(manifest | {"images": [image]}))
    project.run()
    assert not project.errors
    return project


@pytest.fixture(scope="session")
def undisturbed(finished: Project) -> Table:
    """Its table. A second run, of results that are all there, says the same."""
    rows = finished.run()
    statuses = {row["status"] for row in rows.values()}
    assert statuses == {"ok", "failed"} and len(rows) > 30
    return rows


@pytest.fixture
def project(finished: Project, undisturbed: Any, tmp_path: Path) -> Project:
    """A copy of the finished run, with its time stamps."""
    return copy_of(finished, tmp_path / "project")


def copy_of(project: Project, folder: Path) -> Project:
    shutil.copytree(project.folder, folder, copy_function=shutil.copy2)
    return Project(folder)
