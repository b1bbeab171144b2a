"""The image that this process runs in."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from splatbench.files import sha256_file
from splatbench.record import ContainerImage

#: What `splatbench containers run` and the workflow tell the inside: nothing in a container can tell its own digest.
NAME_VARIABLE = "SPLATBENCH_IMAGE"
DIGEST_VARIABLE = "SPLATBENCH_IMAGE_DIGEST"
#: What our Dockerfiles leave in an image.
_FACTS = Path("/opt/splatbench/image.json")
#: Left by docker and podman.
_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


@dataclass(frozen=True)
class Facts:
    """What an image of ours says of itself.

    Attributes:
        name: for instance splatbench-cpu.
        recipe: hash of what its environment is built from (`splatbench.containers.recipe`).
        revision: commit of the code in it, with "-dirty" where files were changed; empty where nobody told.
    """

    name: str
    recipe: str
    revision: str


@functools.cache
def facts() -> Facts | None:
    """None outside our images.

    Raises:
        ValueError: the file is there but not what our Dockerfiles write.
    """
    try:
        read = json.loads(_FACTS.read_text(encoding="utf-8"))
        return Facts(**{key: str(read[key]) for key in ("name", "recipe", "revision")})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{_FACTS} does not describe an image of splatbench: {error!r}") from error


@functools.cache
def this_image() -> ContainerImage | None:
    """The image that this process runs in, ours or another; None outside of containers.

    The variables count only inside a container, so that what somebody exported by mistake describes no image.
    """
    inside, sif = facts(), os.environ.get("APPTAINER_CONTAINER", "")
    if inside is None and not sif and not any(mark.exists() for mark in _MARKS):
        return None
    name = os.environ.get(NAME_VARIABLE) or (inside.name if inside else Path(sif).name)
    if not name:
        return None  # somebody's container that nobody named: there is nothing to say of it
    return ContainerImage(
        name=inside.name if inside else name,
        digest=os.environ.get(DIGEST_VARIABLE) or _digest_of_file(sif),
        engine="apptainer" if sif else "docker",
        recipe=inside.recipe if inside else "",
    )


def _digest_of_file(path: str) -> str:
    """Of an image that is a file; empty where it is none or cannot be seen from inside."""
    try:
        return f"sha256:{sha256_file(path)}" if path else ""
    except OSError:
        return ""


def revision() -> tuple[str | None, bool | None]:
    """Commit of the code in this image, and whether it had changes; (None, None) outside of our images."""
    inside = facts()
    if inside is None or not inside.revision:
        return None, None
    return inside.revision.removesuffix("-dirty"), inside.revision.endswith("-dirty")
