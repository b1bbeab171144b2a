"""SmartSplat (Li et al., AAAI 2026): a start that follows the picture's features, then all parameters fitted together.

The paper writes no file and quantises nothing: a fit is stored as float32, or, with `quantise`, in a form of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import NOMINAL_BYTES_PER_GAUSSIAN, Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, MethodError
from splatbench.trace import Trace

from . import bitstream
from .config import Config
from .fit import fit
from .initialise import initialise
from .model import Activation, initial_parameters
from .quantise import Codes, Grids
from .refine import QuantisedGaussians, refine


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
        "L. Li et al., SmartSplat: Feature-Smart Gaussians for Scalable Compression of Ultra-High-Resolution Images, "
        "AAAI 2026"
    )
    blend = "sum"
    devices = ("cpu",)
    on_request = ("cuda",)
    budgets = ("gaussians", "compression_ratio", "matched_to")
    Config = Config
    config: Config

    def encode(
        self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1
    ) -> PlainGaussians | QuantisedGaussians:
        """Fits `image` (uint8 [H, W, C]) with the budget's number of Gaussians, or a few less (`Config.top_up`).

        The published code seeds once per program, so its start depends on the images before; here every image starts
        from `seed`.

        Raises:
            MethodError: the budget fixes no count, or one of more than a Gaussian per pixel; not such an image.
            splatbench.trace.Diverged: the loss became NaN or infinite.
        """
        image, n = self._checked(image, budget)
        size = image.shape[0], image.shape[1]
        activation = Activation(self.config, size)
        with trace.stage("initialise"):
            parameters = self._start(image, n, activation, seed)
        target = torch.from_numpy(image).to(self.device)
        iterations = budget.iterations or self.config.iterations
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

    def _checked(self, image: np.ndarray, budget: Budget) -> tuple[np.ndarray, int]:
        """The image as the kernels want it (copied only if need be), and the count."""
        if image.ndim != 3 or image.dtype != np.uint8 or image.size == 0:
            raise MethodError(f"{self.title} fits uint8 [H, W, C] images, got {image.dtype} {list(image.shape)}")
        height, width = image.shape[:2]
        n = budget.count(height, width)
        if n is None:
            raise MethodError(f"{self.title} needs a Gaussian count or a compression ratio, got {budget.as_dict()}")
        if n > height * width:
            raise MethodError(
                f"{n} Gaussians are more than the picture has pixels ({width}x{height} = {height * width}), and "
                f"{self.title} starts from distinct pixels; ask for fewer"
            )
        return np.require(image, requirements=["C", "W"]), n

    def _start(self, image: np.ndarray, n: int, activation: Activation, seed: int) -> dict[str, Tensor]:
        """Raw parameters on the device. A sum does not care for the order, the caches do: neighbours are kept together,
        unless the 256-per-tile cap makes the order part of the picture."""
        start = initialise(image, n, self.config, seed)
        parameters = initial_parameters(start, activation.size, self.config, seed)
        order = bitstream.file_order(start.positions, self.config.compat)
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
