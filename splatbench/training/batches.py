"""Batches, each a function of seed, step and process alone: nothing of the sampling has to be stored to go on later."""

from __future__ import annotations

import functools
import signal
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from splatbench.training.augment import augment
from splatbench.training.config import TrainingConfig
from splatbench.training.pictures import Pictures
from splatbench.training.sizes import cut, draw_size

#: Purposes of random numbers: no two share a stream.
_ORDER, _SIZE, _SAMPLE, _LOSS, _START = range(5)
_AHEAD = 2  # batches that the thread prepares before they are asked for


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random numbers that belong to a key."""
    return np.random.default_rng([seed, *key])


def loss_seed(seed: int, step: int, part: int, rank: int) -> int:
    """For the global generators while a process works on one batch."""
    return int(stream(seed, _LOSS, step, part, rank).integers(2**63))


def start_seed(seed: int) -> int:
    """For the global generators while the model is made: the same weights in every process."""
    return int(stream(seed, _START).integers(2**63))


class Batches(Dataset[Tensor]):
    """What one of `world` processes learns from.

    The pictures are shuffled anew for every pass over them, or taken in the order of their names. All processes
    together take the samples that one process with `world` times the batch would take, changed in the same way, cut to
    the same size.
    """

    def __init__(self, pictures: Pictures, config: TrainingConfig, rank: int = 0, world: int = 1) -> None:
        self.pictures, self.config, self.rank, self.world = pictures, config, rank, world

    def batch_for(self, step: int, part: int = 0) -> Tensor:
        """uint8 [B, 3, H, W], or [B, 4, H, W] with labels; `part` counts the batches that are accumulated in one step.

        Raises:
            TrainingError: no picture can be read, or one is smaller than the crop where that is refused.
        """
        config, draw = self.config, step * self.config.accumulate + part
        size = draw_size(config.size, stream(config.seed, _SIZE, draw))
        first = (draw * self.world + self.rank) * config.batch
        samples = [self._sample(first + i, size) for i in range(config.batch)]
        return torch.from_numpy(np.stack(samples)).permute(0, 3, 1, 2).contiguous()

    def _sample(self, count: int, size: tuple[int, int] | None) -> np.ndarray:
        """The count-th sample of the run."""
        turn, place = divmod(count, len(self.pictures))
        listed = self.config.data.order == "listed"
        position = place if listed else int(_order(self.config.seed, turn, len(self.pictures))[place])
        rng = stream(self.config.seed, _SAMPLE, count)
        name, picture = self.pictures.get(position)
        return augment(cut(picture, size, self.config.size, rng, name), self.config.augment, rng)

    def __getitem__(self, draw: int) -> Tensor:
        return self.batch_for(*divmod(draw, self.config.accumulate))


@functools.lru_cache(maxsize=2)
def _order(seed: int, turn: int, count: int) -> np.ndarray:
    """Of the pictures in one pass over them."""
    return stream(seed, _ORDER, turn).permutation(count)


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C and job schedulers signal all processes; the step that is under way still needs its batches."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def load_ahead(batches: Batches, start: int, stop: int, pin: bool) -> Generator[Tensor, None, None]:
    """The batches of the steps from `start` to before `stop`, one after the other, prepared while others are used.

    Args:
        pin: in memory that a GPU can fetch from.
    """
    accumulate, workers = batches.config.accumulate, batches.config.data.workers
    draws = range(start * accumulate, stop * accumulate)
    if workers:
        yield from DataLoader(
            batches, batch_size=None, sampler=draws, num_workers=workers, pin_memory=pin,
            worker_init_fn=_leave_signals_to_the_run,
        )  # fmt: skip
        return

    def prepared(draw: int) -> Tensor:
        return batches[draw].pin_memory() if pin else batches[draw]

    with ThreadPoolExecutor(1, "splatbench-pictures") as thread:
        waiting: list[Future[Tensor]] = []
        try:
            for draw in draws:
                waiting.append(thread.submit(prepared, draw))
                if len(waiting) > _AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
