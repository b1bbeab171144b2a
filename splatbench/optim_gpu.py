"""Steps of Adam and Adan on a GPU: all parameters in one Triton launch, and all that changes is on the device.

So a step can be captured in a CUDA graph: steps are counted by the kernel, learning rates are read by it. The kernel is
interpreted, on CPU tensors, where the environment variable TRITON_INTERPRET is 1 before this module is imported.
"""

# mypy: disallow-untyped-defs=False
from typing import Any

import torch
import triton
import triton.language as tl

from splatbench.optim import Adam, Adan
from splatbench.render.gpu.launch import require_device

#: Settings of one parameter, float64 on the device.
SETTINGS = ("lr", "beta1", "beta2", "beta3", "eps", "decay", "decoupled")
_BLOCK = 1024
_MOST = 16  # parameters of one launch: each is a branch of the kernel


@triton.jit
def _float(x):
    return x.to(tl.float32)


@triton.jit
def factors(settings, step, ADAN: tl.constexpr):
    """What a step makes of the settings at `settings`, like `splatbench.optim`: in float64, rounded to float32."""
    lr, eps, decay = tl.load(settings), tl.load(settings + 4), tl.load(settings + 5)
    b1, b2, b3 = tl.load(settings + 1), tl.load(settings + 2), tl.load(settings + 3)
    t = step.to(tl.float64)
    c1, c2 = 1.0 - tl.exp(t * tl.log(b1)), 1.0 - tl.exp(t * tl.log(b2))
    if ADAN:
        c3 = 1.0 - tl.exp(t * tl.log(b3))
        rate2, scale, keep, added = lr * b2 / c2, 1.0 / tl.sqrt(c3), 1.0 / (1.0 + lr * decay), 0.0 * lr
    else:
        decoupled = tl.load(settings + 6)
        rate2, scale = 0.0 * lr, 1.0 / tl.sqrt(c2)
        keep, added = 1.0 - decoupled * lr * decay, (1.0 - decoupled) * decay
    d1, d2, d3, rate1 = _float(1.0 - b1), _float(1.0 - b2), _float(1.0 - b3), _float(lr / c1)
    rate2, scale, eps, keep, added = _float(rate2), _float(scale), _float(eps), _float(keep), _float(added)
    return _float(b1), d1, _float(b2), d2, _float(b3), d3, rate1, rate2, scale, eps, keep, added


@triton.jit
def updated(p, g, first, second, third, previous, at, inside, step, f, ADAN: tl.constexpr):
    """The values p after a step with gradients g; the state, at offsets `at` of its pointers, is read and written.

    Adam has the averages `first` of g and `second` of g^2; Adan `first` of g, `second` of differences, `third` of
    squares, and the gradient before, `previous`.
    """
    m, v = tl.load(first + at, mask=inside, other=0.0), tl.load(second + at, mask=inside, other=0.0)
    if ADAN:
        n, before = tl.load(third + at, mask=inside, other=0.0), tl.load(previous + at, mask=inside, other=0.0)
        d = tl.where(step == 1, 0.0, g - before)
        h = g + f[2] * d
        m, v, n = f[0] * m + f[1] * g, f[2] * v + f[3] * d, f[4] * n + f[5] * h * h
        p = (p - (f[6] * m + f[7] * v) / (tl.sqrt(n) * f[8] + f[9])) * f[10]
        tl.store(third + at, n, mask=inside)
        tl.store(previous + at, g, mask=inside)
    else:
        g += f[11] * p
        m, v = m + f[1] * (g - m), f[2] * v + f[3] * g * g
        p = f[10] * p - f[6] * m / (tl.sqrt(v) * f[8] + f[9])
    tl.store(first + at, m, mask=inside)
    tl.store(second + at, v, mask=inside)
    return p


@triton.jit
def count(steps):
    """The number of the step that this program makes: every program counts for itself, so that none waits."""
    place = steps + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    step = tl.load(place) + 1
    tl.store(place, step)
    return step


