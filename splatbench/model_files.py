"""Files of weights that we trained: safetensors whose header describes the network that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from splatbench.checkpoints import fitting
from splatbench.method import MethodError

Model = TypeVar("Model", bound=nn.Module)


def save_model(path: Path, kind: str, model: nn.Module, description: Mapping[str, str], half: bool = False) -> None:
    """Writes the weights.

    Args:
        kind: what the file says it is, with a version: "splatbench air-small 1".
        description: further lines of the header: all that `load_model` needs to build the network; data, recipe, seed.
        half: matrices and kernels as float16, in half the space; they are float32 again when they are read. Vectors,
            among them the variances of norms, which may be large, stay as they are.

    Raises:
        ValueError: a number that float16 does not reach.
    """
    tensors: dict[str, Tensor] = {name: value.contiguous() for name, value in model.state_dict().items()}
    if half:
        tensors = {name: value.half() if value.ndim > 1 else value for name, value in tensors.items()}
        if beyond := [name for name, value in tensors.items() if not bool(value.isfinite().all())]:
            raise ValueError(f"{beyond[0]} holds numbers that float16 does not reach; write it in full")
    save_file(tensors, path, metadata={"format": kind, **description})


def load_model(path: Path, kind: str, build: Callable[[Mapping[str, str]], Model]) -> Model:
    """Reads what `save_model` wrote, strictly.

    Args:
        build: from the header to a network with any weights; KeyError and ValueError say that the header does not
            describe one.

    Returns:
        The network in evaluation mode.

    Raises:
        MethodError: not such a file, damaged, or names, shapes or values do not fit what its header says.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise MethodError(f"{path}: not a file of weights, or damaged: {error}") from None
    if header.get("format") != kind:
        raise MethodError(f"{path}: its header says {header.get('format')!r}, these weights say {kind!r}")
    try:
        model = build(header)
    except (KeyError, ValueError) as error:
        raise MethodError(f"{path}: the header does not describe a network: {error}") from None
    model.load_state_dict(fitting(tensors, model.state_dict(), str(path)))
    return model.eval()
