"""Test method: sleeps, writes a PNG, notes every encoding in the file that ENCODE_LOG names; fails on demand."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass

import numpy as np

from splatbench.budget import Budget
from splatbench.codec.pictures import decode_picture, encode_png
from splatbench.method import Method
from splatbench.trace import Trace

STEPS = 4


@dataclass(frozen=True)
class Config:
    seconds: float = 0.0
    fail: str = ""  # how: raise, nan, memory, torch_memory, crash, undecodable
    fail_width: int = 0  # only pictures of this width (0: all)


class Slow(Method):
    title = "Slow"
    suffixes = (".png",)
    budgets = ("gaussians", "compression_ratio", "matched_to")
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> np.ndarray:
        warming_up = image.shape == (48, 64, 3)
        if not warming_up:
            with open(os.environ["ENCODE_LOG"], "a") as log:
                log.write(f"{image.shape[1]}x{image.shape[0]} {budget.slug} seed {seed}\n")
        for i in range(1, STEPS + 1):
            time.sleep(0 if warming_up else self.config.seconds / STEPS)
            trace.step(i, STEPS, loss=1 / i)
            if trace.wants(i) and i < STEPS:
                trace.snapshot(i, image // (STEPS - i + 1))
        if not warming_up and self.config.fail_width in (0, image.shape[1]):
            self._fail(trace)
        return image

    def _fail(self, trace: Trace) -> None:
        if self.config.fail == "raise":
            raise KeyError("the answer")
        if self.config.fail == "nan":
            trace.step(STEPS, STEPS, loss=float("nan"))
        if self.config.fail == "memory":
            raise MemoryError("Unable to allocate 1.00 PiB")
        if self.config.fail == "torch_memory":
            import torch

            torch.empty(1 << 50)
        if self.config.fail == "crash":
            ctypes.string_at(0)

    def to_bytes(self, encoding: np.ndarray) -> bytes:
        return b"" if self.config.fail == "undecodable" else encode_png(encoding)

    @staticmethod
    def from_bytes(data: bytes) -> np.ndarray:
        return decode_picture(data, "PNG")
