"""Builds and lists the images of this project."""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError
from docker.utils.build import exclude_paths

from splatbench.containers.docker import daemon
from splatbench.containers.recipe import KINDS, RECIPE_LABEL, ROOT, Kind, dockerfile, image_name, recipe

#: Build arguments for networks that need them; they reach the stages that install packages, and no image.
NETWORK_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST")
_CERTIFICATES = "containers/certificates"
_LAST_LINES = 15
#: Steps of a build may say nothing for as long: a layer of gigabytes is copied.
_SILENCE_SECONDS = 3600


class BuildFailed(RuntimeError):
    """An image could not be built; the text has the end of the log and says what may help."""


@dataclass(frozen=True)
class SuiteImage:
    """An image of ours as the docker daemon has it.

    Attributes:
        digest: "sha256:..." of its content; None where it is not on this machine.
        created: UTC, ISO 8601.
        size: bytes of all its layers.
        current: whether it was built from today's recipe.
    """

    name: str
    digest: str | None = None
    created: str = ""
    size: int = 0
    recipe: str = ""
    revision: str = ""
    current: bool = False


def build(
    kind: Kind,
    *,
    base: str | None = None,
    ca_bundle: Path | None = None,
    network: str | None = None,
    arguments: Mapping[str, str] | None = None,
    revision: str = "",
    log: Callable[[str], None] = lambda text: None,
) -> SuiteImage:
    """Builds an image of ours with docker, from the tracked files of this checkout as they are now.

    Args:
        base: takes the place of the pinned base image: Debian 12 or what is like it.
        ca_bundle: PEM file of certificates that the stage which installs packages trusts.
        network: of the build, for instance "host"; docker's default otherwise.
        arguments: more build arguments, for instance PIP_INDEX_URL.
        revision: what the image says of its code: the commit, with "-dirty" if files were changed.
        log: gets the builder's output as it comes, and which files stay out because git does not know them.

    Raises:
        EngineMissing: no docker daemon answers.
        BuildFailed: a step failed, or the base image cannot be had.
        FileNotFoundError: not a checkout, or no such bundle.
    """
    given = {**(arguments or {}), "RECIPE": recipe(kind), "REVISION": revision}
    if base:
        given["BASE"] = base
    if unknown := untracked_files():
        log(f"git does not know these files, so the image will not have them: {', '.join(unknown)}\n")
    with context(ca_bundle) as archive, daemon(_SILENCE_SECONDS) as client:
        try:
            steps = client.api.build(
                fileobj=archive,
                custom_context=True,
                dockerfile=dockerfile(kind),
                tag=image_name(kind),
                buildargs=given,
                network_mode=network,
                rm=True,
                forcerm=True,
                decode=True,
            )
            _follow(kind, steps, log)
        except APIError as error:
            raise BuildFailed(
                f"the image {image_name(kind)} could not be built: {error.explanation or error}"
            ) from error
        return inspect(client, kind)


def _follow(kind: Kind, steps: Iterator[dict[str, Any]], log: Callable[[str], None]) -> None:
    last: list[str] = []
    for step in steps:
        if text := step.get("stream", ""):
            log(text)
            last = [*last, *text.splitlines()][-_LAST_LINES:]
        if error := step.get("error"):
            raise BuildFailed(
                f"the image {image_name(kind)} could not be built: {error}\n" + "\n".join(last) + "\n"
                "Where the network has a proxy: --ca-bundle, --network host and --build-arg (docs/containers.md)"
            )


def inspect(client: docker.DockerClient, kind: Kind) -> SuiteImage:
    """What the daemon knows of an image of ours."""
    name = image_name(kind)
    try:
        found = client.images.get(name)
    except docker.errors.ImageNotFound:
        return SuiteImage(name)
    built_from = found.labels.get(RECIPE_LABEL, "")
    return SuiteImage(
        name=name,
        digest=str(found.id),
        created=str(found.attrs.get("Created", ""))[:19],
        size=int(found.attrs.get("Size", 0)),
        recipe=built_from,
        revision=found.labels.get("org.opencontainers.image.revision", ""),
        current=built_from == recipe(kind),
    )


def suite_images() -> list[SuiteImage]:
    """All images of ours, also those that are not on this machine.

    Raises:
        EngineMissing: no docker daemon answers.
    """
    with daemon() as client:
        return [inspect(client, kind) for kind in KINDS]


@contextlib.contextmanager
def context(ca_bundle: Path | None = None, root: Path = ROOT) -> Iterator[IO[bytes]]:
    """The files that an image is built from, as a tar: what .dockerignore leaves, tracked by git where there is git,
    with certificates. Owners are left out; times stay, since compiled kernels are kept by them.

    Raises:
        FileNotFoundError: no such bundle.
        ValueError: the bundle is no PEM file of certificates.
    """
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name in context_files(root):
                archive.add(root / name, name, recursive=False, filter=_without_owner)
            if ca_bundle is not None:
                if b"-----BEGIN CERTIFICATE-----" not in ca_bundle.read_bytes():
                    raise ValueError(f"{ca_bundle}: not a PEM file of certificates")
                archive.add(ca_bundle.resolve(), f"{_CERTIFICATES}/bundle.crt", filter=_without_owner)
        file.seek(0)
        yield file


def context_files(root: Path = ROOT) -> list[str]:
    """Paths of these files relative to the project, sorted.

    Raises:
        FileNotFoundError: `root` is no checkout.
    """
    names, tracked = _wanted(root), _tracked(root)
    return sorted(name for name in names if tracked is None or name in tracked or _is_certificate(name))


def untracked_files(root: Path = ROOT) -> list[str]:
    """Files that would be in the context if git knew them, sorted; what git ignores is not among them."""
    if _tracked(root) is None:
        return []
    return sorted(_wanted(root) & _listed(root, "--others", "--exclude-standard"))


def _wanted(root: Path) -> set[str]:
    """What .dockerignore leaves."""
    rules = root / ".dockerignore"
    if not rules.is_file():
        raise FileNotFoundError(2, "images are built in a checkout of splatbench", str(rules))
    lines = (line.strip() for line in rules.read_text(encoding="utf-8").splitlines())
    patterns = [line for line in lines if line and not line.startswith("#")]
    return {name for name in exclude_paths(str(root), patterns) if Path(root, name).is_file()}


def _is_certificate(name: str) -> bool:
    return name.startswith(f"{_CERTIFICATES}/") and name.endswith(".crt")


def _tracked(root: Path) -> set[str] | None:
    return _listed(root) if (root / ".git").exists() else None


def _listed(root: Path, *options: str) -> set[str]:
    command = ["git", "-C", str(root), "ls-files", "-z", *options]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")) - {""}


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member
