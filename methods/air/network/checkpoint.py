"""Weights in and out of files: the authors' checkpoints, DINOv3's, and weights of one phase as the start of the next.

Nothing is unpickled but tensors and plain values, and everything is strict; the released loader skips what does not
fit.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from splatbench import checkpoints
from splatbench.checkpoints import Checkpoint, CheckpointError, first_names, fitting
from splatbench.files import sha256_file

from ..quantiser import Codec
from .airnet import QUANTISER, AirNet
from .head import HeadShape

_PATCH_KERNEL = "patch_embedding.patchify.conv.weight"


class Transfer(NamedTuple):
    """Names of what `transfer` took from the source, and of what keeps its initialisation."""

    kept: list[str]
    reinitialised: list[str]


def load_official(path: str | Path, shape: HeadShape | None = None) -> AirNet:
    """The network of an AIR checkpoint (`ps_7.pt` ...; or a .safetensors with the same names), in evaluation mode.

    Patch size, number of heads and whether there is a quantiser are read from the weights themselves; where the
    settings saved with them say otherwise, a warning says so. Large files are mapped and not read as a whole.

    Args:
        path: the file.
        shape: sizes of the heads; the published ones by default.

    Raises:
        CheckpointError: the file is missing, damaged, holds no weights or something else than AIR's, names or shapes
            differ, a weight is NaN or infinite, or the quantiser has other bit depths.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    layout = _layout(checkpoint.state, path)
    settings = checkpoint.notes.get("model_config")
    for sentence in _disagreements(settings if isinstance(settings, Mapping) else {}, layout):
        warnings.warn(f"{path}: {sentence}; the weights decide", RuntimeWarning, stacklevel=2)
    with torch.device("meta"):  # no memory until the tensors of the file take their places
        net = AirNet(**layout, shape=shape)
    if net.codec is not None:
        net.feed_forward_gaussian_codec = Codec(net.shape.encoder.width)  # it has constants that no file holds
    state = fitting(checkpoint.state, net.state_dict(), str(path))
    if net.codec is not None:
        _check_levels(state, net.codec, path)
    net.load_state_dict(state, assign=True)
    return net.eval()


def load_dinov3(path: str | Path, net: AirNet) -> None:
    """Puts the released `dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth` into the encoders of all heads.

    Raises:
        CheckpointError: as for `load_official`; or the checksum in the file's name is not the file's.
    """
    path = Path(path)
    state = read_checkpoint(path).state
    _check_name(path)
    if any(name.startswith("gaussian_heads.") for name in state):
        raise CheckpointError(f"{path}: this is a checkpoint of AIR, whose encoders are inside; use it as such")
    backbones = [head.encoder.backbone for head in net.gaussian_heads]
    state = fitting(state, backbones[0].state_dict(), f"{path} (DINOv3 ViT-B/16 with the names of its own release)")
    for backbone in backbones:
        backbone.load_state_dict(state)


def transfer(source: Mapping[str, Tensor], net: AirNet) -> Transfer:
    """Weights of one phase as the start of the next (paper's patch-size adaptation; a quantiser that is new).

    Patch embeddings of another patch size keep the initialisation of `net`, and so does the quantiser where the source
    has none. Everything else must fit.

    Raises:
        CheckpointError: names or shapes that differ elsewhere, or NaN or infinity among the values.
    """
    own = net.state_dict()
    new_quantiser = not any(name.startswith(QUANTISER) for name in source)
    reinitialised = [
        name
        for name, value in own.items()
        if (name.startswith(QUANTISER) and new_quantiser)
        or (name.endswith(_PATCH_KERNEL) and name in source and _is_kernel_like(source[name], value))
    ]
    kept = [name for name in own if name not in set(reinitialised)]
    others = {name: value for name, value in source.items() if name not in set(reinitialised)}
    net.load_state_dict(fitting(others, {name: own[name] for name in kept}, "the source of the weights"), strict=False)
    return Transfer(kept, reinitialised)


