"""Checkpoints with the names of the released ones, in and out; everything is strict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splatbench.checkpoints import CheckpointError, first_names, fitting, read_checkpoint, write_checkpoint

from .official import OfficialNet

_STAGE = re.compile(r"feature_net\.convnext_encoder\.stages\.(\d+)\.\d+\.gamma")


def load_official(path: str | Path, block: int = 3, batch_statistics: bool = True) -> OfficialNet:
    """The network of a released checkpoint (`epoch_best_ks_3.pth` ...; or a .safetensors with the same names), in
    evaluation mode.

    Widths and depths are read from the weights themselves, so that reduced variants load as well.

    Args:
        path: the file; weights under "model", as released, or alone.
        block: k that the network was trained for. The weights do not know it, but the names of the released files do.
        batch_statistics: see `OfficialNet`.

    Raises:
        CheckpointError: the file is missing, damaged, holds no weights or another network's; names or shapes differ; a
            weight is NaN or infinite; or its name says another block.
    """
    path = Path(path)
    _check_block(path, block)
    state = read_checkpoint(path, "Its weights belong under the name `model`").state
    layout = _layout(state, path)
    with torch.device("meta"):  # no memory until the tensors of the file take their places
        net = OfficialNet(**layout, block=block, batch_statistics=batch_statistics)
    net.load_state_dict(fitting(state, net.state_dict(), str(path)), assign=True)
    return net.eval()


def save_official(path: str | Path, net: OfficialNet, epoch: int = 0) -> None:
    """Writes a checkpoint in the layout of the released ones, whole or not at all.

    Args:
        path: ending in .safetensors for that format, else as torch.save writes.
        net: what to save. Its block is not in the file: give the name the ending `_ks_<block>`, which loading checks.
        epoch: after which.
    """
    write_checkpoint(path, net, {"epoch": epoch})


def _check_block(path: Path, block: int) -> None:
    named = re.search(r"_ks_(\d+)", path.stem)
    if named and int(named[1]) != block:
        raise CheckpointError(
            f"{path}: by its name these weights were trained for blocks of {named[1]} pixels, the settings say "
            f"{block}; set `block: {named[1]}`, or take the other file"
        )


def _layout(state: Mapping[str, Tensor], where: Path) -> dict[str, Any]:
    """Widths and depths of the encoder, as arguments of OfficialNet."""
    found = [(int(match[1]), value.numel()) for name, value in state.items() if (match := _STAGE.fullmatch(name))]
    widths, depths = dict(found), Counter(stage for stage, _ in found)
    stages = range(len(widths))
    if not widths or set(widths) != set(stages) or min(widths.values()) < 2 or widths[0] % 2:
        raise CheckpointError(f"{where}: no network of Instant-GI; its first names are {first_names(state)}")
    return {"widths": tuple(widths[k] for k in stages), "depths": tuple(depths[k] for k in stages)}
