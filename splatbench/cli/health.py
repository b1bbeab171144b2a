"""Whether the software works: what `splatbench doctor --check` and the images' health checks ask."""

from __future__ import annotations

import math
import re
from importlib import import_module, metadata

#: What fails when it is imported, not when it is installed: compiled packages, by the name of their distribution.
_COMPILED = {"torch": "torch", "torchvision": "torchvision", "numba": "numba", "constriction": "constriction",
             "imagecodecs": "imagecodecs", "pillow": "PIL", "scipy": "scipy"}  # fmt: skip
#: Its image leaves out what reports do not need (containers/report/requirements.txt).
_PARTIAL_IMAGE = "splatbench-report"


def broken() -> list[str]:
    """Sentences about what does not work; empty if nothing is known to be broken. Takes seconds."""
    return [*_missing(), *_not_importable(), *_methods(), *_rendering()]


def _missing() -> list[str]:
    from splatbench.containers.identity import facts

    inside = facts()
    if inside is not None and inside.name == _PARTIAL_IMAGE:
        return []
    needed = [text for text in metadata.requires("splatbench") or () if "extra ==" not in text]
    names = [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in needed]
    return [f"the package {name} is not installed" for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _not_importable() -> list[str]:
    faults = []
    for name, module in _COMPILED.items():
        if _installed(name):
            try:
                import_module(module)
            except Exception as error:  # whatever a broken package raises
                faults.append(f"the package {name} cannot be imported: {type(error).__name__}: {error}")
    return faults


def _methods() -> list[str]:
    from splatbench.method import available, get_method

    faults = [] if available() else ["no methods are found: methods/ has to lie beside the library"]
    for name in available():
        try:
            get_method(name)
        except Exception as error:  # whatever a folder of somebody's method raises
            faults.append(f"the method {name} cannot be loaded: {type(error).__name__}: {error}")
    return faults


def _rendering() -> list[str]:
    """One Gaussian on 16x16 pixels, drawn by the compiled kernels, against its formula."""
    try:
        import torch

        from splatbench.gaussians import Gaussians2D
        from splatbench.render import render

        picture = render(
            Gaussians2D(
                size=(16, 16),
                blend="sum",
                means=torch.tensor([[8.5, 8.5]]),
                colors=torch.tensor([[1.0, 0.5, 0.25]]),
                scales=torch.tensor([[2.0, 2.0]]),
                angles=torch.tensor([0.0]),
            )
        )
        found = picture[8, 8:11, 0].tolist()
    except Exception as error:  # compilers and drivers raise anything
        return [f"Gaussians cannot be rendered: {type(error).__name__}: {error}"]
    wanted = [math.exp(-(distance**2) / 8) for distance in range(3)]
    if not all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(found, wanted, strict=True)):
        return [f"Gaussians are rendered wrongly: {found} instead of {wanted}"]
    return []
