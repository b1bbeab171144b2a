"""Snakemake on a tiny experiment, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (32, 40, 48)


class Project:
    """A working folder with pictures, an experiment file and the means to run it."""

    def __init__(self, folder: Path, photograph: np.ndarray) -> None:
        self.folder = folder
        self.file = folder / "tiny.yaml"
        self.records = folder / "results" / "tiny" / "records.jsonl"
        self.environment = os.environ | {
            "SPLATBENCH_METHODS": str(ROOT / "tests" / "runner" / "methods"),
            "SPLATBENCH_CACHE": str(folder / "cache"),
            "ENCODE_LOG": str(folder / "encodes.txt"),
        }
        self.output = ""  # of the last run
        (folder / "encodes.txt").touch()
        (folder / "pictures").mkdir()
        for width in WIDTHS:
            crop = np.ascontiguousarray(photograph[100:124, 100 : 100 + width])
            Image.fromarray(crop).save(folder / "pictures" / f"w{width}.png")

    def settings(self, **changes: Any) -> dict[str, Any]:
        entry = {"id": "slow", "title": "Slow", "family": "Slow", "method": "slow", "budgets": [{"gaussians": 100}]}
        values = {
            "name": "tiny",
            "datasets": [{"folder": str(self.folder / "pictures")}],
            "metrics": ["psnr"],
            "controls": False,
            "entries": [entry],
        }
        return values | changes

    def write(self, values: dict[str, Any]) -> Path:
        self.file.write_text(yaml.safe_dump(values))
        return self.file

    def command(self, *options: str, configfile: bool = True) -> list[str]:
        named = ["--configfile", str(self.file)] if configfile else []
        return [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "all",
                "--directory", str(self.folder), *named, *options]  # fmt: skip

    def snakemake(self, *options: str, configfile: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options, configfile=configfile),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            timeout=300,
        )

    def jobs(self, *options: str, configfile: bool = True) -> dict[str, int]:
        """Number of jobs by rule that a run would do."""
        done = self.snakemake("--dry-run", *options, configfile=configfile)
        assert done.returncode == 0, done.stdout
        self.output = done.stdout
        table = re.search(r"^Job stats:\njob +count\n[- ]+\n((?:\w+ +\d+\n)+)", done.stdout, re.M)
        if table is None:
            assert "Nothing to be done" in done.stdout, done.stdout
            return {}
        counts = {line.split()[0]: int(line.split()[1]) for line in table[1].splitlines()}
        return {rule: n for rule, n in counts.items() if rule not in ("all", "total")}

    def encodes(self) -> list[str]:
        return (self.folder / "encodes.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray) -> Callable[[], Project]:
    return lambda: Project(tmp_path_factory.mktemp("project"), photograph)
