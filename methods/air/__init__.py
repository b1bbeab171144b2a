"""AIR (Zeng et al., 2026): a chain of networks proposes Gaussians for the residual, patch by patch; nothing is fitted.

Without weights of the authors it runs AIR-small, a small network of ours in the same chain of stages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, MethodError, WeightsMissing, build_dataclass
from splatbench.render import render
from splatbench.trace import Diverged, Trace
from splatbench.weight_files import fingerprint

from . import bitstream
from .config import Config
from .encoding import Encoding
from .patches import RAW, PatchGrid, activate
from .quality import reach, score
from .stages import Stage, run_stages
from .weights import Loaded, find, load

if TYPE_CHECKING:
    from splatbench.training.task import Task


#: dB by which a search aims higher when quantising lost too much.
_MARGIN = 0.01


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

        Snapshots: "stage1", "stage2" ... after each stage; "unquantised" before the quantiser; none for a wanted PSNR.
        A time limit is looked at between stages, not in the search for a PSNR.

        Raises:
            splatbench.trace.Diverged: the network gives NaN or infinity.
            MethodError: a budget that fixes the count, a picture that the network does not take, a PSNR out of reach.
        """
        self.check_image(image)
        least = self.loaded.network.least_side
        if min(image.shape[:2]) < least:
            height, width = image.shape[:2]
            raise MethodError(f"this network takes pictures of at least {least}x{least} pixels, got {width}x{height}")
        if budget.target not in self.budgets:
            raise MethodError(f"{self.title} chooses its own number of Gaussians; it takes {', '.join(self.budgets)}")
        trace.note(self.loaded.note)
        target = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float() / 255
        if budget.iterations is not None:
            trace.note("nothing is fitted: the limit on iterations has no meaning here")
        if budget.psnr is not None:
            return self._reach(target, budget.psnr, trace)
        chain = self._chain(target, trace)
        for stage in range(len(chain) + 1, self.config.stages + 1):  # in which nothing was left to do
            self._snapshot(f"stage{stage}", chain, target, trace)
        if self.config.quantise:
            self._snapshot("unquantised", chain, target, trace)
        encoding = self._encoding(chain, target)
        return self._quantised(encoding, chain, trace) if self.config.quantise else encoding

    def _chain(self, target: Tensor, trace: Trace) -> list[Stage]:
        """All stages, or those that the time limit allows."""
        count = min(self.config.stages, self.loaded.network.stages)
        chain: list[Stage] = []
        run = run_stages(self.loaded.network, target, self.config.control(), self.config.drawing(), count)
        while not (chain and trace.out_of_time()):
            with trace.stage(f"stage {len(chain) + 1}"):
                stage = next(run, None)
            if stage is None:
                break
            chain.append(stage)
            error = float((stage.picture - target).square().mean())
            if not math.isfinite(error):
                raise Diverged(f"stage {len(chain)}: the network gives Gaussians that are NaN or infinite")
            trace.log(len(chain), mse=error)  # not a step: nothing is fitted
            self._snapshot(f"stage{len(chain)}", chain, target, trace)
        return chain

    def _reach(self, target: Tensor, wanted: float, trace: Trace) -> Encoding:
        """An encoding of at least `wanted` dB; where it is quantised, after that."""
        loaded, config, goal = self.loaded, self.config, wanted
        count = min(config.stages, loaded.network.stages)
        while True:
            with trace.stage("search"):
                try:
                    chain = reach(loaded.network, target, goal, config.control(), config.drawing(), count)
                except MethodError as error:
                    more = f" (to have {wanted:g} dB after quantising)" if goal > wanted else ""
                    raise MethodError(f"{error}{more}") from None
            encoding = self._encoding(chain, target)
            if not config.quantise:
                return encoding
            encoding = self._quantised(encoding, chain, trace)
            with trace.stage("search"):
                drawn = render(encoding.gaussians()).permute(2, 0, 1)[None]
                missing = wanted - score(drawn, target.cpu())
            if missing <= 0:
                return encoding
            goal += missing + _MARGIN

    def _snapshot(self, name: str, chain: list[Stage], target: Tensor, trace: Trace) -> None:
        if trace.wants(name):
            with trace.paused():
                encoding = self._encoding(chain, target)
            trace.snapshot(name, encoding)

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

    def _quantised(self, encoding: Encoding, chain: list[Stage], trace: Trace) -> Encoding:
        if not chain:  # a black picture may need no Gaussian at all
            return encoding
        with trace.stage("quantise"):
            codec = self.loaded.codec
            ranges = codec.ranges(encoding.values, chain[-1].prediction.summary[0].cpu())
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
    def fingerprint(cls, config: Config) -> str:
        """Of the file of weights; "missing" where there is none."""
        try:
            return fingerprint(find(config))
        except WeightsMissing:
            return "missing"

    @classmethod
    def training_task(cls, settings: Mapping[str, Any], phase: str) -> Task:
        """The task of a phase: pod, finetune, quantise, adapt or refine."""
        from .training import make_task
        from .training.settings import Settings

        return make_task(build_dataclass(Settings, settings, where="method air, training"), phase)
