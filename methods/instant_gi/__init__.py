"""Instant-GI (Zeng et al., ICCV 2025): a network places, shapes and colours as many Gaussians as it finds necessary;
GaussianImage's optimisation refines them for as long as wanted.

Without weights of the authors it runs Instant-GI-small, a small network of ours in the same method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import Budget
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, MethodError, WeightsMissing, build_dataclass
from splatbench.trace import Diverged, Trace
from splatbench.weight_files import fingerprint

from . import bitstream, weights
from .config import Config
from .decode import predict
from .refine import Activation, refine
from .start import Start, network_start, quad_start, random_start

if TYPE_CHECKING:
    from splatbench.training.labels import LabelMaker
    from splatbench.training.task import Task

    from .decode import Network


class InstantGI(Method):
    title = "Instant-GI"
    paper = (
        "Z. Zeng et al., Instant GaussianImage: A Generalizable and Self-Adaptive Image Representation via 2D Gaussian "
        "Splatting, ICCV 2025"
    )
    blend = "sum"
    devices = ("cpu",)
    on_request = ("cuda",)
    budgets = ("native", "gaussians", "compression_ratio", "matched_to")
    Config = Config
    config: Config
    _network: Network | None = None
    _note = ""  # which weights it has

    def prepare(self) -> None:
        """Loads the weights where the start needs them, and compiles what an encoding runs."""
        picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        budget = (
            Budget(gaussians=100, iterations=1) if self.config.start == "random" else Budget(native=True, iterations=1)
        )
        self.encode(picture, budget, Trace())

    @property
    def network(self) -> Network:
        """In evaluation mode, on the device."""
        if self._network is None:
            file = weights.find(self.config)
            self._network = weights.load(self.config, self.device)
            self._note = f"weights {file.name}, fingerprint {fingerprint(file)}"
        return self._network

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Gaussians2D:
        """Gaussians of `image`, uint8 [H, W, 3]: those of the start, refined if there are iterations to do.

        A budget that fixes the count is met by the network's start from below, which is ours (`start.py`); where more
        than 1 % is missing, which few Gaussians may be, a note says so.
        The seed is that of the random start; nothing else is random. Snapshots: "init", the Gaussians of the start, and
        iteration numbers of the refinement.

        Raises:
            splatbench.trace.Diverged: the network gives NaN or infinity, or the loss became so.
            MethodError: a picture that the network does not take, or a count that the start cannot have.
        """
        self.check_image(image)
        wanted = None if budget.native else self.count_for(image, budget)
        target = torch.from_numpy(np.array(image)).to(self.device)
        with torch.no_grad():
            start = self._start(image, target, wanted, trace, seed)
        if not bool(torch.stack([value.isfinite().all() for value in start.gaussians.tensors().values()]).all()):
            raise Diverged("the network gives Gaussians that are NaN or infinite")
        if trace.wants("init"):
            trace.snapshot("init", start.gaussians)
        iterations = budget.iterations or self.config.iterations
        if iterations == 0:
            return start.gaussians
        activation = Activation(start.gaussians.size, start.scale, self.config)
        parameters = start.parameters
        with trace.stage("fit"):
            refine(parameters, activation, target, iterations, trace, activation.gaussians)
        return activation.gaussians(parameters)

    def _start(self, image: np.ndarray, target: Tensor, wanted: int | None, trace: Trace, seed: int) -> Start:
        """What the settings ask for."""
        config, size = self.config, (int(target.shape[0]), int(target.shape[1]))
        if config.start == "quad":
            if wanted is not None:
                raise MethodError("the quadtree chooses its own number of Gaussians: `start: quad` takes budget native")
            return quad_start(image, config, self.device, trace)
        if config.start == "random" and wanted is not None:
            return random_start(size, wanted, seed, config, self.device, trace)
        picture = target.permute(2, 0, 1)[None].float() / 255
        if config.start == "network":
            return network_start(self._network_for(size, trace), picture, wanted, config, trace)
        with trace.paused():  # the published comparison: as many as the network has, which costs this start nothing
            count = len(predict(self._network_for(size, trace), picture).means)
        trace.note("the network's number of Gaussians, found outside the clock")
        return random_start(size, count, seed, config, self.device, trace)

    def _network_for(self, size: tuple[int, int], trace: Trace) -> Network:
        """The network, if it takes pictures of (H, W); notes which weights it has."""
        network = self.network
        if min(size) < network.least_side:
            least = f"{network.least_side}x{network.least_side}"
            raise MethodError(f"this network takes pictures of at least {least} pixels, got {size[1]}x{size[0]}")
        trace.note(self._note)
        return network

    def to_bytes(self, encoding: Gaussians2D) -> bytes:
        return bitstream.write_gaussians(encoding)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        return bitstream.read_gaussians(data)

    @classmethod
    def fingerprint(cls, config: Config) -> str:
        """Of the file of weights; "missing" where there is none; empty where the start needs none."""
        if config.start == "quad":
            return ""
        try:
            return fingerprint(weights.find(config))
        except WeightsMissing:
            return "missing"

    @classmethod
    def make_labels(cls, settings: Mapping[str, Any]) -> LabelMaker:
        """Pseudo labels of the position probability: `settings` are those of the fit that shows where Gaussians go."""
        from splatbench.training.labels import LabelMaker

        from .labels import ITERATIONS, pseudo_label

        config = cls.make_config({"iterations": ITERATIONS, "start": "quad", **settings})
        if config.start != "quad":
            raise MethodError(f"labels begin from the quadtree, not with start {config.start!r}; leave `start` out")
        return LabelMaker(config, lambda image: pseudo_label(image, config.iterations, config=config))

    @classmethod
    def training_task(cls, settings: Mapping[str, Any], phase: str) -> Task:
        from .training import make_task
        from .training.settings import Settings

        return make_task(build_dataclass(Settings, settings, where="method instant_gi, training"), phase)