def save(net: AirNet, path: str | Path, epoch: int = 0, model_config: Mapping[str, Any] | None = None) -> None:
    """Writes a checkpoint in the layout of the released ones, whole or not at all.

    Args:
        net: what to save.
        path: ending in .safetensors for that format, else as torch.save writes.
        epoch: after which.
        model_config: plain values; by default number of heads, quantiser and patch size. The released loader builds its
            network from this block: pass on that of the file that training started from.
    """
    config = dict(model_config) if model_config is not None else _config(net)
    checkpoints.write_checkpoint(path, net, {"model_config": config, "epoch": epoch})


def read_checkpoint(path: str | Path) -> Checkpoint:
    """See `splatbench.checkpoints.read_checkpoint`."""
    return checkpoints.read_checkpoint(
        path, "The released training writes `latest.pt` without any: use the numbered file beside it"
    )


def _layout(state: Mapping[str, Tensor], where: Path) -> dict[str, Any]:
    """Patch size, number of heads and quantiser, as arguments of AirNet."""
    indices = {int(m[1]) for name in state if (m := re.match(r"gaussian_heads\.(\d+)\.", name))}
    kernel = state.get(f"gaussian_heads.0.{_PATCH_KERNEL}")
    if not indices or kernel is None:
        dinov3 = "blocks.0.attn.qkv.weight" in state
        what = "these are weights of a DINOv3 encoder, which training starts from" if dinov3 else "no network of AIR"
        raise CheckpointError(f"{where}: {what}; its first names are {first_names(state)}")
    if kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3]:
        raise CheckpointError(f"{where}: {_PATCH_KERNEL} has shape {list(kernel.shape)}, no square patches")
    quantise = any(name.startswith(QUANTISER) for name in state)
    return {"patch": int(kernel.shape[2]), "heads": max(indices) + 1, "quantise": quantise}


def _check_levels(state: Mapping[str, Tensor], codec: Codec, where: Path) -> None:
    """The steps of the quantiser are constants for these bit depths, and of no use for others."""
    for name, own in codec.state_dict(prefix=QUANTISER).items():
        if name.endswith("_per_channel") and not torch.equal(state[name], own):
            raise CheckpointError(
                f"{where}: {name} is {state[name].tolist()}, the published quantiser has {own.tolist()}"
            )


def _is_kernel_like(source: Tensor, own: Tensor) -> bool:
    """A patch kernel of the same channels and another side."""
    return source.ndim == 4 and source.shape[:2] == own.shape[:2] and source.shape != own.shape


def _config(net: AirNet) -> dict[str, Any]:
    return {
        "num_heads": net.stages,
        "quantise": net.codec is not None,
        "head": {"patch_embedding": {"patch_size": net.patch}},
    }


def _disagreements(config: Mapping[str, Any], layout: Mapping[str, Any], under: str = "") -> list[str]:
    """Sentences about what saved settings say of patch size, heads and quantiser, where that differs from the weights.

    The names of the released settings are not documented: only what can mean nothing else is compared.
    """
    found = []
    for key, value in config.items():
        name = str(key).lower()
        if isinstance(value, Mapping):
            found += _disagreements(value, layout, f"{under}{name}.")
            continue
        if isinstance(value, bool):
            about = "quantise" if name.startswith("quanti") and not under else None
        elif "patch_embedding." in under and name in ("patch_size", "patch"):
            about = "patch"
        else:
            about = "heads" if name in ("num_heads", "num_gaussian_heads") and not under else None
        if about and value != layout[about]:
            found.append(f"its settings say {under}{key} = {value!r}, its weights {layout[about]!r}")
    return found


def _check_name(path: Path) -> None:
    """Names of released weights end in the first digits of their SHA-256."""
    match = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    if match and not sha256_file(path).startswith(match[1]):
        raise CheckpointError(f"{path}: the SHA-256 does not begin with {match[1]} as its name says; download it again")
