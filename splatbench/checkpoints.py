"""Checkpoints of released networks: read safely, compared by name and shape, and written in the same layout.

Nothing is unpickled but tensors and plain values, and everything has to fit.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from splatbench.method import MethodError

_SHOWN = 4  # names that an error lists of each kind
_SCALAR = np.float64(0).__reduce__()[0]  # type: ignore[index]  # what makes the numbers that scores are saved as
_PLAIN = [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), np.dtype] + [
    type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")
]


class CheckpointError(MethodError):
    """A file of weights that cannot be used: which one, what is wrong with it, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a file.

    Attributes:
        state: tensors by name.
        notes: what else the file holds, as it is: settings, epoch, the state of an optimiser ...
    """

    state: dict[str, Tensor]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> int | None:
        """After which it was saved, or None."""
        epoch = self.notes.get("epoch")
        return epoch if isinstance(epoch, int) else None


def read_checkpoint(path: str | Path, advice: str = "") -> Checkpoint:
    """Tensors and notes of a file written by torch.save or of a .safetensors. Large files are mapped, not read.

    Args:
        path: the file. Written by torch.save it holds weights by name, or a dictionary with these under "model"; the
            metadata of a .safetensors are notes, JSON or text.
        advice: a sentence for those whose file holds no weights.

    Raises:
        CheckpointError: missing, damaged, holding other objects than tensors and plain values, or without weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; download the weights, or correct the path")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with torch.serialization.safe_globals(_PLAIN):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: damaged, or holds objects beyond tensors and plain values, which are not loaded: "
            f"{_first_line(error)}. Download it again"
        ) from error
    except Exception as error:  # a damaged file makes the reader fail in any way
        raise CheckpointError(f"{path}: damaged or incomplete: {_first_line(error)}. Download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dictionary of weights, found {type(content).__name__}")
    if isinstance(content.get("model"), Mapping):
        state, notes = content["model"], {str(name): value for name, value in content.items() if name != "model"}
    else:
        state, notes = content, {}
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if len(tensors) < len(state) or not tensors:
        found = first_names(state) or "nothing"
        raise CheckpointError(f"{path}: holds no weights but {found}. {advice}".rstrip())
    return Checkpoint(tensors, notes)


def write_checkpoint(path: str | Path, module: nn.Module, notes: Mapping[str, Any]) -> None:
    """Writes what `read_checkpoint` reads, whole or not at all.

    Args:
        path: ending in .safetensors for that format, else as torch.save writes.
        module: whose weights and buffers are saved, under "model".
        notes: plain values.
    """
    path = Path(path)
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    aside = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".safetensors":
            save_file(state, aside, {name: json.dumps(value) for name, value in notes.items()})
        else:
            torch.save({"model": state, **notes}, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def fitting(state: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """`state` in the order and number types of `own`, after it was checked against it.

    Args:
        state: of a file.
        own: of the network that is to have it.
        where: the file, for the error.

    Raises:
        CheckpointError: one message about all names that are missing or unexpected and all tensors of another shape or
            kind of number; or NaN or infinity among the values.
    """
    both = [name for name in own if name in state]
    found = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {list(state[name].shape)} instead of {list(own[name].shape)}"
            for name in both
            if state[name].shape != own[name].shape
        ],
        "of another type": [
            f"{name} {state[name].dtype} instead of {own[name].dtype}"
            for name in both
            if state[name].is_floating_point() != own[name].is_floating_point()
        ],
    }
    problems = [f"{len(names)} {what}: {first_names(names)}" for what, names in found.items() if names]
    if problems:
        raise CheckpointError(f"{where}: does not fit the network of {len(own)} entries. {'; '.join(problems)}")
    bad = [name for name in both if state[name].is_floating_point() and not state[name].isfinite().all()]
    if bad:
        raise CheckpointError(
            f"{where}: {len(bad)} entries hold NaN or infinity, first {first_names(bad)}: the training that wrote it "
            "diverged, or the file is damaged; use an earlier one"
        )
    return {name: state[name].to(own[name].dtype) for name in both}


def first_names(names: Iterable[Any]) -> str:
    """The first four, and dots if there are more."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:_SHOWN]) + (" ..." if len(listed) > _SHOWN else "")


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: no readable .safetensors: {_first_line(error)}. Download it again") from error
    return Checkpoint(state, {name: _plain(text) for name, text in metadata.items()})


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(". ")
