"""Test method: sleeps, writes a PNG, notes every encoding in the file that ENCODE_LOG names; fails on demand."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
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
    fail: str = ""  # how: raise, nan, memory, torch_memory, crash, undecodable, or a name of _REPORTS
    fail_width: int = 0  # only pictures of this width (0: all)


#: What no row can hold, and where it is reported; of `numbers` nothing is wrong.
_REPORTS: dict[str, Callable[[Trace], None]] = {
    "stage": lambda trace: trace.stages.update(a=float("inf")),
    "curve": lambda trace: trace.log(1, psnr="thirty"),  # type: ignore[arg-type]
    "point": lambda trace: trace.curve.append(("one", 0.5, {"psnr": 30.0})),  # type: ignore[arg-type]
    "note": lambda trace: trace.note(5),  # type: ignore[arg-type]
    "half": lambda trace: trace.note("half \udcff"),
    "message": lambda trace: _raise("half \udcff"),
    "steps": lambda trace: trace.step(10**400, 10**400, loss=1.0),
    "numbers": lambda trace: trace.log(np.int64(1), psnr=np.float32(30.5), loss=np.float64(0.25)),  # type: ignore[arg-type]
}


def _raise(text: str) -> None:
    raise ValueError(text)


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
        if self.config.fail in _REPORTS:
            _REPORTS[self.config.fail](trace)
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

    def nominal_bits(self, encoding: np.ndarray) -> int | None:
        if self.config.fail not in ("bits", "numbers") or encoding.shape[1] != self.config.fail_width:
            return None
        return float("nan") if self.config.fail == "bits" else np.int64(64)  # type: ignore[return-value]

    def to_bytes(self, encoding: np.ndarray) -> bytes:
        return b"" if self.config.fail == "undecodable" else encode_png(encoding)

    @staticmethod
    def from_bytes(data: bytes) -> np.ndarray:
        return decode_picture(data, "PNG")
