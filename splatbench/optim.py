"""Optimisers whose step is one pass over all parameters: Adam, and Adan, which PyTorch does not have."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor

from splatbench.render.f32x16 import LANES, divide, f32x16, fma, splat, sqrt
from splatbench.render.jit import kernel
from splatbench.render.threads import run, thread_count


class _Optimiser(torch.optim.Optimizer):
    """Contiguous float32 parameters on the CPU are updated together by one kernel, others one by one with torch."""

    _betas: ClassVar[int]
    #: Tensors that belong to a parameter, in the order in which the kernel takes them.
    _names: ClassVar[tuple[str, ...]]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group, name = self.param_groups[-1], type(self).__name__
        for setting in ("lr", "eps", "weight_decay"):
            if not group[setting] >= 0:
                raise ValueError(f"{name}: {setting} must not be negative, got {group[setting]}")
        if len(group["betas"]) != self._betas or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{name}: expected {self._betas} betas in [0, 1), got {group['betas']}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. Returns what `closure` returns, if one is given. Parameters without a gradient stay as they are.

        Raises:
            ValueError: a gradient or a loaded state that does not fit its parameter.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        together, factors = [], []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                tensors, step = self._tensors(p, p.grad)
                if p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous():
                    together.append(tensors)
                    factors.append(self._factors(group, step))
                else:
                    self._plain(*tensors, group, step)
        if together:
            _update_together(together, factors)
        return loss

    def _tensors(self, p: Tensor, grad: Tensor) -> tuple[list[Tensor], int]:
        """The parameter, its gradient and its state, contiguous but for the first; and the number of this step."""
        if grad.is_sparse or grad.is_complex():
            raise ValueError(f"{type(self).__name__}: gradients must be dense and real")
        tensors, state = [p, grad.contiguous()], self.state[p]
        if not state:
            state["step"] = 0
            state.update(self._start(tensors[1]))
        for name in self._names:
            value = state[name]
            if not value.is_contiguous():  # as it may be loaded
                value = state[name] = value.contiguous()
            tensors.append(value)
        values = p.numel()
        for x in tensors:  # the kernel gets addresses
            if x.numel() != values or x.dtype != p.dtype or x.device != p.device:
                raise ValueError(
                    f"{type(self).__name__}: a gradient or state of {x.numel()} values, {x.dtype}, on {x.device} does "
                    f"not fit its parameter of {values}, {p.dtype}, on {p.device}"
                )
        state["step"] += 1
        return tensors, int(state["step"])

    def _start(self, grad: Tensor) -> dict[str, Tensor]:
        """The state before the first step."""
        return {name: torch.zeros_like(grad) for name in self._names}

    def _factors(self, group: dict[str, Any], step: int) -> tuple[float, ...]:
        """The kernel's factors for one parameter."""
        raise NotImplementedError

    def _plain(self, *args: Any) -> None:
        """The step of one parameter made of torch operations: plain(parameter, gradient, *state, group, step)."""
        raise NotImplementedError


class Adam(_Optimiser):
    """Adam (Kingma and Ba, arXiv 1412.6980), or AdamW with `decoupled_weight_decay`; the rule of `torch.optim.Adam`.

    With gradient g and bias corrections c_i = 1 - beta_i^t:

        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p = p - lr (m / c1) / (sqrt(v / c2) + eps)

    Args:
        params: as for every torch optimiser; groups may have settings of their own.
        lr: learning rate, >= 0.
        betas: (b1, b2), each in [0, 1).
        eps: added to the denominator, >= 0.
        weight_decay: >= 0.
        decoupled_weight_decay: shrinks p by 1 - lr weight_decay (Loshchilov and Hutter, arXiv 1711.05101) instead of
            adding weight_decay p to the gradient.

    Raises:
        ValueError: a setting out of range.
    """

    _betas = 2
    _names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        settings = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings | {"decoupled_weight_decay": decoupled_weight_decay})

    def _factors(self, group: dict[str, Any], step: int) -> tuple[float, ...]:
        b1, b2 = group["betas"]
        lr, decay, decoupled = float(group["lr"]), group["weight_decay"], group["decoupled_weight_decay"]
        keep, added = (1 - lr * decay, 0.0) if decoupled else (1.0, decay)
        rate, root = lr / (1 - b1**step), 1 / math.sqrt(1 - b2**step)
        return b1, 1 - b1, b2, 1 - b2, rate, root, group["eps"], keep, added

    def _plain(self, p: Tensor, grad: Tensor, m: Tensor, v: Tensor, group: dict[str, Any], step: int) -> None:  # type: ignore[override]
        b1, b2 = group["betas"]
        if group["decoupled_weight_decay"]:
            p.mul_(1 - float(group["lr"]) * group["weight_decay"])
        elif group["weight_decay"]:
            grad = grad.add(p, alpha=group["weight_decay"])
        m.lerp_(grad, 1 - b1)
        v.mul_(b2).addcmul_(grad, grad, value=1 - b2)
        denominator = v.sqrt().div_(math.sqrt(1 - b2**step)).add_(group["eps"])
        p.addcdiv_(m, denominator, value=-float(group["lr"]) / (1 - b1**step))


