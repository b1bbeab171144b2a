"""3D Gaussian splatting as an image representation: one view of N 3D Gaussians with spherical harmonics, blended front
to back over white. The baseline "3DGS" of GaussianImage and SmartSplat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import NOMINAL_BYTES_PER_GAUSSIAN, Budget
from splatbench.codec import Attribute, BitstreamError, gaussians_from_arrays, read, write
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method
from splatbench.rate import encode_at_rate
from splatbench.trace import Trace

from .config import Config
from .fit import BACKGROUND, fit
from .model import initial_parameters, project

#: The share of colours at 0 from which on a record says so.
STUCK = 0.01


class ThreeDGS(Method):
    """What is encoded is what the only view shows: the projected Gaussians in the order of their depth, 9 floats each
    (mean, Cholesky factor of the covariance, opacity, colour). The published model keeps 59 floats (236 bytes) of each,
    and is counted as 7 bytes like all others: at an equal compression ratio N is equal, not the size.

    Not repeated are two deviations of the published kernels: tiles that see a Gaussian through a square of 3 sigma
    (here alpha >= 1/255 decides), and a gradient that limits alpha to 0.99 where the picture has 0.999.
    """

    title = "3DGS"
    paper = "B. Kerbl et al., 3D Gaussian Splatting for Real-Time Radiance Field Rendering, ACM TOG 2023"
    blend = "alpha"
    devices = ("cpu",)
    on_request = ("cuda",)  # through gsplat
    budgets = ("gaussians", "compression_ratio", "bpp", "matched_to")
    warm = False  # 2D Gaussians do not say how deep they lie, nor what of their opacity is colour
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Gaussians2D:
        """Fits `image` (uint8 [H, W, 3]) with the budget's number of Gaussians, or with the number that gives a file
        of the budget's rate.

        The published code seeds once per program; here every image starts from `seed`.

        Raises:
            MethodError: the budget fixes neither a count nor a rate that can be met.
            splatbench.trace.Diverged: the loss became NaN or infinite.
        """
        iterations = budget.iterations or self.config.iterations
        if budget.bpp is not None:
            return encode_at_rate(self, image, budget, trace, seed, steps=iterations)
        size = image.shape[:2]
        n = self.count_for(image, budget)
        target = torch.from_numpy(np.array(image)).to(self.device)  # a copy: the caller's picture may be read-only
        with trace.stage("initialise"):
            start = initial_parameters(n, self.config.sh_degree, seed)
            parameters = {name: value.to(self.device) for name, value in start.items()}
        flatten = lambda p: _flatten(p, size, self.config.clamps_colors)  # noqa: E731
        with trace.stage("fit"):
            fit(parameters, target, self.config, iterations, trace, flatten)
        result = flatten(parameters)
        stuck = float((result.colors == 0).float().mean()) if self.config.clamps_colors else 0.0
        if stuck > STUCK:
            trace.note(f"{100 * stuck:.0f} % of the colours are stuck at 0, where they have no gradient (clamp_colors)")
        return result

    def to_bytes(self, encoding: Gaussians2D) -> bytes:
        attributes = [Attribute(name, value.cpu().numpy()) for name, value in encoding.tensors().items()]
        meta = {"background": encoding.background}
        return write(self.name, encoding.size, encoding.blend, encoding.compat, attributes, meta)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        file = read(data)
        if file.method != ThreeDGS.name or file.blend != "alpha":
            raise BitstreamError(f"the file was made by method {file.method!r}, not by {ThreeDGS.name!r}")
        return gaussians_from_arrays(file, file.arrays)

    def nominal_bits(self, encoding: Gaussians2D) -> int:
        """56 N: the 7 bytes that SmartSplat's compression ratio takes for every method."""
        return 8 * NOMINAL_BYTES_PER_GAUSSIAN * len(encoding)


@torch.no_grad()
def _flatten(parameters: dict[str, Tensor], size: tuple[int, int], clamp_colors: bool) -> Gaussians2D:
    """The picture's Gaussians, from front to back."""
    seen = project(parameters, size, clamp_colors)
    sxx, sxy, syy = seen.covariance.unbind(1)
    l11 = sxx.sqrt()
    l21 = sxy / l11
    l22 = (syy - l21 * l21).clamp_min(0).sqrt()
    return Gaussians2D(
        means=seen.means,
        colors=seen.colors,
        size=size,
        cholesky=torch.stack([l11, l21, l22], 1).float(),
        opacities=seen.opacities,
        blend="alpha",
        background=BACKGROUND,
    )
