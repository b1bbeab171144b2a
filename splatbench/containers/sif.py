"""Image files for apptainer, made from images that docker has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from splatbench.containers.apptainer import ApptainerEngine, find_program
from splatbench.containers.suite import BuildFailed


def convert(image: str, path: Path) -> None:
    """Writes a docker image as a .sif file; its output appears here. An older file is replaced.

    Raises:
        EngineMissing: no apptainer here.
        BuildFailed: apptainer could not convert it.
    """
    done = subprocess.run([find_program(), "build", "--force", str(path), f"docker-daemon:{image}:latest"])
    if done.returncode:
        raise BuildFailed(f"apptainer could not make {path} of {image}: its last lines say why")


def digest(path: Path) -> str:
    """ "sha256:..." of the file."""
    return ApptainerEngine().digest(str(path))
