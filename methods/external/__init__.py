"""What others made, measured beside ours: a program in a container that keeps the file contract, or finished files.

docs/container-contract.md and docs/import.md say how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from splatbench.budget import Budget
from splatbench.codec import decode, peek_method
from splatbench.codec.pictures import decode_picture
from splatbench.containers import contract
from splatbench.containers.answer import Content, array_picture, clean
from splatbench.exchange import NamedArrays, parse_arrays, to_gaussians
from splatbench.gaussians import Gaussians2D
from splatbench.method import Decoded, Method, MethodError, Unavailable
from splatbench.trace import Outside, Trace

from . import container, files, layout
from .config import Config, known_digest, make_config
from .reasons import as_reason


@dataclass(frozen=True)
class Encoding:
    """What somebody else's encoder gave: Gaussians, or the content of a file that stays as it is."""

    gaussians: Gaussians2D | None = None
    data: bytes = b""
    nominal_bits: int | None = None  # as told


class External(Method):
    title = "External"
    implementation = "external"
    outside = True
    on_request = ("cuda",)
    budgets = ("gaussians", "compression_ratio", "matched_to", "native", "bpp")
    suffixes = (".s2d", ".payload")
    Config = Config
    config: Config

    def __init__(self, config: Config, device: str = "cpu") -> None:
        super().__init__(config, device)
        self._container = container.Container(config, device)

    @property
    def container(self) -> Mapping[str, str] | None:
        return None if self.config.files or self.config.imported else self._container.identity

    @classmethod
    def make_config(cls, settings: Mapping[str, Any]) -> Config:
        return make_config(settings, f"method {cls.name or 'external'}")

    @classmethod
    def fingerprint(cls, config: Config) -> str:
        return container.program_hash(config)

    @classmethod
    def outdated(cls, config: Config) -> str | None:
        """Where the engine or the files are here: whether the names stand for another content now."""
        if config.files and (today := files.digest_of(config.files)) not in ("", config.digest):
            return f"the files {config.files} hold other results now ({today})"
        if not config.image:
            return None
        today = known_digest(config.engine, config.image)
        if not today or today == config.digest:
            return None
        return f"the image {config.image} is another one now ({today})"

    @property
    def suffix(self) -> str:
        return ".payload" if self.config.decoder == "container" else ".s2d"

    def prepare(self) -> None:
        """Raises Unavailable where the engine, the image or the files are not here, or not those of the digest."""
        if self.config.files:
            files.check_digest(self.config.files, self.config.digest)
        elif self.config.imported:
            raise Unavailable(
                f"{self.config.imported}: such rows are made by `splatbench import` alone (docs/import.md)"
            )
        else:
            self._container.program()

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Encoding:
        """Has the program encode a picture, uint8 [H, W, 3], in a fresh container; or reads the file of its result.

        Raises:
            MethodError, Diverged, MemoryError, Unavailable: it gave no valid encoding; says why.
        """
        self.check_image(image)
        if self.config.files:
            return self._read(files.path_of(self.config.files, trace.subject, seed), image, budget, trace)
        if self.config.imported:  # the subject is the file itself
            return self._read(Path(trace.subject), image, budget, trace)
        with trace.paused():
            made = self._container.encode(image, budget, seed)
            height, width = image.shape[:2]
            encoding = self._encoding(made.content, made.report.nominal_bits, (height, width), budget)
        trace.count(made.seconds)
        trace.steps = made.report.iterations or 0
        for note in made.notes:
            trace.note(note)
        if budget.seconds is not None and made.seconds > 1.05 * budget.seconds:
            trace.note(f"it took {made.seconds:.2f} s, the budget allows {budget.seconds:g} s")
        trace.outside = Outside(peak_memory_mib=made.peak_memory_mib)
        return encoding

    @staticmethod
    def _read(path: Path, image: np.ndarray, budget: Budget, trace: Trace) -> Encoding:
        height, width = image.shape[:2]
        found = files.read(path, (height, width), trace, budget.count(height, width))
        return Encoding(data=found.data, nominal_bits=found.nominal_bits)

    @staticmethod
    def _encoding(content: Content, bits: int | None, size: tuple[int, int], budget: Budget) -> Encoding:
        """Raises MethodError for named arrays that do not fit the picture or its budget; files are looked at later."""
        if content.name not in contract.GAUSSIANS:
            return Encoding(data=content.data, nominal_bits=bits)
        named = _named(content, budget.count(*size))
        return Encoding(
            _gaussians(content.name, named, size), nominal_bits=named.facts.nominal_bits if bits is None else bits
        )

    def to_bytes(self, encoding: Encoding) -> bytes:
        return layout.to_bytes(encoding.gaussians) if encoding.gaussians is not None else encoding.data

    @staticmethod
    def from_bytes(data: bytes) -> Decoded:
        """Of a .s2d file of any method; a payload needs `decode`."""
        return layout.from_bytes(data) if peek_method(data) == "external" else decode(data)

    def decode(self, data: bytes, clock: Trace | None = None) -> Decoded:
        """As `from_bytes`; a payload is decoded by the program, in a fresh container that has nothing else."""
        if self.config.decoder == "gaussians":
            with as_reason("the file cannot be decoded"):
                return self.from_bytes(data)
        clock = clock or Trace()
        with clock.paused():
            made = self._container.decode(data)
        clock.count(made.seconds)
        try:
            return _picture(made.content)
        except ValueError as error:
            raise MethodError(f"the decoder: {clean(str(error))}") from None

    def nominal_bits(self, encoding: Encoding) -> int | None:
        """As the program told them."""
        return encoding.nominal_bits


def _picture(content: Content) -> Decoded:
    """What a decoder answered with; ValueError for anything but a picture or Gaussians."""
    if content.name == "picture.npy":
        return array_picture(content.data)
    if content.name == "picture.png":
        return decode_picture(content.data, "PNG")
    named = _named(content)
    return _gaussians(content.name, named, named.facts.size)


def _named(content: Content, allowed: int | None = None) -> NamedArrays:
    with as_reason(content.name):
        return parse_arrays(content.data, PurePath(content.name).suffix, allowed)


def _gaussians(name: str, named: NamedArrays, size: tuple[int, int]) -> Gaussians2D:
    with as_reason(name):
        return to_gaussians(named, size)
