"""Quantisation-aware fitting of fitted Gaussians (paper Sec. 3.3 and 4.2; released code)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from splatbench.fitting import on_curve, psnr
from splatbench.losses import mse
from splatbench.render import rasterize_sum
from splatbench.trace import Trace

from .fit import make_optimiser
from .model import Activation
from .quantise import ResidualVectorQuantiser, UniformQuantiser, round_float16


class QuantisedModel(nn.Module):
    """Raw parameters with their quantisers: the covariance ranges are set from the fitted values, the codebooks by
    k-means on the fitted colours.

    Cholesky quantises the raw factor (before the bound); RS the raw scales and the activated angle.
    """

    def __init__(self, parameters: dict[str, Tensor], activation: Activation, seed: int) -> None:
        super().__init__()
        config = activation.config
        self.activation = activation
        self.raw = nn.ParameterDict({name: nn.Parameter(value.detach().clone()) for name, value in parameters.items()})
        bits = config.covariance_bits
        self.quantisers = nn.ModuleDict(
            {name: UniformQuantiser(value, bits) for name, value in self._covariance_inputs().items()}
        )
        self.colours = ResidualVectorQuantiser(
            self.raw["features"],
            config.codebook_stages,
            config.codebook_size,
            config.codebook_decay,
            config.kmeans_iterations,
            torch.Generator().manual_seed(seed),
        )

    def _covariance_inputs(self) -> dict[str, Tensor]:
        """What is quantised: `cholesky` [N, 3], or `scaling` [N, 2] and `theta` [N, 1]."""
        if "cholesky" in self.raw:
            return {"cholesky": self.raw["cholesky"]}
        return {"scaling": self.raw["scaling"], "theta": self.activation.theta(self.raw["rotation"])[:, None]}

    def shape(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Activated covariance parameters of (quantised) covariance inputs."""
        if "cholesky" in values:
            return {"factor": self.activation.factor(values["cholesky"])}
        return {"scales": self.activation.scales(values["scaling"]), "theta": values["theta"].squeeze(-1)}

    def forward(self) -> tuple[Tensor, Tensor]:
        """(render [H, W, 3], commitment loss)."""
        quantised = {name: self.quantisers[name](value) for name, value in self._covariance_inputs().items()}
        colors, commitment = self.colours(self.raw["features"])
        means = self.activation.means(round_float16(self.raw["xyz"]))
        covariance = self.activation.covariance(self.shape(quantised))
        size, compat = self.activation.size, self.activation.config.compat
        return rasterize_sum(means, covariance, colors, size, compat=compat), commitment

    @torch.no_grad()
    def codes(self) -> QuantisedGaussians:
        """What is written to the file."""
        codes, steps, betas = [], [], []
        for name, value in self._covariance_inputs().items():
            quantiser = self.quantisers[name]
            assert isinstance(quantiser, UniformQuantiser)
            step, beta = quantiser.table()
            codes.append(quantiser.codes(value))
            steps.append(step)
            betas.append(beta)
        return QuantisedGaussians(
            activation=self.activation,
            xyz=self.raw["xyz"].detach().half().cpu(),
            covariance=torch.cat(codes, 1).cpu(),
            step=torch.cat(steps).cpu(),
            beta=torch.cat(betas).cpu(),
            colors=self.colours.codes(self.raw["features"]).cpu(),
            codebooks=self.colours.table().cpu(),
        )


@dataclass(frozen=True)
class QuantisedGaussians:
    """The encoded representation: codes and tables.

    Attributes:
        xyz: [N, 2] float16, positions before tanh.
        covariance: [N, 3] int32 codes; Cholesky (l11, l21, l22), RS (s1, s2, theta).
        step, beta: [3] float32 of the uniform quantisers.
        colors: [N, stages] int32 indices; codebooks: [stages, entries, 3] float32.

    All on the CPU.
    """

    activation: Activation
    xyz: Tensor
    covariance: Tensor
    step: Tensor
    beta: Tensor
    colors: Tensor
    codebooks: Tensor

    def nominal_bits(self) -> int:
        """The paper's count: fixed-length codes and float32 tables, no header (56 N + 1728 by default).

        The released code takes ceil(log2(largest index)), which under-counts; here it is ceil(log2(entries)).
        """
        config, n = self.activation.config, len(self.xyz)
        index_bits = max(1, (config.codebook_size - 1).bit_length())
        per_gaussian = 32 + 3 * config.covariance_bits + config.codebook_stages * index_bits
        tables = 32 * (self.codebooks.numel() + self.step.numel() + self.beta.numel())
        return per_gaussian * n + tables


def fit_quantised(
    parameters: dict[str, Tensor],
    activation: Activation,
    target: Tensor,
    trace: Trace,
    seed: int,
    snapshot: Callable[[QuantisedModel], object],
) -> QuantisedModel:
    """Quantisation-aware fitting: MSE of the clamped quantised render plus the commitment losses, a fresh Adan.

    Returns:
        The state with the best training PSNR. The published code copies it after the step that follows the measured
        render; preset `corrected` keeps the state that was measured.

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    config = activation.config
    model = QuantisedModel(parameters, activation, seed).train()
    optimiser, scheduler = make_optimiser(list(model.parameters()), config)
    copies_after_step = config.preset == "published"
    best, best_state = float("inf"), copy.deepcopy(model.state_dict())
    done, n = trace.steps, config.qat_iterations
    for i in range(1, n + 1):
        before = None if copies_after_step else copy.deepcopy(model.state_dict())
        image, commitment = model()
        loss = mse(image, target, clamp=True)
        optimiser.zero_grad(set_to_none=True)
        (loss + config.commitment_weight * commitment).backward()
        optimiser.step()
        scheduler.step()
        error = loss.item()
        if error < best:
            best, best_state = error, before if before is not None else copy.deepcopy(model.state_dict())
        trace.step(done + i, done + n, loss=error, psnr=psnr(error), commitment=commitment.item())
        if on_curve(i, n):
            trace.log(done + i, qat_psnr=psnr(error))
        if trace.wants(f"qat-{i}") and i < n:
            trace.snapshot(f"qat-{i}", snapshot(model))
        if trace.out_of_time():
            break
    model.load_state_dict(best_state)
    return model.eval()