@triton.jit
def update(
    parameters, gradients, first, second, third, previous, sizes, settings, steps,
    ADAN: tl.constexpr, SETTINGS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step of a tuple of parameters: programs [blocks of the largest, parameters].

    Args:
        parameters ... previous: tuples of pointers to float32; `third` and `previous` are used by Adan alone.
        sizes: values of each.
        settings: [parameters, SETTINGS] float64.
        steps: [parameters, blocks] int32: steps made so far.
    """
    step = count(steps)
    for k in tl.static_range(len(sizes)):
        if tl.program_id(1) == k:
            at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
            inside = at < sizes[k]
            f = factors(settings + k * SETTINGS, step, ADAN)
            p, g = (
                tl.load(parameters[k] + at, mask=inside, other=0.0),
                tl.load(gradients[k] + at, mask=inside, other=0.0),
            )
            p = updated(p, g, first[k], second[k], third[k], previous[k], at, inside, step, f, ADAN)
            tl.store(parameters[k] + at, p, mask=inside)


class DeviceOptimiser:
    """Makes the steps of an `Adam` or `Adan` on a GPU, in one launch, without a wait for the device.

    The optimiser keeps its groups and settings, so torch's schedulers work on it; after they (or anyone) changed a
    learning rate, `refresh` carries it to the device. Do not mix with the optimiser's own `step`.

    Args:
        optimiser: with 1 to 16 parameters, float32, contiguous, on one device, that has made no step yet.

    Raises:
        ValueError: another optimiser, or parameters that do not fit.
    """

    def __init__(self, optimiser: Adam | Adan) -> None:
        if not isinstance(optimiser, Adam | Adan):
            raise ValueError(f"DeviceOptimiser: expected an Adam or Adan, got {type(optimiser).__name__}")
        self.optimiser, self._adan = optimiser, isinstance(optimiser, Adan)
        optimiser._opt_called = True  # type: ignore[union-attr]  # schedulers warn where `step` was not called
        self.parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self._check_parameters()
        names = ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous") if self._adan else ("exp_avg", "exp_avg_sq")
        state = [tuple(torch.zeros_like(p) for p in self.parameters) for _ in names]
        for k, p in enumerate(self.parameters):
            optimiser.state[p].update({name: values[k] for name, values in zip(names, state, strict=True)})
        #: Averages in the kernel's order; Adam has two.
        self._state = tuple(state if self._adan else [*state, *state])
        self._sizes = tuple(p.numel() for p in self.parameters)
        self._grid = (max(1, max(-(-size // _BLOCK) for size in self._sizes)), len(self.parameters))
        device = self.parameters[0].device
        self._steps = torch.zeros(self._grid[::-1], dtype=torch.int32, device=device)
        self._known = self._wanted()
        self._settings = torch.tensor(self._known, dtype=torch.float64, device=device)

    @property
    def steps(self) -> int:
        """Steps made so far. Waits for the device."""
        return int(self._steps[0, 0])

    def refresh(self) -> None:
        """Carries settings that changed to the device, in the order of the stream. Not to be captured."""
        wanted = self._wanted()
        if wanted != self._known:
            fresh = torch.tensor(wanted, dtype=torch.float64)
            self._settings.copy_(fresh.pin_memory() if self._settings.is_cuda else fresh, non_blocking=True)
            self._known = wanted

    @torch.no_grad()
    def step(self) -> None:
        """One step with the gradients in `.grad`.

        Raises:
            ValueError: a gradient that is missing, or does not fit its parameter.
        """
        gradients = []
        for k, p in enumerate(self.parameters):
            if p.grad is None:
                raise ValueError(f"DeviceOptimiser: parameter {k} has no gradient")
            if p.grad.shape != p.shape or p.grad.dtype != torch.float32 or p.grad.device != p.device:
                raise ValueError(f"DeviceOptimiser: the gradient of parameter {k} does not fit it")
            gradients.append(p.grad.contiguous())
        update[self._grid](
            tuple(self.parameters), tuple(gradients), *self._state, self._sizes, self._settings, self._steps,
            ADAN=self._adan, SETTINGS=len(SETTINGS), BLOCK=_BLOCK, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip

    def _wanted(self) -> list[list[float]]:
        """Settings of every parameter, as SETTINGS names them."""
        return [settings_of(group) for group in self.optimiser.param_groups for _ in group["params"]]

    def _check_parameters(self) -> None:
        if not 1 <= len(self.parameters) <= _MOST:
            raise ValueError(f"DeviceOptimiser: expected 1 to {_MOST} parameters, got {len(self.parameters)}")
        for k, p in enumerate(self.parameters):
            if p.dtype != torch.float32 or not p.is_contiguous() or p.device != self.parameters[0].device:
                raise ValueError(
                    f"DeviceOptimiser: parameters must be float32, contiguous and on one device; "
                    f"parameter {k} is {p.dtype}, strides {p.stride()}, on {p.device}"
                )
            require_device(update, f"DeviceOptimiser: parameter {k}", p)
            if self.optimiser.state.get(p):
                raise ValueError("DeviceOptimiser: the optimiser has made steps already; give a fresh one")


def settings_of(group: dict[str, Any]) -> list[float]:
    """Settings of a parameter group, as SETTINGS names them."""
    b1, b2, *b3 = group["betas"]
    decoupled = float(group.get("decoupled_weight_decay", False))
    return [float(group["lr"]), b1, b2, *(b3 or [0.0]), group["eps"], group["weight_decay"], decoupled]


def bytes_per_value(adan: bool) -> int:
    """Bytes that a step reads and writes per value: parameter, gradient and state."""
    return 4 * (2 + 1 + 2 * (4 if adan else 2))
