"""Test method that asks for a GPU, uses none, and notes when it had which one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from splatbench.budget import Budget
from splatbench.codec.pictures import decode_picture, encode_png
from splatbench.method import Method
from splatbench.trace import Trace


@dataclass(frozen=True)
class Config:
    seconds: float = 1.0


class Leased(Method):
    title = "Leased"
    suffixes = (".png",)
    budgets = ("gaussians",)
    devices = ("cpu", "cuda")
    Config = Config
    config: Config

    def __init__(self, config: Config, device: str = "cpu") -> None:
        # What is measured on a GPU would be asked of CUDA, which is not there.
        super().__init__(config, "cpu")
        self.leased = device

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> np.ndarray:
        if image.shape == (48, 64, 3):  # the warm-up
            return image
        begin = time.time()
        time.sleep(self.config.seconds)
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "") if self.leased == "cuda" else ""
        with open(os.environ["LEASE_LOG"], "a") as log:
            log.write(f"{image.shape[1]} {gpu or 'none'} {begin} {time.time()} {os.environ.get('SLURM_JOB_ID', '-')}\n")
        return image

    def to_bytes(self, encoding: np.ndarray) -> bytes:
        return encode_png(encoding)

    @staticmethod
    def from_bytes(data: bytes) -> np.ndarray:
        return decode_picture(data, "PNG")
