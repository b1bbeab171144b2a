"""Settings of what others made: a program in a container, or files."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from splatbench.containers.contract import Decoder
from splatbench.containers.engines import get_engine
from splatbench.containers.task import EngineMissing, EngineName, ImageMissing, Limits
from splatbench.method import build_dataclass

from .files import check_pattern, digest_of

#: Characters of `settings` as JSON.
MAX_SETTINGS = 1 << 16
#: Of a limit: in bytes it still fits 63 bits. Of the time limit: ten years, which every clock and wait can hold.
MAX_LIMIT, MAX_SECONDS = 1 << 40, 10 * 366 * 86400


@dataclass(frozen=True)
class Config:
    """Exactly one of `image`, `command` alone (engine process), `files` and `imported` says where results come from.

    Attributes:
        image: reference of a container image, e.g. "team/method:1.0" or "team/method@sha256:...".
        command: replaces the image's command; with engine process the program itself, a list or one shell-like line.
        files: pattern of files that hold finished results, with {image} for the picture's name and perhaps {seed}.
        imported: what made results that `splatbench import` takes one by one, in words; no experiment makes these.
        engine: what runs the image; "process" is a child process without any isolation.
        decoder: "gaussians": the program's answer is Gaussians or a .s2d file; "container": it is a payload that the
            same program decodes.
        clock: "marks": the time between the program's marks is the encode time; "container": its whole life is.
        settings: plain values that the program is given as they are.
        limits: what a run may use.
        digest: of the image, or of all files of the pattern. Filled in where the engine knows the image, or where there
            are files; a given one must be that of the image or the files.

    Raises:
        ValueError: fields that do not go together or are out of range.
    """

    image: str = ""
    command: tuple[str, ...] = ()
    files: str = ""
    imported: str = ""
    engine: EngineName = "docker"
    decoder: Decoder = "gaussians"
    clock: Literal["marks", "container"] = "marks"
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    limits: Limits = field(default_factory=Limits)
    digest: str = ""

    def __post_init__(self) -> None:
        if self.files:
            if self.decoder == "container":
                raise ValueError("decoder: finished results are decoded here; there is no container to do it")
            check_pattern(self.files)
        if self.engine == "process" and self.image:
            raise ValueError("engine process runs no image: leave `image` out, or choose docker or apptainer")
        program = bool(self.command) if self.engine == "process" else bool(self.image)
        if program + bool(self.files) + bool(self.imported) != 1:
            needs = "`command: [program, ...]`" if self.engine == "process" else "`image: NAME`"
            raise ValueError(f"give {needs} (engine {self.engine}), or `files: PATTERN` for finished results")
        if self.digest and not ((self.image or self.files) and re.fullmatch("sha256:[0-9a-f]{64}", self.digest)):
            raise ValueError(f"digest: expected sha256: and 64 hex digits, of an image or files; got {self.digest!r}")
        for item in fields(self.limits):
            value, least = getattr(self.limits, item.name), 0 if item.name == "threads" else 1
            most = MAX_SECONDS if item.name == "seconds" else MAX_LIMIT
            if not least <= value <= most:
                raise ValueError(f"limits.{item.name} must be from {least} to {most}, got {value}")
        try:
            text = json.dumps(self.settings, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"settings must be plain values that JSON can hold: {error}") from None
        if len(text) > MAX_SETTINGS:
            raise ValueError(f"settings of {len(text)} characters are too long; {MAX_SETTINGS} are allowed")

    @property
    def program(self) -> str:
        """What is run, for people."""
        return self.image or shlex.join(self.command)


def make_config(settings: Mapping[str, Any], where: str) -> Config:
    """As `Method.make_config`; asks the engine for the digest of an image that is given without, reads the files.

    Raises:
        MethodError: unknown or unfit settings.
    """
    values = dict(settings)
    if isinstance(values.get("command"), str):
        values["command"] = shlex.split(values["command"])
    if isinstance(values.get("limits"), Mapping):
        values["limits"] = build_dataclass(Limits, values["limits"], f"{where}: limits")
    config: Config = build_dataclass(Config, values, where)
    if config.image and not config.digest:
        return replace(config, digest=known_digest(config.engine, config.image))
    if config.files and not config.digest:
        return replace(config, digest=digest_of(config.files))
    return config


@functools.cache
def known_digest(engine: EngineName, image: str) -> str:
    """Digest of an image; empty where the engine or the image is not here. Asked once per process."""
    try:
        return get_engine(engine).digest(image)
    except (EngineMissing, ImageMissing):
        return ""
