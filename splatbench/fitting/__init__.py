"""What fits are made of: the loss of Gaussians against an image, progress, quantisation with straight-through
gradients; and on a GPU one step, from raw parameters to their update, as a short list of kernel launches."""

from splatbench.fitting.loss import PictureLoss
from splatbench.fitting.parameters import Activation, Parametrisation
from splatbench.fitting.progress import on_curve, psnr
from splatbench.fitting.quantise import straight_through
from splatbench.fitting.step import FitStep

__all__ = [
    "Activation",
    "FitStep",
    "Parametrisation",
    "PictureLoss",
    "on_curve",
    "psnr",
    "straight_through",
]
