"""What fits are made of: the loss of Gaussians against an image, progress, quantisation with straight-through
gradients; and on a GPU one step, from raw parameters to their update, as a short list of kernel launches."""

from splatbench.fitting.loss import PictureLoss
from splatbench.fitting.parameters import Activation, Parametrisation
from splatbench.fitting.progress import on_curve, psnr
from splatbench.fitting.published import published_gradient
from splatbench.fitting.quantise import straight_through
from splatbench.fitting.sampling import draw_uniform, draw_weighted, gradient_weights
from splatbench.fitting.step import FitStep

__all__ = [
    "Activation",
    "FitStep",
    "Parametrisation",
    "PictureLoss",
    "draw_uniform",
    "draw_weighted",
    "gradient_weights",
    "on_curve",
    "psnr",
    "published_gradient",
    "straight_through",
]
