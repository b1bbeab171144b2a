"""Losses between a rendered picture and an image, forward and backward in one pass on the CPU."""

from .objective import Objective, TargetLoss, l1, mse

__all__ = ["Objective", "TargetLoss", "l1", "mse"]
