"""Budgets in bytes for methods whose number of Gaussians and bit depths are free."""

from splatbench.rate.encode import encode_at_rate
from splatbench.rate.search import Fit, Profile, fit_to_rate

__all__ = ["Fit", "Profile", "encode_at_rate", "fit_to_rate"]
