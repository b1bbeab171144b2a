"""SmartSplat (Li et al., AAAI 2026): a start that follows the picture's features, then all parameters fitted together.

The paper writes no file and quantises nothing: a fit is stored as float32, or, with `quantise`, in a form of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import NOMINAL_BYTES_PER_GAUSSIAN, Budget
from splatbench.fitting.warm import check_start, converted
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method
from splatbench.rate import Profile, encode_at_rate
from splatbench.trace import Trace

from . import bitstream
from .config import Config
from .fit import fit
from .initialise import Start, initialise
from .model import Activation, initial_parameters, raw_parameters
from .quantise import Codes, Grids
from .refine import QuantisedGaussians, refine

#: Ways of storing quantised Gaussians that a budget in bytes chooses from, beside that of the settings.
PROFILES: list[Profile] = [
    {"scale_bits": 7, "angle_bits": 7, "colour_bits": 9},
    {"scale_bits": 6, "angle_bits": 7, "colour_bits": 8},
]


@dataclass(frozen=True)
class PlainGaussians:
    """A fitted representation and the settings that made it."""

    gaussians: Gaussians2D
    config: Config

    def __len__(self) -> int:
        return len(self.gaussians)


class SmartSplat(Method):
    title = "SmartSplat"
    paper = (
        "Li et al., SmartSplat: Feature-Smart Gaussians for Scalable Compression of Ultra-High-Resolution Images, "
        "AAAI 2026"
    )
    blend = "sum"
    devices = ("cpu",)
    on_request = ("cuda",)
    budgets = ("gaussians", "compression_ratio", "bpp", "matched_to")
    warm = True
    channels = range(1, 13)  # the released code takes RGB alone
    Config = Config
    config: Config

    def encode(
        self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1
    ) -> PlainGaussians | QuantisedGaussians:
        """Fits `image` (uint8 [H, W, C]) with the budget's number of Gaussians, or a few less (`Config.top_up`); or
        with the number, and where they are quantised the bit depths, that give a file of the budget's rate.

        The published code seeds once per program, so its start depends on the images before; here every image starts
        from `seed`.

        Raises:
            MethodError: not such an image; or the budget fixes neither a count, of at most a Gaussian per pixel, nor a
                rate that can be met.
            splatbench.trace.Diverged: the loss became NaN or infinite.
        """
        self.check_image(image)
        iterations = budget.iterations or self.config.iterations
        if budget.bpp is not None:
            profiles, shortened = (PROFILES, ("qat_iterations",)) if self.config.quantise else ((), ())
            return encode_at_rate(
                self, image, budget, trace, seed, steps=iterations, profiles=profiles, shortened=shortened
            )
        n = self.count_for(image, budget)
        image = np.require(image, requirements=["C", "W"])  # as the kernels want it, copied only if need be
        activation = Activation(self.config, image.shape[:2])
        with trace.stage("initialise"):
            start = initialise(image, n, self.config, seed)
            raw = initial_parameters(start, activation.size, self.config, seed)
            parameters = self._placed(raw, start.positions)
        self._note(start, n, trace)
        return self._fit(parameters, activation, image, iterations, trace)

    def encode_from(
        self, start: Gaussians2D, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1
    ) -> PlainGaussians | QuantisedGaussians:
        """The same fit from given Gaussians; see `splatbench.fitting.warm`."""
        check_start(start, image, self.count_for(image, budget))
        image = np.require(image, requirements=["C", "W"])
        activation = Activation(self.config, image.shape[:2])
        with trace.stage("initialise"):
            parameters = self._placed(raw_parameters(converted(start, image, "sum")), start.means.cpu().numpy())
        return self._fit(parameters, activation, image, budget.iterations or self.config.iterations, trace)

    def _fit(
        self, parameters: dict[str, Tensor], activation: Activation, image: np.ndarray, iterations: int, trace: Trace
    ) -> PlainGaussians | QuantisedGaussians:
        target = torch.from_numpy(image).to(self.device)
        total = iterations + (self.config.qat_iterations if self.config.quantise else 0)
        with trace.stage("fit"):
            fit(parameters, activation, target, iterations, trace, lambda p: self._plain(p, activation), total)
        if not self.config.quantise:
            return self._plain(parameters, activation)
        if trace.wants("fit"):
            trace.snapshot("fit", self._plain(parameters, activation))

        def finish(codes: Codes, grids: Grids) -> QuantisedGaussians:
            codes = codes.cpu()
            order = bitstream.file_order(codes.positions.numpy().astype(np.uint16), self.config.compat)
            return QuantisedGaussians(codes[order], grids, activation)

        with trace.stage("quantise"):
            return refine(parameters, activation, target, trace, finish)

    def _note(self, start: Start, n: int, trace: Trace) -> None:
        """Tells the record's reader what the exclusion did to the uniform samples."""
        if short := n - len(start) + start.crowded:
            what = "were drawn without it" if start.crowded else "are missing (top_up: true adds them)"
            trace.note(
                f"{short} of {n - start.variational} uniform samples found no place outside the exclusion radius of "
                f"others within {self.config.uniform_rounds} rounds and {what}"
            )

    def _placed(self, parameters: dict[str, Tensor], positions: np.ndarray) -> dict[str, Tensor]:
        """Raw parameters on the device. A sum does not care for the order, the caches do: neighbours are kept together,
        unless the 256-per-tile cap makes the order part of the picture."""
        order = bitstream.file_order(positions, self.config.compat)
        return {name: value[order].to(self.device) for name, value in parameters.items()}

    def _plain(self, parameters: dict[str, Tensor], activation: Activation) -> PlainGaussians:
        with torch.no_grad():
            return PlainGaussians(activation.gaussians(activation(parameters)), self.config)

    def to_bytes(self, encoding: PlainGaussians | QuantisedGaussians) -> bytes:
        if isinstance(encoding, QuantisedGaussians):
            return bitstream.write_codes(encoding)
        return bitstream.write_plain(encoding.gaussians)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        return bitstream.read_gaussians(data)

    def nominal_bits(self, encoding: PlainGaussians | QuantisedGaussians) -> int:
        """56 N: 7 bytes per Gaussian, as the paper's compression ratio counts, for both forms of file."""
        return 8 * NOMINAL_BYTES_PER_GAUSSIAN * len(encoding)
