"""The file that one phase hands to the next."""

from __future__ import annotations

from pathlib import Path

from splatbench.training.errors import TrainingError

from ..model import SmallModel, load_small

WEIGHTS_FILE = "fast-2dgs-small.safetensors"


def read(path: Path) -> SmallModel:
    """The networks of a file, or of the folder that holds it.

    Raises:
        TrainingError: no such file, or damaged.
    """
    try:
        return load_small(path / WEIGHTS_FILE if path.is_dir() else path)
    except ValueError as error:
        raise TrainingError(str(error)) from None
