"""Downloaded weights of metrics: where they may lie, whether they are the right ones, and how to get them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from splatbench.files import sha256_file
from splatbench.metrics.registry import MetricError, MetricNotRun

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = Path(__file__).resolve().parents[2] / "datasets" / "weights.yaml"


class WeightFile(BaseModel):
    """A file that holds the weights. `urls` may be empty: then it is accepted where it lies but not fetched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^[\w.-]+$")
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    urls: tuple[str, ...] = ()
    note: str = ""


class Weights(BaseModel):
    """The weights that one metric needs: any one of `files` will do, the first that is found is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    licence: str
    citation: str
    files: tuple[WeightFile, ...] = Field(min_length=1)
    linear: WeightFile  # comes inside the lpips package

    @property
    def download(self) -> WeightFile | None:
        """The file that `fetch` gets."""
        return next((file for file in self.files if file.urls), None)


def manifest() -> dict[str, Weights]:
    """datasets/weights.yaml by name.

    Raises:
        MetricError: the manifest is missing or does not fit the schema.
    """
    try:
        content = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Weights]).validate_python(content["weights"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise MetricError(f"cannot read the weights manifest {MANIFEST}: {error}") from error


def get_weights(name: str) -> Weights:
    """Raises MetricError for an unknown name, naming the nearest."""
    known = manifest()
    if name not in known:
        from splatbench.method import nearest  # imports torch, which listing weights must not

        raise MetricError(f"unknown weights {name!r}{nearest(name, known)}")
    return known[name]


def cache_folder() -> Path:
    """Where `fetch` puts weights: `weights` in SPLATBENCH_CACHE or the user's cache folder."""
    import platformdirs

    root = os.environ.get("SPLATBENCH_CACHE") or platformdirs.user_cache_dir("splatbench")
    return Path(root).expanduser() / "weights"


def folders() -> list[Path]:
    """Where weights are looked for: SPLATBENCH_WEIGHTS (several, separated like PATH), our cache, torch.hub's cache."""
    given = [Path(p).expanduser() for p in os.environ.get("SPLATBENCH_WEIGHTS", "").split(os.pathsep) if p]
    xdg = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or xdg / "torch").expanduser()
    return [*given, cache_folder(), torch_home / "hub" / "checkpoints"]


def find(name: str) -> tuple[Path, WeightFile] | None:
    """The first file of the manifest that lies in one of the folders with the right size; not yet hashed."""
    for file in get_weights(name).files:
        for folder in folders():
            path = folder / file.file
            if path.is_file() and path.stat().st_size == file.bytes:
                return path, file
    return None


def locate(name: str) -> Path:
    """The weights' path, after its SHA-256 was compared with the manifest.

    Raises:
        MetricNotRun: missing or damaged; says where they were looked for and the command that gets them.
    """
    damaged = []
    for file in get_weights(name).files:
        for folder in folders():
            path = folder / file.file
            if not path.is_file():
                continue
            if path.stat().st_size == file.bytes and _sha256(path, path.stat().st_mtime_ns) == file.sha256:
                return path
            damaged.append(str(path))
    raise MetricNotRun(missing(name, damaged))


def missing(name: str, damaged: list[str] | None = None) -> str:
    """Why the weights cannot be used and what to do."""
    weights = get_weights(name)
    wanted = weights.download or weights.files[0]
    found = f"; found but not the right bytes: {', '.join(damaged)}" if damaged else ""
    return (
        f"weights {wanted.file} ({wanted.bytes / 2**20:.1f} MiB) not found{found}. Get them with "
        f"`splatbench weights fetch {name}`, or put the file into a folder named by SPLATBENCH_WEIGHTS"
    )


def linear(name: str, folder: Path) -> Path:
    """LPIPS's own linear layers, which come inside its package.

    Raises:
        MetricNotRun: the installed package holds other bytes.
    """
    file = get_weights(name).linear
    path = folder / file.file
    if not path.is_file() or _sha256(path, path.stat().st_mtime_ns) != file.sha256:
        raise MetricNotRun(f"{path} is not the LPIPS v0.1 file of the manifest; install the package lpips 0.1.4 again")
    return path


def fetch(name: str, progress: Callable[..., Any] | None = None) -> Path:
    """Downloads the weights into the cache folder unless verified ones are there already; returns their path.

    Raises:
        MetricError: unknown name, or the manifest has no address for it.
        OSError: the download failed; names the address and the reason.
    """
    try:
        return locate(name)
    except MetricNotRun:
        pass
    file = get_weights(name).download
    if file is None:
        raise MetricError(f"weights {name}: the manifest has no address to fetch them from")
    from splatbench.datasets.download import fetch_file

    destination = cache_folder() / file.file
    fetch_file(list(file.urls), destination, file.bytes, file.sha256, progress)
    return destination


def load(path: Path) -> dict[str, Tensor]:
    """A state dictionary from .safetensors, or from .pth without running anything in it."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise MetricNotRun(f"{path} holds no state dictionary")
    return state


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, modified: int) -> str:
    """Hashed once per process and file version."""
    return sha256_file(path)
