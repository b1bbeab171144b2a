"""Fitting on a GPU: one step, from raw parameters to their update, as a short list of kernel launches."""

from splatbench.fitting.parameters import Activation, Parametrisation
from splatbench.fitting.step import FitStep

__all__ = ["Activation", "FitStep", "Parametrisation"]
