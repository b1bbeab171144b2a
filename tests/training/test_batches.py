"""Batches are functions of seed, step and process; together the processes see what one would."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal

import numpy as np
import pytest
import torch

from splatbench.training.batches import Batches, load_ahead, loss_seed, start_seed, stream
from splatbench.training.pictures import Pictures, open_material
from splatbench.training.sources import Source


class Flat(Source):
    """Pictures whose every pixel is their number."""

    place = "flat"

    def __init__(self, count):
        self.names = [f"{i}.png" for i in range(count)]
        self.photographs = self.names

    def read(self, index):
        return np.full((20, 20, 3), index, np.uint8)


def numbers(batch):
    return batch[:, 0, 0, 0].tolist()


def test_pure_in_the_step(configure, settings):
    config = configure(settings | {"augment": "air"})
    one, two = (Batches(open_material(config.data).training, config) for _ in range(2))
    forward = [one.batch_for(step) for step in range(6)]
    for step in (5, 0, 3):
        assert torch.equal(two.batch_for(step), forward[step])
    assert forward[0].dtype == torch.uint8 and forward[0].is_contiguous()
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in itertools.pairwise(forward))
    other = Batches(one.pictures, configure(settings | {"augment": "air", "seed": 2}))
    assert any(
        other.batch_for(s).shape != forward[s].shape or not torch.equal(other.batch_for(s), forward[s])
        for s in range(2)
    )


def test_global_generators_have_no_part(configure, settings):
    config = configure(settings | {"augment": "air"})
    batches = Batches(open_material(config.data).training, config)
    torch.manual_seed(0)
    random.seed(0)
    before = batches.batch_for(3)
    state = torch.random.get_rng_state()
    torch.rand(5)
    random.random()
    assert torch.equal(batches.batch_for(3), before)
    torch.random.set_rng_state(state)
    batches.batch_for(4)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_pass_takes_every_picture_once(configure, settings):
    config = configure(settings | {"size": {"policy": "crop", "side": [16, 16]}, "batch": 3})
    batches = Batches(Pictures(Flat(7), range(7), 10**6), config)
    seen = [n for step in range(7) for n in numbers(batches.batch_for(step))]
    passes = [seen[i : i + 7] for i in range(0, 21, 7)]
    assert all(sorted(p) == list(range(7)) for p in passes)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_processes_share_one_order(configure, settings, accumulate):
    """Two processes with a batch of 2 see, side by side, exactly what one with a batch of 4 sees."""
    two = configure(settings | {"augment": "air", "accumulate": accumulate})
    one = configure(settings | {"augment": "air", "accumulate": accumulate, "batch": 4})
    pictures = open_material(two.data).training
    for step in range(4):
        for part in range(accumulate):
            halves = [Batches(pictures, two, rank, 2).batch_for(step, part) for rank in range(2)]
            assert torch.equal(torch.cat(halves), Batches(pictures, one).batch_for(step, part))


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_ahead_keeps_the_order(configure, settings, workers):
    data = settings["data"] | {"workers": workers}
    config = configure(settings | {"accumulate": 2, "augment": "air", "data": data})
    batches = Batches(open_material(config.data).training, config)
    loaded = list(load_ahead(batches, 3, 6, pin=False))
    expected = [batches.batch_for(step, part) for step in (3, 4, 5) for part in (0, 1)]
    assert len(loaded) == 6 and all(torch.equal(a, b) for a, b in zip(loaded, expected, strict=True))


def test_workers_leave_signals_to_the_run(configure, settings):
    """Ctrl-C reaches all processes; the step under way still gets its batches."""
    settings["data"] |= {"workers": 1}
    batches = Batches(open_material((config := configure(settings)).data).training, config)
    loader = load_ahead(batches, 0, 20, pin=False)
    first = next(loader)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    rest = list(loader)
    assert torch.equal(first, batches.batch_for(0)) and len(rest) == 19


def test_an_error_ahead_reaches_the_loop(configure, settings):
    settings["size"] |= {"side": [96, 96], "small": "refuse"}
    config = configure(settings)
    loader = load_ahead(Batches(open_material(config.data).training, config), 0, 3, pin=False)
    with pytest.raises(ValueError, match="pixels are less than the crop of 96x96"):
        next(loader)


def test_seeds_are_unlike_each_other():
    seeds = {
        loss_seed(s, step, part, rank) for s in range(3) for step in range(5) for part in range(3) for rank in range(3)
    }
    assert len(seeds | {start_seed(s) for s in range(3)}) == 3 * 5 * 3 * 3 + 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream(1, 2, 3).random() != stream(1, 3, 2).random()
