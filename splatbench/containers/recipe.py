"""What an image of ours is built from, as one hash: it tells whether an image, or a row made in it, is of today."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Literal

Kind = Literal["cpu", "gpu", "report"]
KINDS: tuple[Kind, ...] = ("cpu", "gpu", "report")

#: Label of an image that holds its recipe.
RECIPE_LABEL = "io.splatbench.recipe"
#: Where the project's files are: this checkout, or the same files in an image.
ROOT = Path(__file__).resolve().parents[2]
_SHARED = ("constraints.txt", "pyproject.toml")


def image_name(kind: Kind) -> str:
    """Name of an image of ours, without a tag."""
    return f"splatbench-{kind}"


def dockerfile(kind: Kind) -> str:
    """Path of an image's Dockerfile in the project."""
    return f"containers/{kind}/Dockerfile"


def recipe(kind: Kind, root: Path = ROOT) -> str:
    """Hex SHA-256 over names and contents of all that decides an image's environment: the Dockerfile, the files of its
    folder that it names (lists of packages), the pinned versions, the project's metadata. Our code is not among them:
    rows have its commit, and methods have versions. Nor is what else lies in the folder, such as an editor's files.

    Raises:
        FileNotFoundError: the project's files are not beside the library.
    """
    main = Path(root, dockerfile(kind))
    if not main.is_file():
        raise FileNotFoundError(2, "no recipe of an image: run this in a checkout of splatbench", str(main.parent))
    words = set(main.read_text(encoding="utf-8").split())
    lists = [path for path in main.parent.rglob("*") if path.relative_to(root).as_posix() in words]
    files = [main, *lists, *(root / name for name in _SHARED)]
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@functools.cache
def recipes() -> dict[str, str]:
    """Name of each image of ours -> today's recipe; empty where the project's files are not beside the library."""
    try:
        return {image_name(kind): recipe(kind) for kind in KINDS}
    except FileNotFoundError:
        return {}


def outdated(name: str, used: str) -> str | None:
    """Why what was made in an image is not what today's image would make; None where nothing is known against it.

    Args:
        name: as the image names itself, for instance splatbench-cpu.
        used: the recipe that it was built from; empty for an image that is not ours.
    """
    today = recipes().get(name)
    if not used or used == today:
        return None
    if today is None:
        return f"made in an image of a recipe that there is no more ({name} {used[:10]})"
    return f"made in an image of another recipe ({name} {used[:10]}, now {today[:10]})"
