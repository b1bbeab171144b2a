"""Budgets: what a method may spend on an image, and what that means for H x W pixels."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

#: A file meets a budget in bytes if its length is off by at most this share.
RATE_TOLERANCE = 0.02

#: Bytes that SmartSplat's compression ratio assumes per Gaussian (its train.py: N = 3HW / (7 CR)).
NOMINAL_BYTES_PER_GAUSSIAN = 7


@dataclass(frozen=True)
class Budget:
    """Exactly one of a Gaussian count, a compression ratio, a bit rate, a quality (codec controls), a PSNR to reach,
    another entry's counts, or the method's own choice; optionally with an iteration or wall-time limit.

    Attributes:
        gaussians: number of Gaussians, >= 1.
        compression_ratio: CR > 0, N = floor(3HW / (7 CR)) as SmartSplat defines it.
        bpp: target bits per pixel, > 0.
        quality: quality setting of an image codec (controls only).
        psnr: dB to reach with as few Gaussians as the method can.
        matched_to: id of the experiment entry whose per-image counts are the targets.
        warm: begin from the Gaussians of the entry in `matched_to`, not from the method's own start; the time that they
            took counts.
        native: the method chooses; the count that came out is recorded.
        iterations: at most this many fitting steps (None: the method's own default). The steps of a refinement with
            quantised attributes, a setting of the method, come after them.
        seconds: wall-time limit of `encode`.

    Raises:
        ValueError: not exactly one target, or a value out of range.
    """

    gaussians: int | None = None
    compression_ratio: float | None = None
    bpp: float | None = None
    quality: int | None = None
    psnr: float | None = None
    matched_to: str | None = None
    warm: bool = False
    native: bool = False
    iterations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1:
            raise ValueError(f"a budget needs exactly one of {', '.join(self.targets())}; got {given or 'none'}")
        if self.warm and self.matched_to is None:
            raise ValueError("budget: warm begins from the Gaussians of another entry: name it in matched_to")
        for name in ("gaussians", "compression_ratio", "bpp", "psnr", "iterations", "seconds"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"budget: {name} must be positive, got {value!r}")

    @staticmethod
    def targets() -> tuple[str, ...]:
        return ("gaussians", "compression_ratio", "bpp", "quality", "psnr", "matched_to", "native")

    def _given(self) -> list[str]:
        # By identity: a quality of 0 is given, and equals False.
        return [name for name in self.targets() if (value := getattr(self, name)) is not None and value is not False]

    @property
    def target(self) -> str:
        """Which of `targets` it is."""
        return self._given()[0]

    def count(self, height: int, width: int) -> int | None:
        """Number of Gaussians for an H x W image; None where the budget does not fix it.

        Raises:
            ValueError: the compression ratio leaves no Gaussian at all.
        """
        if self.gaussians is not None:
            return self.gaussians
        if self.compression_ratio is not None:
            n = math.floor(3 * height * width / (NOMINAL_BYTES_PER_GAUSSIAN * self.compression_ratio))
            if n < 1:
                raise ValueError(
                    f"compression ratio {self.compression_ratio:g} leaves no Gaussian for {width}x{height} pixels "
                    f"(N = floor(3HW / (7 CR)) = 0); ask for a lower ratio"
                )
            return n
        return None

    @property
    def slug(self) -> str:
        """A short name for paths and tables, one per budget: n28000, cr50, bpp0.5, q75, psnr32, match-air,
        match-air-warm, native."""
        if self.gaussians is not None:
            text = f"n{self.gaussians}"
        elif self.compression_ratio is not None:
            text = f"cr{self.compression_ratio:g}"
        elif self.bpp is not None:
            text = f"bpp{self.bpp:g}"
        elif self.quality is not None:
            text = f"q{self.quality}"
        elif self.psnr is not None:
            text = f"psnr{self.psnr:g}"
        else:
            text = f"match-{self.matched_to}" if self.matched_to else "native"
        text += "-warm" if self.warm else ""
        text += f"-i{self.iterations}" if self.iterations is not None else ""
        return text + (f"-t{self.seconds:g}" if self.seconds is not None else "")

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set (for records and hashes)."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}
