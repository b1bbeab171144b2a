"""The numbers of SSIM (Wang et al. 2004, equation 13), once for all devices."""

from __future__ import annotations

import math

REACH = 5  # rows and columns of the window to each side
_SIGMA = 1.5
_WEIGHTS = [math.exp(-(k * k) / (2 * _SIGMA * _SIGMA)) for k in range(-REACH, REACH + 1)]
#: The window along one axis, normalised.
TAPS = tuple(weight / math.fsum(_WEIGHTS) for weight in _WEIGHTS)
C1, C2 = 0.01**2, 0.03**2  # for a range of 1
