"""What the position probability is trained towards: the density of the Gaussians of a long fit (paper, Sec. 3.4; the
formula is the released code's, the paper prints K / (pi d^2) instead)."""

from __future__ import annotations

import numpy as np
import torch

from splatbench.method import MethodError
from splatbench.trace import Trace

from .config import Config
from .neighbours import nth_nearest
from .refine import Activation, refine
from .start import quad_start

NEIGHBOUR = 10  # [P, C]
ITERATIONS = 50_000  # of the fit [C]
_SPREAD = 3  # standard deviations around the mean that are told apart [C]
#: Pixels: where ten Gaussians lie on one another the density would be infinite (ours).
_LEAST_DISTANCE = 1e-3


def position_probability(means: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How dense Gaussians are around each pixel, relative to the densest and sparsest places of the picture.

    D = 10 / sqrt(d), where d is the distance of the pixel's centre to the 10th nearest mean, in pixels; then linear
    from mean(D) - 3 std(D), or the least D if that is more, at 0, to mean(D) + 3 std(D), or the greatest, at 1.

    Args:
        means: [N, 2] (x, y) in pixels, the centre of the first pixel at (0.5, 0.5), as in `Gaussians2D`.
        size: (H, W).

    Returns:
        float32 [H, W] in [0, 1].

    Raises:
        MethodError: fewer than 10 Gaussians; a mean that is not finite; a picture that is all equally dense.
    """
    height, width = size
    if len(means) < NEIGHBOUR:
        raise MethodError(
            f"Instant-GI: a label looks at the {NEIGHBOUR}th nearest Gaussian, and {width}x{height} pixels got only "
            f"{len(means)}; train on larger pictures"
        )
    if not np.isfinite(means).all():
        raise MethodError("Instant-GI: the fit for a label gave means that are NaN or infinite")
    distances = nth_nearest(means, size, NEIGHBOUR).astype(np.float64)
    density = NEIGHBOUR / np.sqrt(np.maximum(distances, _LEAST_DISTANCE))
    mean, spread = density.mean(), _SPREAD * density.std(ddof=min(1, density.size - 1))
    low, high = max(mean - spread, density.min()), min(mean + spread, density.max())
    if not high > low:
        raise MethodError(f"Instant-GI: Gaussians are equally dense in all of {width}x{height} pixels: no label")
    return np.clip((density - low) / (high - low), 0, 1).astype(np.float32)


def pseudo_label(
    image: np.ndarray,
    iterations: int = ITERATIONS,
    device: str = "cpu",
    config: Config | None = None,
    trace: Trace | None = None,
) -> np.ndarray:
    """The target of the position probability of a picture: the quadtree's Gaussians, refined, and where they are then.
    Nothing of it is random.

    Args:
        image: uint8 [H, W, 3].
        iterations: of the refinement; 0 takes the quadtree's Gaussians as they are.
        device: that refines.
        config: settings of the refinement; the defaults where None.
        trace: told of the steps.

    Returns:
        float32 [H, W] in [0, 1].

    Raises:
        MethodError: see `quad_start` and `position_probability`.
        splatbench.trace.Diverged: the refinement's loss became NaN or infinite.
    """
    config, trace = config or Config(), trace or Trace()
    size = (image.shape[0], image.shape[1])
    start = quad_start(image, config, device, trace)
    activation = Activation(size, start.scale, config)
    if iterations:
        target = torch.from_numpy(np.array(image)).to(device)
        refine(start.parameters, activation, target, iterations, trace, snapshot=lambda parameters: None)
    with torch.no_grad(), trace.stage("label"):
        means = activation.means(start.parameters["xyz"]).cpu().numpy()
        return position_probability(means, size)
