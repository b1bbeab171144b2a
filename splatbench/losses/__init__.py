"""Losses between a rendered picture and an image, gradients made with the value: numba, Triton, or plain PyTorch."""

from .objective import Objective, TargetLoss, l1, mse

__all__ = ["Objective", "TargetLoss", "l1", "mse"]
