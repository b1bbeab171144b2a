"""What every metric is called and what its numbers mean. Importing this costs nothing; the arithmetic is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_WANG2004 = "Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, IEEE TIP 13(4), 2004"
_WANG2003 = "Wang, Simoncelli, Bovik: Multiscale structural similarity, Asilomar 2003"
_ZHANG2018 = "Zhang, Isola, Efros, Shechtman, Wang: The unreasonable effectiveness of deep features, CVPR 2018"
_ANDERSSON2020 = "Andersson et al.: FLIP: A difference evaluator for alternating images, HPG 2020"


class MetricError(ValueError):
    """An unknown metric, or a picture that cannot be measured: NaN, out of range, wrong shape or type."""


class MetricNotRun(RuntimeError):
    """The metric is defined for the picture but cannot be computed here; the text says why and what to do."""


@dataclass(frozen=True)
class Metric:
    """One column of a table.

    Attributes:
        name: key in records and configs; the backbone is part of it where there is one.
        title: column heading.
        unit: "dB", "bit/pixel" or "" (dimensionless).
        direction: whether a "higher" or a "lower" value is better.
        space: colour space and channels that the value is computed on.
        data_range: range of the values that go in.
        bounds: smallest and largest value that can come out (None: unbounded).
        meaning: what a value means, and every choice that changes it.
        reference: paper and package that define it.
        family: module of `splatbench.metrics` that computes it.
        backbone: network, for learned metrics.
        weights: name in datasets/weights.yaml, where downloaded weights are needed.
        min_side: smallest picture side (pixels) for which it is defined.
        any_channels: whether it takes pictures of any number of channels, and not only RGB.
    """

    name: str
    title: str
    unit: str
    direction: Literal["higher", "lower"]
    space: str
    data_range: str
    bounds: tuple[float | None, float | None]
    meaning: str
    reference: str
    family: str
    backbone: str = ""
    weights: str = ""
    min_side: int = 1
    any_channels: bool = False

    @property
    def heading(self) -> str:
        """Title, unit and an arrow that points the better way: "PSNR [dB] ↑"."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.title}{unit} {'↑' if self.direction == 'higher' else '↓'}"


def _lpips(net: str, backbone: str, min_side: int) -> Metric:
    return Metric(
        name=f"lpips_{net}",
        title=f"LPIPS ({backbone})",
        unit="",
        direction="lower",
        space="sRGB",
        data_range="[-1, 1] (the package's own scaling, applied here to pictures in [0, 1])",
        bounds=(0.0, None),
        meaning=f"Distance of {backbone} features, weighted by the linear layers of LPIPS v0.1; 0 for equal pictures. "
        "Values of different backbones cannot be compared.",
        reference=f"{_ZHANG2018}; package lpips 0.1.4, net='{net}', version='0.1'",
        family="lpips",
        backbone=backbone,
        weights=f"lpips_{net}",
        min_side=min_side,
    )


_METRICS = (
    Metric(
        name="psnr",
        title="PSNR",
        unit="dB",
        direction="higher",
        space="sRGB",
        data_range="[0, 1], not rounded",
        bounds=(0.0, 100.0),
        meaning="10 log10(1 / MSE) over all pixels and channels of the clamped float picture, as the papers compute "
        "it. Capped at 100 dB, which is also the value of an exact copy.",
        reference="GaussianImage (ECCV 2024) and successors: PSNR of the clamped float render",
        family="psnr",
        any_channels=True,
    ),
    Metric(
        name="psnr_u8",
        title="PSNR (8 bit)",
        unit="dB",
        direction="higher",
        space="sRGB",
        data_range="0..255, rounded half up",
        bounds=(0.0, 100.0),
        meaning="10 log10(255² / MSE) of the picture as an 8-bit file shows it: floor(255 v + 0.5). "
        "Capped at 100 dB, which is also the value of an exact copy.",
        reference="PSNR as image codecs report it",
        family="psnr",
        any_channels=True,
    ),
    Metric(
        name="ssim",
        title="SSIM",
        unit="",
        direction="higher",
        space="sRGB, mean over the channels",
        data_range="[0, 1]",
        bounds=(-1.0, 1.0),
        meaning="Single-scale structural similarity: 11x11 Gaussian window, sigma 1.5, no padding, K = (0.01, 0.03). "
        "Not to be compared with MS-SSIM, nor with values computed on luma.",
        reference=f"{_WANG2004}; package pytorch-msssim 1.0.0, ssim(data_range=1)",
        family="ssim",
        min_side=11,
    ),
    Metric(
        name="ms_ssim",
        title="MS-SSIM",
        unit="",
        direction="higher",
        space="sRGB, mean over the channels",
        data_range="[0, 1]",
        bounds=(0.0, 1.0),
        meaning="Structural similarity over five scales with weights 0.0448, 0.2856, 0.3001, 0.2363, 0.1333; window as "
        "in ssim; 2x2 average pooling. On RGB: luma values are higher (0.91 instead of 0.84 for a coarse JPEG).",
        reference=f"{_WANG2003}; package pytorch-msssim 1.0.0, ms_ssim(data_range=1)",
        family="ssim",
        min_side=161,
    ),
    _lpips("alex", "AlexNet", min_side=31),
    _lpips("vgg", "VGG16", min_side=16),
    _lpips("squeeze", "SqueezeNet 1.1", min_side=17),
    Metric(
        name="flip",
        title="FLIP",
        unit="",
        direction="lower",
        space="sRGB (converted inside)",
        data_range="[0, 1]",
        bounds=(0.0, 1.0),
        meaning="Mean of the LDR-FLIP map: the difference seen when flipping between the pictures at 67.02 pixels per "
        "degree (0.7 m from a 0.7 m wide 3840-pixel display); 0 for equal pictures.",
        reference=f"{_ANDERSSON2020}; package flip-evaluator 1.7",
        family="flip",
    ),
)

#: Metrics of a picture against its original: what `evaluate` computes.
REGISTRY: dict[str, Metric] = {metric.name: metric for metric in _METRICS}

_RATE_SPACE = "file"
#: Rates: columns that belong to a file, not to a picture; described here so that tables treat them alike.
RATES: dict[str, Metric] = {
    "bpp": Metric(
        name="bpp",
        title="Rate",
        unit="bit/pixel",
        direction="lower",
        space=_RATE_SPACE,
        data_range="bytes",
        bounds=(0.0, None),
        meaning="Length of the compressed file x 8 / (H W): everything that another process needs to decode it.",
        reference="measured",
        family="rate",
    ),
    "nominal_bpp": Metric(
        name="nominal_bpp",
        title="Nominal rate",
        unit="bit/pixel",
        direction="lower",
        space=_RATE_SPACE,
        data_range="bits",
        bounds=(0.0, None),
        meaning="The rate by the method's published formula (e.g. 7 bytes per Gaussian); not the size of any file.",
        reference="the method's paper",
        family="rate",
    ),
}


def get_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        MetricError: unknown; names the nearest.
    """
    if name not in REGISTRY:
        from splatbench.method import nearest  # imports torch, which naming a metric must not

        hint = " (a rate belongs to a file and is recorded with it)" if name in RATES else nearest(name, REGISTRY)
        raise MetricError(f"unknown metric {name!r}{hint}")
    return REGISTRY[name]
