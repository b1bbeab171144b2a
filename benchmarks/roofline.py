"""The machine's own limits, measured in turns with the kernels: multiply-adds and copied bytes per second."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numba
import numpy as np
import torch

from benchmarks.timing import Case, Measured
from benchmarks.work import Work
from splatbench.render.f32x16 import LANES, fma, load, splat, store
from splatbench.render.threads import run, thread_count

FMA, COPY = "peak multiply-adds", "copy of a large array"
_STEPS = 200_000
#: Values of the arrays that are copied, float32: from a cache's size to more than any cache holds.
_COPIED = (1 << 17, 1 << 19, 1 << 21, 1 << 23, 1 << 25)
_COPIED_GPU = (1 << 19, 1 << 21, 1 << 23, 1 << 27)
_MATRIX = 4096


@numba.njit(nogil=True)
def _six_chains(t, threads, steps, start, out):
    """Chains of multiply-adds that wait for themselves alone, few enough for sixteen registers of half the width."""
    a, b = splat(np.float32(0.999)), splat(np.float32(1e-3))
    x0, x1, x2 = load(start, 0), load(start, 16), load(start, 32)
    x3, x4, x5 = load(start, 48), load(start, 64), load(start, 80)
    for _ in range(steps):
        x0, x1, x2 = fma(x0, a, b), fma(x1, a, b), fma(x2, a, b)
        x3, x4, x5 = fma(x3, a, b), fma(x4, a, b), fma(x5, a, b)
    store(out[t], 0, ((x0 + x1) + (x2 + x3)) + (x4 + x5))


@numba.njit(nogil=True)
def _twelve_chains(t, threads, steps, start, out):
    """As many as keep two units busy that take six cycles, where there are thirty-two registers."""
    a, b = splat(np.float32(0.999)), splat(np.float32(1e-3))
    x0, x1, x2 = load(start, 0), load(start, 16), load(start, 32)
    x3, x4, x5 = load(start, 48), load(start, 64), load(start, 80)
    x6, x7, x8 = load(start, 96), load(start, 112), load(start, 128)
    x9, xa, xb = load(start, 144), load(start, 160), load(start, 176)
    for _ in range(steps):
        x0, x1, x2 = fma(x0, a, b), fma(x1, a, b), fma(x2, a, b)
        x3, x4, x5 = fma(x3, a, b), fma(x4, a, b), fma(x5, a, b)
        x6, x7, x8 = fma(x6, a, b), fma(x7, a, b), fma(x8, a, b)
        x9, xa, xb = fma(x9, a, b), fma(xa, a, b), fma(xb, a, b)
    store(out[t], 0, ((x0 + x1) + (x2 + x3)) + ((x4 + x5) + (x6 + x7)) + ((x8 + x9) + (xa + xb)))


def probes(device: str) -> list[Case]:
    """Cases whose rate is a limit of the device: the best of those of a kernel counts."""
    if device == "cuda":
        return [
            Case(FMA, "matrix product, float32", _matrix_product, Work(_MATRIX**3, 0)),
            *(Case(COPY, f"{8 * n >> 20} MiB, torch", partial(_torch_copy, n), Work(0, 8 * n)) for n in _COPIED_GPU),
        ]
    threads = thread_count()
    chains = ((_six_chains, 6), (_twelve_chains, 12))
    return [
        *(
            Case(FMA, f"{n} chains of 16 lanes", partial(_chains, kernel), Work(n * LANES * _STEPS * threads, 0))
            for kernel, n in chains
        ),
        *(Case(COPY, f"{8 * n >> 20} MiB, numpy", partial(_numpy_copy, n), Work(0, 8 * n)) for n in _COPIED),
    ]


def _chains(kernel: Callable[..., None]) -> Callable[[], object]:
    threads = thread_count()
    start, out = np.random.default_rng(0).random(192, np.float32), np.empty((threads, LANES), np.float32)
    return lambda: run(threads, kernel, _STEPS, start, out)


def _copy_part(t: int, threads: int, source: np.ndarray, target: np.ndarray) -> None:
    part = slice(len(source) * t // threads, len(source) * (t + 1) // threads)
    np.copyto(target[part], source[part])


def _numpy_copy(count: int) -> Callable[[], object]:
    threads = thread_count()
    source, target = np.ones(count, np.float32), np.zeros(count, np.float32)
    return lambda: run(threads, _copy_part, source, target)


def _matrix_product() -> Callable[[], object]:
    torch.set_float32_matmul_precision("highest")  # torch's default: no tensor cores of lower precision
    a, b = torch.rand(2, _MATRIX, _MATRIX, device="cuda")
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def _torch_copy(count: int) -> Callable[[], object]:
    source, target = torch.ones(2, count, device="cuda")
    return lambda: target.copy_(source)


@dataclass(frozen=True)
class Roofline:
    """Limits of a machine.

    Attributes:
        fma: multiply-adds per second.
        copies: of every copy, the bytes read and written, and how many of them per second; small ones stay in caches.
    """

    fma: float
    copies: tuple[tuple[float, float], ...]

    def bytes_per_second(self, size: float) -> float:
        """The best rate of copies that move at least so many bytes; of the largest, where none does."""
        largest = max(copied for copied, _ in self.copies)
        return max(rate for copied, rate in self.copies if copied >= min(size, largest))

    def seconds(self, work: Work) -> float:
        """What the work takes at least."""
        return work.seconds(self.fma, self.bytes_per_second(work.bytes))


def roofline(measured: Sequence[Measured]) -> Roofline:
    """The limits that probes have measured: of multiply-adds the best rate.

    Raises:
        RuntimeError: a kind of which no probe could be measured; says why.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for kernel in (FMA, COPY):
        probed = [m for m in measured if m.case.kernel == kernel]
        amounts = [(max(m.case.work.fma, m.case.work.bytes), m.median) for m in probed if m.case.work and len(m.taken)]
        if not amounts:
            raise RuntimeError(f"{kernel}: not measured: {'; '.join(str(m.failure) for m in probed)}")
        found[kernel] = [(amount, amount / seconds) for amount, seconds in amounts]
    return Roofline(max(rate for _, rate in found[FMA]), tuple(found[COPY]))
