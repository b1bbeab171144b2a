"""Optimisers that the methods need and PyTorch does not have."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatbench.render.jit import kernel
from splatbench.render.threads import run, thread_count


class Adan(torch.optim.Optimizer):
    """Adaptive Nesterov momentum (Xie et al., "Adan", arXiv 2208.06677, Algorithm 1; no restarts, no clipping).

    With gradient g, difference d to the gradient before (0 at first) and bias corrections c_i = 1 - beta_i^t, where
    beta_i is the factor that *keeps* the old average:

        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) d;  n = b3 n + (1 - b3) (g + b2 d)^2
        p = (p - lr (m / c1 + b2 v / c2) / (sqrt(n / c3) + eps)) / (1 + lr weight_decay)

    On the CPU a step is one pass over contiguous float32 parameters; elsewhere it is made of torch operations.

    Args:
        params: as for every torch optimiser.
        lr: learning rate, > 0 (0 is allowed and changes nothing).
        betas: (b1, b2, b3), each in [0, 1).
        eps: added to the denominator.
        weight_decay: proximal (divides the parameter), >= 0.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0:
            raise ValueError(f"Adan: lr, eps and weight_decay must not be negative, got {lr}, {eps}, {weight_decay}")
        if len(betas) != 3 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Adan: expected three betas in [0, 1), got {betas}")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. Returns what `closure` returns, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["step"] = 0
            for name in ("exp_avg", "exp_avg_diff", "exp_avg_sq"):
                state[name] = torch.zeros_like(p, memory_format=torch.contiguous_format)
            state["previous"] = grad.detach().clone(memory_format=torch.contiguous_format)
        state["step"] += 1
        b1, b2, b3 = group["betas"]
        lr, eps, shrink = float(group["lr"]), group["eps"], 1 / (1 + float(group["lr"]) * group["weight_decay"])
        c1, c2, c3 = (1 - beta ** state["step"] for beta in (b1, b2, b3))
        m, v, n, previous = (state[name] for name in ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous"))
        if p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous():
            flat = [x.detach().contiguous().view(-1).numpy() for x in (p, grad, m, v, n, previous)]
            rates = lr / c1, lr * b2 / c2, 1 / math.sqrt(c3)
            run(thread_count(), _step, *flat, b1, b2, b3, *rates, eps, shrink)
            return
        d = grad - previous
        m.mul_(b1).add_(grad, alpha=1 - b1)
        v.mul_(b2).add_(d, alpha=1 - b2)
        h = torch.add(grad, d, alpha=b2)
        n.mul_(b3).addcmul_(h, h, value=1 - b3)
        denominator = n.sqrt().div_(math.sqrt(c3)).add_(eps)
        p.addcdiv_(m, denominator, value=-lr / c1).addcdiv_(v, denominator, value=-lr * b2 / c2).mul_(shrink)
        previous.copy_(grad)


@kernel
def _step_range(p, grad, m, v, n, previous, b1, b2, b3, rate1, rate2, scale, eps, shrink):
    for i in range(len(p)):
        g = grad[i]
        d = g - previous[i]
        previous[i] = g
        m[i] = b1 * m[i] + (np.float32(1) - b1) * g
        v[i] = b2 * v[i] + (np.float32(1) - b2) * d
        h = g + b2 * d
        n[i] = b3 * n[i] + (np.float32(1) - b3) * h * h
        denominator = math.sqrt(n[i]) * scale + eps
        p[i] = (p[i] - (rate1 * m[i] + rate2 * v[i]) / denominator) * shrink


@kernel
def _step(t, threads, p, grad, m, v, n, previous, b1, b2, b3, rate1, rate2, scale, eps, shrink):
    f = np.float32
    a, b = len(p) * t // threads, len(p) * (t + 1) // threads
    _step_range(
        p[a:b], grad[a:b], m[a:b], v[a:b], n[a:b], previous[a:b],
        f(b1), f(b2), f(b3), f(rate1), f(rate2), f(scale), f(eps), f(shrink),
    )  # fmt: skip
