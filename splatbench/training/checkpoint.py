"""Checkpoints: folders of safetensors and JSON, written aside and renamed; nothing is unpickled.

`<run>/checkpoints/step-000001000/` holds `model.safetensors`, `optimiser.safetensors`, `average.safetensors` (with a
moving average) and `state.json`. Generators of random numbers are not in it: every batch seeds them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splatbench.files import write_atomic
from splatbench.training.ema import MovingAverage
from splatbench.training.errors import TrainingError
from splatbench.training.weights import load_tensors, load_weights, save_tensors

FORMAT = 1
_NAME = re.compile(r"step-(\d+)")


def list_checkpoints(run: Path) -> list[Path]:
    """Of a run's folder, oldest first."""
    folder = run / "checkpoints"
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def save_checkpoint(
    run: Path,
    step: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: MovingAverage | None,
    facts: Mapping[str, Any],
    keep: int,
) -> Path:
    """Writes one and removes all but the newest `keep`.

    Args:
        step: steps that are done.
        facts: what else has to be remembered, as JSON holds it.

    Raises:
        TrainingError: a weight is not finite; nothing is written and older checkpoints stay.
        OSError: it cannot be written.
    """
    bad = [name for name, tensor in model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise TrainingError(
            f"after {step} steps the weights {', '.join(bad[:4])} are not finite, so they are not saved; older "
            "checkpoints stay: lower the learning rate or set clip_norm, and start again from one of them with `init`"
        )
    folder = run / "checkpoints" / f"step-{step:09d}"
    part = folder.with_name(f".{folder.name}.part")
    for left in folder.parent.glob(".step-*.part"):  # of a run that was killed, or of a full disk
        shutil.rmtree(left)
    part.mkdir(parents=True)
    save_tensors(part / "model.safetensors", model.state_dict())
    save_tensors(part / "optimiser.safetensors", _optimiser_tensors(model, optimiser))
    if average is not None:
        save_tensors(part / "average.safetensors", average.average)
    write_atomic(part / "state.json", json.dumps({"format": FORMAT, "step": step, **facts}, indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    for old in list_checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def load_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage | None
) -> None:
    """Puts weights, moments and the moving average back.

    Raises:
        TrainingError: damaged, or of another model.
    """
    try:
        load_weights(model, folder / "model.safetensors")
        _load_optimiser(model, optimiser, load_tensors(folder / "optimiser.safetensors"))
        if average is not None:
            average.load(load_tensors(folder / "average.safetensors"))
    except TrainingError as error:
        raise TrainingError(f"{error}; remove {folder} to go on from the checkpoint before it") from None


def is_checkpoint(folder: Path) -> bool:
    return (folder / "state.json").is_file()


def load_checkpoint_weights(folder: Path, model: nn.Module) -> dict[str, Any]:
    """Loads the weights alone, averaged if there is an average, and returns the facts.

    Raises:
        TrainingError: damaged, or of another model.
    """
    load_weights(model, folder / "model.safetensors")
    if (folder / "average.safetensors").is_file():
        average = MovingAverage(model, 0.0)
        average.load(load_tensors(folder / "average.safetensors"))
        average.exchange()
    return read_facts(folder)


def read_facts(folder: Path) -> dict[str, Any]:
    """What `save_checkpoint` was given as `facts`, and `step`.

    Raises:
        TrainingError: damaged, or of another version.
    """
    path = folder / "state.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise TrainingError(f"{path}: format {facts['format']}, this version reads {FORMAT}")
        return {key: facts[key] for key in ("step", *facts) if key != "format"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(
            f"{path}: damaged ({error}); remove {folder} to go on from the checkpoint before it"
        ) from None


def _optimiser_tensors(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """ "parameter/field" -> tensor, for the parameters that have moments."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for field, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{name}/{field}"] = value
    return tensors


def _load_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    fused = {id(p) for group in optimiser.param_groups if group.get("fused") for p in group["params"]}
    optimiser.state.clear()
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        if name not in parameters:
            raise TrainingError(f"the optimiser's state is of another model: it has {name!r}")
        parameter = parameters[name]
        # The count of steps stays where PyTorch keeps it: beside the weights if fused, else on the CPU.
        beside = field != "step" or id(parameter) in fused
        device = parameter.device if beside else torch.device("cpu")
        optimiser.state[parameter][field] = value.to(device)
