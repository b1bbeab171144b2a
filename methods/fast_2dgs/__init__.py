"""Fast-2DGS (Wang et al., 2025): one network says where Gaussians sit, another what they look like; both know how many
are wanted. What they propose is drawn as it is, or fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatbench.budget import Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, WeightsMissing, build_dataclass
from splatbench.trace import Trace

from . import bitstream
from .config import PAPER_SIDE, Config
from .fit import fit
from .gather import Parameters
from .start import control, propose
from .weights import Networks, identity, load

if TYPE_CHECKING:
    from splatbench.training.task import Task

#: 2 position, 2 scale, 3 colour, 1 angle; float32 each, as Image-GS counts what is not quantised.
_BITS = 8 * 32


class Fast2DGS(Method):
    title = "Fast-2DGS"
    paper = "H. Wang et al., Fast 2DGS: Efficient Image Representation with Deep Gaussian Prior, arXiv 2512.12774, 2025"
    blend = "topk"
    devices = ("cpu",)
    on_request = ("cuda",)
    Config = Config
    config: Config
    _networks: Networks | None = None

    def prepare(self) -> None:
        if self.config.start == "network":
            self._networks = load(self.config, self.device)

    @property
    def networks(self) -> Networks:
        """Both networks, on the device."""
        if self._networks is None:
            self._networks = load(self.config, self.device)
        return self._networks

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Gaussians2D:
        """The Gaussians that the networks propose for `image`, uint8 [H, W, 3], fine-tuned if the budget or the
        settings say for how many steps.

        Snapshots: "init" before the first step, and numbers of steps.

        Raises:
            MethodError: the budget fixes no count, or more than the picture has pixels.
            WeightsMissing: the weights are not there.
            splatbench.trace.Diverged: networks or loss give NaN or infinity.
        """
        count, config = self.count_for(image, budget), self.config.resolved()
        height, width = size = image.shape[:2]
        if config.preset == "paper512" and size != (PAPER_SIDE, PAPER_SIDE):
            trace.note(
                f"preset paper512 is the published protocol for pictures of {PAPER_SIDE}x{PAPER_SIDE} pixels (data set "
                f"kodak_512); this one has {width}x{height}, where the networks see the wrong density"
            )
        steps = budget.iterations or config.iterations or 0
        blending = config.blending

        def encoding(parameters: Parameters) -> Gaussians2D:
            return bitstream.ordered(blending.gaussians(parameters, size))

        parameters = self._start(image, count, config, trace, seed)
        if config.min_scale:
            parameters = parameters._replace(scales=parameters.scales.clamp_min(config.min_scale))
        if trace.wants("init"):
            trace.snapshot("init", encoding(parameters))
        if steps and not trace.out_of_time():
            with trace.stage("fit"):
                parameters = fit(parameters, image, config, steps, trace, encoding)
        return encoding(parameters)

    def _start(self, image: np.ndarray, count: int, config: Config, trace: Trace, seed: int) -> Parameters:
        if config.start != "network":
            with trace.stage("initialise"):
                return control(image, count, config, seed).to(self.device)
        networks = self.networks
        trace.note(networks.note)
        picture = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float() / 255
        return propose(networks, picture, count, config, trace, seed)

    def to_bytes(self, encoding: Gaussians2D) -> bytes:
        return bitstream.write_gaussians(encoding)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        return bitstream.read_gaussians(data)

    def nominal_bits(self, encoding: Gaussians2D) -> int:
        """256 N: 8 float32 numbers of each Gaussian. The paper gives none; Image-GS, whose renderer it shares, counts
        so."""
        return _BITS * len(encoding)

    @classmethod
    def fingerprint(cls, config: Config) -> str:
        """Of the weights; "missing" where they are; empty for starts that need none."""
        if config.start != "network":
            return ""
        try:
            return identity(config)
        except WeightsMissing:
            return "missing"

    @classmethod
    def training_task(cls, settings: Mapping[str, Any], phase: str) -> Task:
        """The task of a phase: heat or attributes."""
        from .training import make_task
        from .training.settings import Settings

        return make_task(build_dataclass(Settings, settings, where=f"method {cls.name}, training"), phase)
