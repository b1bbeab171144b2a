"""What all Triton kernels of the project share: how they are launched, and on which tensors."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton
from torch import Tensor

#: Multiplications and additions are fused only where the kernels say so: the same formula in two kernels gives the
#: same bits.
OPTIONS: dict[str, Any] = {"enable_fp_fusion": False}
#: Numbers that change from input to input: no kernel is compiled anew for special values of them.
NUMBERS = (
    *("n", "part", "parts", "total", "capacity", "height", "width"),
    *("tiles_x", "tiles", "node_w", "node_h", "nodes_x", "nodes"),
)


def is_interpreted(kernel: Any) -> bool:
    """Whether Triton interprets this kernel, in Python on the CPU (TRITON_INTERPRET=1 when it was defined)."""
    return not isinstance(kernel, triton.JITFunction)


def require_device(kernel: Any, name: str, tensor: Tensor) -> None:
    """Raises ValueError if `kernel` cannot work on this tensor."""
    if tensor.device.type == "cuda" or (is_interpreted(kernel) and tensor.device.type == "cpu"):
        return
    raise ValueError(
        f"{name}: the Triton kernels need a CUDA device, got a tensor on {tensor.device}; "
        "set TRITON_INTERPRET=1 before Python starts to have them interpreted on the CPU (very slow, for tests)"
    )


def on_device(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Launches inside go to this device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)
