"""GaussianImage (Zhang et al., ECCV 2024): N Gaussians fitted from random positions, blended by a plain sum; Cholesky
and RS covariances; representation, and codec by quantisation-aware fitting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import Budget
from splatbench.codec import spatial_order
from splatbench.fitting.warm import check_start, converted, moved_inside
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method
from splatbench.rate import Profile, encode_at_rate
from splatbench.trace import Trace

from . import bitstream
from .config import Config
from .fit import fit
from .model import Activation, initial_parameters
from .qat import QuantisedGaussians, QuantisedModel, fit_quantised

#: Bit depths beside the configured ones that a budget in bytes may choose, for the quantised form. Ours.
PROFILES: tuple[Profile, ...] = (
    {"covariance_bits": 4, "codebook_size": 8},
    {"covariance_bits": 5, "codebook_size": 16},
    {"covariance_bits": 6, "codebook_size": 32},
    {"covariance_bits": 8, "codebook_size": 64},
)


@dataclass(frozen=True)
class PlainGaussians:
    """A fitted representation and the settings that made it."""

    gaussians: Gaussians2D
    config: Config

    def __len__(self) -> int:
        return len(self.gaussians)


class GaussianImage(Method):
    title = "GaussianImage"
    paper = (
        "X. Zhang et al., GaussianImage: 1000 FPS Image Representation and Compression by 2D Gaussian Splatting, "
        "ECCV 2024"
    )
    blend = "sum"
    devices = ("cpu",)
    on_request = ("cuda",)
    budgets = ("gaussians", "compression_ratio", "bpp", "matched_to")
    warm = True
    Config = Config
    config: Config

    def encode(
        self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1
    ) -> PlainGaussians | QuantisedGaussians:
        """Fits `image` (uint8 [H, W, 3]) with the budget's number of Gaussians, or with the number, and where the
        Gaussians are quantised the bit depths, that give a file of the budget's rate.

        The published code seeds once per program, so its start depends on the images before; here every image
        starts from `seed`.

        Raises:
            MethodError: the budget fixes neither a count nor a rate that can be met.
            splatbench.trace.Diverged: the loss became NaN or infinite.
        """
        iterations = budget.iterations or self.config.iterations
        if budget.bpp is not None:
            profiles, shortened = (PROFILES, ("qat_iterations",)) if self.config.quantise else ((), ())
            return encode_at_rate(
                self, image, budget, trace, seed, steps=iterations, profiles=profiles, shortened=shortened
            )
        n = self.count_for(image, budget)
        activation = Activation(self.config, image.shape[:2])
        with trace.stage("initialise"):
            parameters = self._placed(initial_parameters(self.config.variant, n, seed), activation)
        return self._fit(parameters, activation, image, iterations, trace, seed)

    def encode_from(
        self, start: Gaussians2D, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1
    ) -> PlainGaussians | QuantisedGaussians:
        """The same fit from given Gaussians; see `Activation.raw` and `splatbench.fitting.warm`."""
        check_start(start, image, self.count_for(image, budget))
        activation = Activation(self.config, image.shape[:2])
        with trace.stage("initialise"):
            inside, moved = moved_inside(converted(start, image, "sum"), *activation.bounds)
            parameters = self._placed(activation.raw(inside), activation)
        if moved:
            trace.note(
                f"{moved} of {len(start)} Gaussians of the start lay beyond the ends of tanh and were moved there"
            )
        return self._fit(parameters, activation, image, budget.iterations or self.config.iterations, trace, seed)

    def _fit(
        self,
        parameters: dict[str, Tensor],
        activation: Activation,
        image: np.ndarray,
        iterations: int,
        trace: Trace,
        seed: int,
    ) -> PlainGaussians | QuantisedGaussians:
        target = torch.from_numpy(np.array(image)).to(self.device)  # a copy: the caller's picture may be read-only
        total = iterations + (self.config.qat_iterations if self.config.quantise else 0)
        with trace.stage("fit"):
            fit(parameters, activation, target, iterations, trace, lambda p: self._plain(p, activation), total)
        if not self.config.quantise:
            return self._plain(parameters, activation)
        if trace.wants("fit"):
            trace.snapshot("fit", self._plain(parameters, activation))
        with trace.stage("quantise"):
            model = fit_quantised(parameters, activation, target, trace, seed, QuantisedModel.codes)
        return model.codes()

    def _placed(self, parameters: dict[str, Tensor], activation: Activation) -> dict[str, Tensor]:
        """A start, on the device. A sum does not care for the order, the caches do: neighbours are kept together,
        unless the 256-per-tile cap makes the order part of the picture."""
        if "tile_cap_256" not in self.config.compat:
            order = torch.from_numpy(spatial_order(activation.means(parameters["xyz"]).numpy()))
            parameters = {name: value[order] for name, value in parameters.items()}
        return {name: value.to(self.device) for name, value in parameters.items()}

    def _plain(self, parameters: dict[str, Tensor], activation: Activation) -> PlainGaussians:
        values = {name: value.detach() for name, value in parameters.items()}
        gaussians = activation.gaussians(activation.means(values["xyz"]), activation.shape(values), values["features"])
        return PlainGaussians(gaussians, self.config)

    def to_bytes(self, encoding: PlainGaussians | QuantisedGaussians) -> bytes:
        if isinstance(encoding, QuantisedGaussians):
            return bitstream.write_quantised(encoding)
        return bitstream.write_plain(encoding.gaussians, encoding.config)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        return bitstream.read_gaussians(data)

    def nominal_bits(self, encoding: PlainGaussians | QuantisedGaussians) -> int | None:
        """56 N + 1728 for the quantised form (paper Sec. 4.2 as counted by the released code)."""
        return encoding.nominal_bits() if isinstance(encoding, QuantisedGaussians) else None
