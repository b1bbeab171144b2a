"""Image-GS (Zhang et al., SIGGRAPH 2025): N Gaussians of which every pixel averages the ten strongest, placed where the
image has gradients and where the fit is still wrong; optionally quantisation-aware."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from splatbench.budget import Budget
from splatbench.fitting.warm import check_start, converted
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, MethodError
from splatbench.rate import Profile, encode_at_rate
from splatbench.trace import Trace

from . import bitstream
from .bitstream import Encoding, encoding
from .config import UNQUANTISED, Config
from .fit import fit
from .growth import plan
from .model import STORED, Model
from .start import raw_parameters, start

#: The released kernels hold this many channels; a texture stack with more has to be cut.
MAX_CHANNELS = 12

#: Ways of storing quantised Gaussians that a budget in bytes chooses from, beside that of the settings: bits of scales,
#: angles and colours, and by how much the bits of positions differ from those of steps of a quarter pixel. Ours.
PROFILES = ((10, 8, 8, 1), (8, 6, 7, 0), (6, 5, 6, 0), (5, 5, 5, -1))


class ImageGS(Method):
    title = "Image-GS"
    paper = (
        "Y. Zhang et al., Image-GS: Content-Adaptive Image Representation via 2D Gaussians, "
        "SIGGRAPH 2025 Conference Papers"
    )
    blend = "topk"
    devices = ("cpu",)
    budgets = ("gaussians", "compression_ratio", "bpp", "matched_to")
    warm = True
    channels = range(1, MAX_CHANNELS + 1)
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Encoding:
        """Fits `image` (uint8 [H, W, C], 1 <= C <= 12) with the budget's number of Gaussians, or with the number, and
        where all attributes are quantised the bit depths, that give a file of the budget's rate.

        A budget's `iterations` and `seconds` are hard limits, unlike the setting `iterations`, which the progressive
        mode raises (`growth.plan`). A fit that runs out of seconds before its last addition has fewer Gaussians.

        Raises:
            MethodError: the budget fixes neither a count nor a rate that can be met, or picture and settings do not
                fit together.
            splatbench.trace.Diverged: the loss became NaN or infinite.
        """
        self.check_image(image)
        if budget.bpp is not None:
            return self._encode_at_rate(image, budget, trace, seed)
        height, width = image.shape[:2]
        n = self.count_for(image, budget)
        config, rng = self.config.resolved(), np.random.default_rng(seed)
        schedule, model = plan(n, config, budget.iterations), Model(config, (height, width))
        snapshot = partial(encoding, model)
        with trace.stage("initialise"):
            parameters = start(image, schedule.first, config, rng)
        with trace.stage("fit"):
            parameters = fit(parameters, model, image, schedule, trace, rng, snapshot, self.device)
        return snapshot(parameters)

    def encode_from(
        self, start: Gaussians2D, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1
    ) -> Encoding:
        """The fit without its additions, from given Gaussians; see `splatbench.fitting.warm`.

        Raises:
            MethodError: the picture is not fitted as it is (`gamma`).
        """
        check_start(start, image, self.count_for(image, budget))
        config = replace(self.config.resolved(), progressive=False)
        if config.gamma != 1:
            raise MethodError(f"a warm start is of the picture as it is: gamma must be 1, it is {config.gamma:g}")
        schedule, model = plan(len(start), config, budget.iterations), Model(config, image.shape[:2])
        snapshot = partial(encoding, model)
        with trace.stage("initialise"):
            parameters = raw_parameters(converted(start, image, config.blend), config)
        with trace.stage("fit"):
            rng = np.random.default_rng(seed)
            parameters = fit(parameters, model, image, schedule, trace, rng, snapshot, self.device)
        return snapshot(parameters)

    def _encode_at_rate(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int) -> Encoding:
        config = self.config.resolved()
        quarter = (max(image.shape[:2]) - 1).bit_length() + 2
        profiles: list[Profile] = [
            {
                "position_bits": min(max(quarter + more, 4), 16),
                "scale_bits": scale,
                "angle_bits": angle,
                "color_bits": color,
            }
            for scale, angle, color, more in PROFILES
        ]
        return encode_at_rate(
            ImageGS(config, self.device), image, budget, trace, seed,
            steps=plan(1, config, budget.iterations).steps,
            profiles=profiles if all(config.bits(name) < UNQUANTISED for name in STORED) else (),
        )  # fmt: skip

    def to_bytes(self, encoding: Encoding) -> bytes:
        return bitstream.write_encoding(encoding)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        return bitstream.read_gaussians(data)

    def nominal_bits(self, encoding: Encoding) -> int | None:
        """(2 position + 2 scale + angle + C colour) N bits; 32 each where nothing is quantised (released code)."""
        return encoding.nominal_bits()
