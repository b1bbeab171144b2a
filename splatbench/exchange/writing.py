"""Gaussians as a .npz file that other programs read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from splatbench.exchange.convert import from_gaussians, to_gaussians
from splatbench.exchange.facts import dump
from splatbench.exchange.reading import FACTS
from splatbench.files import write_atomic
from splatbench.gaussians import Gaussians2D


def write_npz(path: Path | str, gaussians: Gaussians2D, **told: object) -> None:
    """Writes Gaussians whole or not at all; `read_arrays` and `to_gaussians` give them back bit for bit.

    Args:
        told: facts about their origin (method, source, nominal_bits, encode_seconds, seed, notes).

    Raises:
        ExchangeError: values that a reader would refuse.
        ValueError: a fact that there is not, or that has no such value.
        OSError: naming the path.
    """
    named = from_gaussians(gaussians, **told)
    to_gaussians(named, gaussians.size)  # what is written can be read
    content = io.BytesIO()
    np.savez(content, **named.arrays, **{FACTS: np.array(dump(named.facts))})  # type: ignore[arg-type]
    write_atomic(path, content.getvalue())