class Adan(_Optimiser):
    """Adaptive Nesterov momentum (Xie et al., "Adan", arXiv 2208.06677, Algorithm 1; no restarts, no clipping).

    With gradient g, difference d to the gradient before (0 at first) and bias corrections c_i = 1 - beta_i^t, where
    beta_i is the factor that *keeps* the old average:

        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) d;  n = b3 n + (1 - b3) (g + b2 d)^2
        p = (p - lr (m / c1 + b2 v / c2) / (sqrt(n / c3) + eps)) / (1 + lr weight_decay)

    Args:
        params: as for every torch optimiser; groups may have settings of their own.
        lr: learning rate, >= 0.
        betas: (b1, b2, b3), each in [0, 1).
        eps: added to the denominator, >= 0.
        weight_decay: proximal (divides the parameter), >= 0.

    Raises:
        ValueError: a setting out of range.
    """

    _betas = 3
    _names = ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def _start(self, grad: Tensor) -> dict[str, Tensor]:
        return super()._start(grad) | {"previous": grad.clone()}

    def _factors(self, group: dict[str, Any], step: int) -> tuple[float, ...]:
        b1, b2, b3 = group["betas"]
        lr = float(group["lr"])
        c1, c2, c3 = (1 - beta**step for beta in (b1, b2, b3))
        shrink = 1 / (1 + lr * group["weight_decay"])
        return b1, 1 - b1, b2, 1 - b2, b3, 1 - b3, lr / c1, lr * b2 / c2, 1 / math.sqrt(c3), group["eps"], shrink

    def _plain(  # type: ignore[override]
        self,
        p: Tensor,
        grad: Tensor,
        m: Tensor,
        v: Tensor,
        n: Tensor,
        previous: Tensor,
        group: dict[str, Any],
        step: int,
    ) -> None:
        b1, b2, b3 = group["betas"]
        *_, rate1, rate2, scale, eps, shrink = self._factors(group, step)
        d = grad - previous
        m.mul_(b1).add_(grad, alpha=1 - b1)
        v.mul_(b2).add_(d, alpha=1 - b2)
        h = torch.add(grad, d, alpha=b2)
        n.mul_(b3).addcmul_(h, h, value=1 - b3)
        denominator = n.sqrt().mul_(scale).add_(eps)
        p.addcdiv_(m, denominator, value=-rate1).addcdiv_(v, denominator, value=-rate2).mul_(shrink)
        previous.copy_(grad)


# -- the kernel: addresses instead of arrays, so that any number of tensors of any size goes through one call ----------
@intrinsic
def _load(typingctx, address, index):
    """Sixteen float32 from `address` + `index` floats on."""

    def codegen(context, builder, sig, args):
        data = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        place = builder.bitcast(builder.gep(data, [args[1]]), f32x16.vector.as_pointer())
        return builder.load(place, align=4)

    return f32x16(types.int64, types.int64), codegen


@intrinsic
def _store(typingctx, address, index, x):
    def codegen(context, builder, sig, args):
        data = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        place = builder.bitcast(builder.gep(data, [args[1]]), f32x16.vector.as_pointer())
        builder.store(args[2], place, align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16), codegen


