"""A budget in bytes is the same method at a count, with settings of the profile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method
from splatbench.rate import encode_at_rate
from splatbench.rate.search import PILOT_SHARE
from splatbench.trace import Trace

IMAGE = np.full((40, 50, 3), 90, np.uint8)


@dataclass(frozen=True)
class Config:
    bits: int = 6
    steps: int = 10_000
    polish: int = 300


@dataclass(frozen=True)
class Call:
    """What one `encode` was asked for."""

    n: int | None
    iterations: int | None
    config: Config
    device: str
    seed: int


CALLS: list[Call] = []


class Recorder(Method):
    """Files of n (1 + bits / 8) bytes; 5 bits look best."""

    title = "Recorder"
    Config = Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Call:
        call = Call(budget.gaussians, budget.iterations, self.config, self.device, seed)
        CALLS.append(call)
        return call

    def to_bytes(self, encoding: Call) -> bytes:
        assert encoding.n is not None
        return bytes([encoding.config.bits]).ljust(round(encoding.n * (1 + encoding.config.bits / 8)), b"\0")

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        return Gaussians2D(
            means=torch.tensor([[25.0, 20.0]]),
            colors=torch.full((1, 3), 90 / 255 + abs(data[0] - 5) / 100),
            size=IMAGE.shape[:2],
            scales=torch.full((1, 2), 1e6),
            angles=torch.zeros(1),
        )


def encode(config: Config, budget: Budget, steps: int, **options: object) -> Call:
    CALLS.clear()
    trace = Trace()
    trace.start()
    return encode_at_rate(Recorder(config, "meta"), IMAGE, budget, trace, 7, steps=steps, **options)


def test_whole_fits_are_what_the_budget_and_the_settings_say() -> None:
    profiles = [{"bits": 5}, {"bits": 8}]
    found = encode(Config(), Budget(bpp=2.0), 10_000, profiles=profiles, shortened=("polish",))
    assert found == Call(found.n, None, Config(bits=5), "meta", 7)
    assert len(Recorder(found.config).to_bytes(found)) == pytest.approx(500, rel=0.02)
    pilots = [call for call in CALLS if call.iterations is not None]
    assert {call.config.bits for call in pilots} == {5, 6, 8}, "the method's own setting is tried, too"
    assert CALLS[0].config.bits == 6, "and first"
    assert all(call.iterations == round(PILOT_SHARE * 10_000) == 500 for call in pilots)
    assert all(call.config.polish == 15 and (call.device, call.seed) == ("meta", 7) for call in pilots)


def test_iterations_of_the_budget_are_kept() -> None:
    found = encode(Config(), Budget(bpp=2.0, iterations=4000), 4000)
    assert found.iterations == 4000 and found.config == Config()
    assert {call.iterations for call in CALLS} == {200, 4000}, "a pilot takes at least 200"
    assert all(call.config == Config() for call in CALLS), "nothing else is changed unless it is named"


def test_a_profile_of_the_settings_is_not_tried_twice() -> None:
    encode(Config(bits=5), Budget(bpp=2.0), 10_000, profiles=[{"bits": 5}, {"bits": 8}])
    pilots = [(call.config.bits, call.n) for call in CALLS if call.iterations is not None]
    assert len(set(pilots)) == len(pilots)
