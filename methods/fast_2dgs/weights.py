"""Which files of weights a run uses, and the networks that come out of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from splatbench.method import MethodError, WeightsMissing
from splatbench.weight_files import find_weights, fingerprint

from .checkpoint import load_attributes, load_heat
from .config import Config
from .gather import Convention
from .model import load_small
from .unet import AttributeNet, HeatNet

#: Weights that come with the method.
SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "fast-2dgs-small.safetensors"
#: Names of the released files, the newest first, and endings that people give them.
HEAT = ("smp_heat_div2k", "smp_heat_500_0.0005")
ATTRIBUTES = ("smp_feat_best_psnr_26_plus", "smp_feat_best_psnr_26")
_ENDINGS = (".pth", ".pt", ".safetensors", "")
_HINT = (
    "the authors' weights come with github.com/Aztech-Lab/Fast-2DGS: put them into a folder of SPLATBENCH_WEIGHTS, or "
    "set `heat_weights` and `attribute_weights` to the files"
)


@dataclass(frozen=True)
class Networks:
    """What a run works with.

    Attributes:
        heat, attributes: in evaluation mode, on the device.
        convention: what their positions and angles mean.
        note: which weights, for the record.
    """

    heat: HeatNet
    attributes: AttributeNet
    convention: Convention
    note: str


def find(config: Config) -> list[Path]:
    """The files: one of ours, or those of the heat and of the attribute network.

    Raises:
        WeightsMissing: it is not there; says where it was looked for.
    """
    if config.filled()["networks"] == "small":
        return [find_weights(config.weights or DEFAULT, SHIPPED)]
    return [_released(config.heat_weights, HEAT), _released(config.attribute_weights, ATTRIBUTES)]


def _released(given: str, names: tuple[str, ...]) -> Path:
    if given:
        return find_weights(given, SHIPPED, _HINT)
    missing = ""
    for name in (name + ending for name in names for ending in _ENDINGS):
        try:
            return find_weights(name, SHIPPED)
        except WeightsMissing as error:
            missing = missing or str(error)
    endings = ", ".join(ending for ending in _ENDINGS if ending)
    raise WeightsMissing(f"{missing}, and for {' and '.join(names)} with the endings {endings} there; {_HINT}")


def identity(config: Config) -> str:
    """Digits that tell weights apart.

    Raises:
        WeightsMissing: see `find`.
    """
    prints = [fingerprint(path) for path in find(config)]
    return prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()[:16]


def load(config: Config, device: str) -> Networks:
    """The networks of the settings.

    Raises:
        WeightsMissing: see `find`.
        MethodError: a file is damaged or holds another network.
    """
    paths = find(config)
    note = ", ".join(f"weights {path.name}, fingerprint {fingerprint(path)}" for path in paths)
    if len(paths) == 2:
        return Networks(load_heat(paths[0]).to(device), load_attributes(paths[1]).to(device), "published", note)
    model = load_small(paths[0]).to(device)
    if model.attributes is None:
        raise MethodError(f"{paths[0]}: holds the heat network alone; train its attributes, or take another file")
    return Networks(model.heat, model.attributes, model.convention, note)
