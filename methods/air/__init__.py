"""AIR (Zeng et al., 2026): a chain of networks proposes Gaussians for the residual, patch by patch; nothing is fitted.

Without weights of the authors it runs AIR-small, a small network of ours in the same chain of stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, MethodError, build_dataclass
from splatbench.trace import Trace

from . import bitstream
from .config import Config
from .encoding import Encoding
from .patches import RAW, PatchGrid, activate
from .quality import reach
from .stages import Stage, run_stages
from .weights import Loaded, load

if TYPE_CHECKING:
    from splatbench.training.task import Task


class Air(Method):
    title = "AIR"
    paper = (
        "Z. Zeng et al., AIR: Amortized Image Reconstruction Framework for Self-Supervised Feed-Forward 2D Gaussian "
        "Splatting, arXiv 2605.20820, 2026"
    )
    blend = "sum"
    devices = ("cpu",)
    on_request = ("cuda",)
    budgets = ("native", "psnr")
    Config = Config
    config: Config
    _loaded: Loaded | None = None

    def prepare(self) -> None:
        self._loaded = load(self.config, self.device)

    @property
    def loaded(self) -> Loaded:
        """The network and its quantiser, on the device."""
        if self._loaded is None:
            self.prepare()
        assert self._loaded is not None
        return self._loaded

    @torch.inference_mode()
    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Encoding:
        """One pass of the network over `image`, uint8 [H, W, 3]; for a wanted PSNR several. Nothing is random.

        Snapshots: "stage1", "stage2" ... after each stage; "unquantised" before the quantiser.

        Raises:
            MethodError: a budget that fixes the count, a picture that the network does not take, a PSNR out of reach.
        """
        self.check_image(image)
        if budget.target not in self.budgets:
            raise MethodError(f"{self.title} chooses its own number of Gaussians; it takes {', '.join(self.budgets)}")
        trace.note(self.loaded.note)
        target = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float() / 255
        chain: list[Stage] = []
        for stage in self._stages(target, budget, trace):
            chain.append(stage)
            if trace.wants(f"stage{len(chain)}"):
                trace.snapshot(f"stage{len(chain)}", self._encoding(chain, target))
        for missing in range(len(chain) + 1, self.config.stages + 1):
            if trace.wants(f"stage{missing}"):  # nothing was left to do there
                trace.snapshot(f"stage{missing}", self._encoding(chain, target))
        encoding = self._encoding(chain, target)
        if not self.config.quantise or not chain:  # a black picture may need no Gaussian at all
            return encoding
        if trace.wants("unquantised"):
            trace.snapshot("unquantised", encoding)
        with trace.stage("quantise"):
            return self._quantised(encoding, chain[-1].prediction.summary[0].cpu())

    def _stages(self, target: Tensor, budget: Budget, trace: Trace) -> list[Stage]:
        loaded, config = self.loaded, self.config
        count = min(config.stages, loaded.network.stages)
        if budget.psnr is not None:
            with trace.stage("search"):
                return reach(loaded.network, target, budget.psnr, config.control(), config.drawing(), count)
        chain: list[Stage] = []
        run = run_stages(loaded.network, target, config.control(), config.drawing(), count)
        while True:
            with trace.stage(f"stage {len(chain) + 1}"):
                stage = next(run, None)
            if stage is None:
                return chain
            chain.append(stage)
            trace.step(len(chain), count, gaussians=float(stage.chosen.sum()))

    def _encoding(self, chain: list[Stage], target: Tensor) -> Encoding:
        patch, drawing = self.loaded.network.patch, self.config.drawing()
        size = int(target.shape[2]), int(target.shape[3])
        none = torch.zeros(0, len(PatchGrid(*size, patch)), dtype=torch.bool)
        raw = [stage.prediction.raw[0, stage.chosen[0]].cpu() for stage in chain]
        return Encoding(
            size=size,
            patch=patch,
            stretch=drawing.stretch,
            compat=drawing.compat,
            masks=torch.cat([none, *(stage.chosen.cpu() for stage in chain)]),
            values=activate(torch.cat([torch.zeros(0, RAW), *raw]), patch),
        )

    def _quantised(self, encoding: Encoding, summary: Tensor) -> Encoding:
        codec = self.loaded.codec
        ranges = codec.ranges(encoding.values, summary)
        return encoding.quantised(codec.quantise(encoding.values, ranges), ranges)

    def to_bytes(self, encoding: Encoding) -> bytes:
        return bitstream.write(encoding)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        return bitstream.read_gaussians(data)

    def nominal_bits(self, encoding: Encoding) -> int | None:
        """The released code's count for quantised Gaussians."""
        return encoding.nominal_bits()

    @classmethod
    def training_task(cls, settings: Mapping[str, Any], phase: str) -> Task:
        """The task of a phase: pod, finetune, quantise, adapt or refine."""
        from .training import make_task
        from .training.settings import Settings

        return make_task(build_dataclass(Settings, settings, where="method air, training"), phase)
