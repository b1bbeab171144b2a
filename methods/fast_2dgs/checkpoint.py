"""The authors' checkpoints, read strictly. Which network a file holds is seen from its names and shapes: the attribute
networks with and without offsets differ in both head and bottleneck."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from splatbench.checkpoints import CheckpointError, first_names, fitting, read_checkpoint

from .unet import AttributeNet, HeatNet, Shape, UNet

Net = TypeVar("Net", bound=UNet)
_FIRST, _REDUCE = "inc.block.0.weight", "bottleneck_reduce.0.weight"


def load_heat(path: Path) -> HeatNet:
    """The heat network of a file (`smp_heat_div2k` ...), in evaluation mode.

    Raises:
        CheckpointError: missing, damaged, another network, names or shapes that differ, NaN or infinity.
    """
    state = read_checkpoint(path).state
    _outputs(state, HeatNet.head, AttributeNet.head, path, "heat", "attribute_weights")
    return _filled(HeatNet, state, path)


def load_attributes(path: Path) -> AttributeNet:
    """The attribute network of a file (`smp_feat_best_psnr_26_plus` with offsets, `smp_feat_best_psnr_26` without), in
    evaluation mode.

    Raises:
        CheckpointError: as for `load_heat`.
    """
    state = read_checkpoint(path).state
    outputs = _outputs(state, AttributeNet.head, HeatNet.head, path, "attribute", "heat_weights")
    if outputs not in (6, 8):
        raise CheckpointError(f"{path}: its head has {outputs} outputs; attributes are 8 with offsets, 6 without")
    return _filled(lambda shape: AttributeNet(shape, offset=outputs == 8), state, path)


def _outputs(state: Mapping[str, Tensor], head: str, other: str, path: Path, kind: str, belongs: str) -> int:
    """Channels of the head, if it is the right network."""
    last = state.get(f"{head}.6.weight")
    if last is not None and all(name in state and state[name].ndim == 4 for name in (_FIRST, _REDUCE)):
        return int(last.shape[0])
    if f"{other}.6.weight" in state:
        raise CheckpointError(f"{path}: this is the other network of Fast-2DGS; it belongs to `{belongs}`")
    raise CheckpointError(f"{path}: no {kind} network of Fast-2DGS; its first names are {first_names(state)}")


def _filled(build: Callable[[Shape], Net], state: Mapping[str, Tensor], path: Path) -> Net:
    shape = Shape(base=int(state[_FIRST].shape[0]), k_dim=int(state[_REDUCE].shape[0]))
    with torch.device("meta"):  # no memory until the tensors of the file take their places
        net = build(shape)
    net.load_state_dict(fitting(state, net.state_dict(), str(path)), assign=True)
    return net.eval()
