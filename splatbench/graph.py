"""`CapturedStep`: a fitting step recorded once in a CUDA graph and repeated without the host."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from splatbench.trace import Diverged


class CapturedStep:
    """Calls a step: the first times as it is, then from a CUDA graph. Every call is exactly one step.

    What the step does must be on the device alone: no reading of values, no counting and no random choices on the
    host (they would happen once, while recording). What changes from step to step must be in tensors that stay, such
    as the learning rates of `splatbench.optim_gpu.DeviceOptimiser`. Under autograd, clear gradients with
    `set_to_none=True` at the beginning of the step.

    If recording fails, a RuntimeWarning says why, `failure` holds the reason, and all steps run as they are.

    Args:
        step: does one step and returns its loss, a tensor of one value.
        warmup: steps before the recording (at least 1), in which kernels are compiled and memory is found.
        device: the CUDA device.

    Raises:
        ValueError: no CUDA device, or no warm-up.
    """

    def __init__(self, step: Callable[[], Tensor], warmup: int = 3, device: torch.device | str = "cuda") -> None:
        if warmup < 1:
            raise ValueError(f"CapturedStep: warmup must be at least 1, got {warmup}")
        self._step, self._warmup, self._device = step, warmup, torch.device(device)
        self._side = self._side_stream()
        self._replay: Callable[[], None] | None = None
        self.failure: str | None = None
        self.steps = 0
        self._checked = 0  # steps at the last `loss`
        self._last: Tensor | None = None
        # the sum of the losses since: not finite as soon as one of them was not
        self._sum = torch.zeros((), dtype=torch.float64, device=self._device)

    def __call__(self) -> None:
        """One step. Does not wait for the device once the graph is there."""
        if self._replay is None and self.failure is None and self.steps >= self._warmup:
            self._capture()
        if self._replay is not None:
            self._replay()
        else:
            with self._on_side_stream():
                self._run()
        self.steps += 1

    @property
    def captured(self) -> bool:
        """Whether steps come from a graph by now."""
        return self._replay is not None

    def loss(self) -> float:
        """The loss of the last step. Waits for the device: ask every so many steps.

        Raises:
            splatbench.trace.Diverged: a loss since the last call was NaN or infinite.
            RuntimeError: no step yet.
        """
        if self._last is None:
            raise RuntimeError("CapturedStep.loss: no step was made yet")
        last, total = torch.stack([self._last.double(), self._sum]).tolist()
        first, self._checked = self._checked + 1, self.steps
        if not math.isfinite(total):
            raise Diverged(f"the loss became NaN or infinite between steps {first} and {self.steps}")
        self._sum.zero_()
        return float(last)

    def _run(self) -> None:
        self._last = self._step().detach().reshape(())
        self._sum.add_(self._last)

    def _capture(self) -> None:
        try:
            self._replay = self._record()
        except RuntimeError as error:
            first = error.__context__ or error  # ending a recording that went wrong raises once more
            self.failure = str(first).strip().splitlines()[0]
            warnings.warn(
                f"the fitting step cannot be recorded in a CUDA graph and is slower without one: {self.failure}. "
                "A step must not read values from the device, nor copy from the host's memory",
                RuntimeWarning,
                stacklevel=3,
            )

    def _record(self) -> Callable[[], None]:
        """Records a step, without doing it, and returns what repeats it."""
        graph = torch.cuda.CUDAGraph()
        # the inner manager leaves its stream current if the recording fails; the outer puts back the one before
        with torch.cuda.stream(torch.cuda.current_stream(self._device)), torch.cuda.graph(graph, stream=self._side):
            self._run()
        return graph.replay

    def _side_stream(self) -> torch.cuda.Stream:
        """Recording needs a stream of its own, and what autograd keeps must have been made on it."""
        if self._device.type != "cuda" or not torch.cuda.is_available():
            raise ValueError(f"CapturedStep: CUDA graphs need a CUDA device, got {self._device}")
        return torch.cuda.Stream(self._device)

    def _on_side_stream(self) -> AbstractContextManager[object]:
        return _Beside(self._side)


class _Beside:
    """Work on another stream, after what the current one has to do and before what it gets to do next."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream, self._context = stream, torch.cuda.stream(stream)
        self._current = torch.cuda.current_stream(stream.device)

    def __enter__(self) -> None:
        self._stream.wait_stream(self._current)
        self._context.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._context.__exit__(*exception)
        self._current.wait_stream(self._stream)
