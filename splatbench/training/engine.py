"""Devices, precision, several processes and the optimiser: Lightning Fabric behind a few calls."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from splatbench.training.config import TrainingConfig
from splatbench.training.errors import TrainingError
from splatbench.training.muon import MuonAdamW
from splatbench.training.schedule import Optimiser
from splatbench.training.task import Task


def seed_everything(seed: int) -> None:
    """The global generators of torch (all devices) and Python."""
    torch.manual_seed(seed)
    random.seed(seed)


class _Loss(nn.Module):
    """The task's loss as a module's forward: what autocast and data-parallel training wrap."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._loss = task.loss

    def forward(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        # Bytes up to here: Fabric would round floats to the precision of the run.
        return self._loss(batch.float() / 255, step)


class Engine:
    """One process of a run.

    Attributes:
        rank, world: number of this process, and of all.
        first: whether this is the process that writes files.
    """

    def __init__(self, config: TrainingConfig) -> None:
        """Starts the other processes, if there are any.

        Raises:
            TrainingError: Fabric is not installed, or the accelerator is not there or has not this precision.
        """
        try:
            from lightning_fabric import Fabric
            from lightning_fabric.strategies import DDPStrategy
        except ImportError as error:
            raise TrainingError(
                f"training needs a package that is missing ({error}): pip install 'splatbench[train]'"
            ) from None
        accelerator = config.accelerator
        if accelerator == "auto":
            accelerator = "cuda" if torch.cuda.is_available() else "cpu"
        if accelerator == "cuda" and torch.cuda.device_count() < config.devices:
            raise TrainingError(
                f"{config.devices} CUDA devices are wanted, {torch.cuda.device_count()} are there; "
                "lower `devices` or set `accelerator: cpu`"
            )
        if accelerator == "cpu" and config.precision == "16-mixed":
            raise TrainingError("precision 16-mixed needs a CUDA device; without one set `precision: bf16-mixed`")
        several = config.devices * config.nodes > 1
        # Parts of a model that a step does not use (stages to come) must not hold up the exchange of gradients.
        strategy: Any = DDPStrategy(find_unused_parameters=True) if several else "auto"
        self.fabric = Fabric(
            accelerator=accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy=strategy,
            precision=config.precision,
        )
        self.fabric.launch()
        self._config = config
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size
        self.first = self.fabric.is_global_zero
        self.on_gpu = self.fabric.device.type == "cuda"

    def setup(self, task: Task) -> None:
        """Moves the model to its device and makes the optimiser, `optimiser`.

        Raises:
            TrainingError: the groups do not fit the model or the settings.
        """
        groups = parameter_groups(task, self._config.optimiser)
        self.optimiser = make_optimiser(groups, self._config)
        self._known = {id(parameter) for group in groups for parameter in group["params"]}
        self._module, self._optimiser = self.fabric.setup(_Loss(task), self.optimiser)

    def describe(self) -> str:
        return f"{self.world} x {self.fabric.device.type}, {self._config.precision}"

    # -- one step --------------------------------------------------------------------------------------------------

    def set_learning_rates(self, factor: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def learning_rates(self) -> dict[str, float]:
        return {group["name"]: group["lr"] for group in self.optimiser.param_groups}

    def forget(self, parameters: Sequence[nn.Parameter]) -> None:
        """Drops the moments of parameters that were set anew.

        Raises:
            TrainingError: not parameters of the optimiser.
        """
        for parameter in parameters:
            if id(parameter) not in self._known:
                raise TrainingError("Task.begin gave a parameter that is not trained; change the model's own in place")
            self.optimiser.state.pop(parameter, None)

    def accumulate(self, batch: Tensor, step: int, last: bool) -> dict[str, float]:
        """Adds the gradients of a batch, uint8 [B, 3, H, W], or 4 with labels. Returns its `loss`, and the task's
        numbers for the log."""
        with self.fabric.no_backward_sync(self._module, enabled=not last):
            loss, values = self._module(self.fabric.to_device(batch), step)
            if loss.ndim or not loss.requires_grad:
                raise TrainingError(f"step {step}: the task's loss must be a scalar with gradients")
            self.fabric.backward(loss / self._config.accumulate)
        return {name: float(torch.as_tensor(value).detach()) for name, value in {"loss": loss, **values}.items()}

    def clip(self, limit: float | None) -> float:
        """Norm of all gradients, before it is limited."""
        bound = float("inf") if limit is None else limit
        norm = self.fabric.clip_gradients(self._module, self._optimiser, max_norm=bound, error_if_nonfinite=False)
        return float(norm)  # type: ignore[arg-type]

    def update(self, skip: bool) -> None:
        """Changes the weights, unless the step is to be left out; gradients are gone afterwards."""
        if not skip:
            self._optimiser.step()
        elif (scaler := getattr(self.fabric.strategy.precision, "scaler", None)) is not None:
            scaler.update()  # float16: tries a smaller scale
        self.optimiser.zero_grad(set_to_none=True)

    # -- processes -------------------------------------------------------------------------------------------------

    def largest(self, *values: int) -> list[int]:
        """Of each value the largest in any process."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.int32, device=self.fabric.device)
        return [int(value) for value in self.fabric.all_reduce(tensor, reduce_op="max")]

    def barrier(self) -> None:
        self.fabric.barrier()

    def state(self) -> dict[str, Any]:
        """Of the precision (the scale of float16), as JSON holds it."""
        return self.fabric.strategy.precision.state_dict()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.fabric.strategy.precision.load_state_dict(dict(state))


def parameter_groups(task: Task, settings: Optimiser) -> list[dict[str, Any]]:
    """The task's groups with their learning rates.

    Raises:
        TrainingError: an unknown name in `group_lr`, or a parameter that is in no group, in two, or not in the model.
    """
    from splatbench.method import nearest

    groups = [dict(group, params=list(group["params"])) for group in task.parameter_groups()]
    names = [group["name"] for group in groups]
    for name in settings.group_lr:
        if name not in names:
            raise TrainingError(f"optimiser.group_lr: the task has no group {name!r}{nearest(name, names)}")
    own = {id(parameter): name for name, parameter in task.model.named_parameters()}
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    if len(set(grouped)) != len(grouped) or not set(grouped) <= own.keys():
        raise TrainingError("the task's parameter groups must hold parameters of its model, each of them once")
    for group in groups:
        rate = settings.group_lr.get(group["name"], group.get("lr"))
        group["lr"] = group["initial_lr"] = settings.lr if rate is None else rate
    return groups


def make_optimiser(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    """In one kernel where precision allows it (float16 clips between unscaling and the step).

    Raises:
        TrainingError: Muon, and the task names no group of matrices.
    """
    settings = config.optimiser
    shared: dict[str, Any] = {
        "betas": settings.betas,
        "eps": settings.eps,
        "weight_decay": settings.weight_decay,
        "fused": config.precision != "16-mixed",
    }
    if settings.name == "muon":
        try:
            return MuonAdamW(groups, momentum=settings.momentum, **shared)
        except ValueError as error:
            raise TrainingError(f"optimiser: {error}") from None
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.name]
    return kind(groups, lr=settings.lr, **shared)