@intrinsic
def _copy(typingctx, to, to_index, source, index):
    """One float32 from one address to another."""

    def codegen(context, builder, sig, args):
        pointer = ir.FloatType().as_pointer()
        to, source = (builder.gep(builder.inttoptr(args[k], pointer), [args[k + 1]]) for k in (0, 2))
        builder.store(builder.load(source, align=4), to, align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@kernel
def _adam(row, a, b, f):
    p, grad, m, v = row[0], row[1], row[2], row[3]
    for i in range(a, b, LANES):
        parameter = _load(p, i)
        g = fma(splat(f[8]), parameter, _load(grad, i))
        first = fma(splat(f[0]), _load(m, i), splat(f[1]) * g)
        second = fma(splat(f[2]), _load(v, i), splat(f[3]) * g * g)
        _store(m, i, first)
        _store(v, i, second)
        change = divide(splat(f[4]) * first, fma(sqrt(second), splat(f[5]), splat(f[6])))
        _store(p, i, splat(f[7]) * parameter - change)


@kernel
def _adan(row, a, b, f):
    p, grad, m, v, n, previous = row[0], row[1], row[2], row[3], row[4], row[5]
    for i in range(a, b, LANES):
        g = _load(grad, i)
        d = g - _load(previous, i)
        h = fma(splat(f[2]), d, g)
        first = fma(splat(f[0]), _load(m, i), splat(f[1]) * g)
        second = fma(splat(f[2]), _load(v, i), splat(f[3]) * d)
        third = fma(splat(f[4]), _load(n, i), splat(f[5]) * h * h)
        _store(m, i, first)
        _store(v, i, second)
        _store(n, i, third)
        _store(previous, i, g)
        denominator = fma(sqrt(third), splat(f[8]), splat(f[9]))
        change = divide(fma(splat(f[6]), first, splat(f[7]) * second), denominator)
        _store(p, i, (_load(p, i) - change) * splat(f[10]))


@kernel(inline="always")
def _update_range(row, a, b, f):
    if len(row) == 4:
        _adam(row, a, b, f)
    else:
        _adan(row, a, b, f)


def _update_together(tensors: list[list[Tensor]], factors: list[tuple[float, ...]]) -> None:
    """A step of contiguous float32 parameters on the CPU: [[parameter, gradient, *state], ...] and their factors."""
    threads, columns = thread_count(), len(tensors[0])
    scratch = np.empty(threads * columns * LANES, np.float32)
    addresses = [x.data_ptr() for row in tensors for x in row]
    addresses += range(scratch.ctypes.data, scratch.ctypes.data + scratch.nbytes, 4 * LANES)
    sizes = np.array([row[0].numel() for row in tensors], np.int64)
    table = np.array(addresses, np.int64).reshape(-1, columns)
    run(threads, _update, table, sizes, np.array(factors, np.float32))
    for row in tensors:
        torch.autograd.graph.increment_version(row[0])  # autograd must notice changes behind its back


@kernel
def _update(t, threads, addresses, sizes, factors):
    """A step of all tensors, cut into equal parts for the threads.

    Args:
        addresses: [n + threads, 4] int64 for Adam, [n + threads, 6] for Adan, of contiguous float32: parameter,
            gradient and state of each; then scratch of 16 values each, where values go that fill no vector.
        sizes: [n] int64, values of each.
        factors: [n, ...] float32, of `Adam._factors` or `Adan._factors`.
    """
    total = before = 0
    for size in sizes:
        total += size
    for k in range(len(sizes)):
        a, b = max(0, total * t // threads - before), min(sizes[k], total * (t + 1) // threads - before)
        before += sizes[k]
        if a >= b:
            continue
        row, edge, f = addresses[k], addresses[len(sizes) + t], factors[k]
        whole = b - (b - a) % LANES
        _update_range(row, a, whole, f)
        if whole == b:
            continue
        for c in range(len(row)):
            for i in range(whole, b):
                _copy(edge[c], i - whole, row[c], i)
        _update_range(edge, np.int64(0), np.int64(LANES), f)
        for c in range(len(row)):
            for i in range(whole, b):
                _copy(row[c], i, edge[c], i - whole)
