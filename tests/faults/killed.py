"""Runs an experiment in child processes and kills them at random moments: `python killed.py FOLDER KILLS SEED`.

One import serves all of them: each child is a fork of this process, which computes nothing itself. Prints one line for
each kill: the moment, and which encodings were finished then.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import splatbench.render.cpu  # noqa: F401  (kernels are made before the forks)
from splatbench.metrics import evaluate
from tests.faults.conftest import Project


def finished(project: Project) -> set[str]:
    """Names of the results that are there."""
    return {str(path.relative_to(project.root)) for path in project.root.glob("encodings/*/*/*/*.json")}


def main(folder: str, kills: str, seed: str) -> None:
    project, chance = Project(Path(folder)), random.Random(int(seed))
    with project.here():
        assert evaluate and project.plan().shards
        for _ in range(int(kills)):
            child = os.fork()
            if child == 0:
                project.run()
                os._exit(0)
            moment = chance.uniform(0.05, 1.0)
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print(f"{moment:.3f} {' '.join(sorted(finished(project)))}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
