"""Named tensors in a file that holds nothing else: safetensors, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from splatbench.training.errors import TrainingError


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Written aside and renamed. Tensors that share memory are written twice: every name can be read by itself.

    Raises:
        OSError: naming the path.
    """
    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    part = path.with_name(f".{path.name}.part")
    try:
        safetensors.torch.save_file(own, part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, safetensors.SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        TrainingError: missing, not such a file, or cut off.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise TrainingError(f"{path}: there is no such file") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"{path}: not a safetensors file, or a damaged one ({error})") from None


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a model's parameters and buffers, all of them.

    Raises:
        TrainingError: not a safetensors file, or names or shapes differ; lists them.
    """
    tensors, own = load_tensors(path), model.state_dict()
    problems = [f"missing: {name}" for name in own.keys() - tensors.keys()]
    problems += [f"unknown: {name}" for name in tensors.keys() - own.keys()]
    problems += [
        f"shape of {name}: {list(tensors[name].shape)}, expected {list(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if tensors[name].shape != own[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise TrainingError(f"{path} does not fit the model: {'; '.join(sorted(problems)[:8])}{more}")
    model.load_state_dict(tensors)
