"""Meeting a budget in bytes with a method whose number of Gaussians and bit depths are free.

The length of a file is known only when it is written, so the search fits: short pilots, which find the number of
Gaussians for each way of storing them (a profile) and show which profile looks best, then the whole fit, repeated with
another number while its file is off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from splatbench.budget import NOMINAL_BYTES_PER_GAUSSIAN, Budget
from splatbench.method import Decoded, Method, MethodError
from splatbench.rate.counts import CountSearch, OutOfReach
from splatbench.render import iter_strips
from splatbench.trace import Diverged, Trace

#: A pilot takes this share of the fit's steps, and at least so many of them.
PILOT_SHARE, PILOT_STEPS = 0.05, 200
#: Pilots of one profile, and whole fits, at most. Two whole fits are the rule: a pilot's file is some percent off.
MAX_PILOTS, MAX_FITS = 8, 4

#: Settings of the method that say how Gaussians are stored, such as bit depths.
Profile = Mapping[str, int]
Encoding = TypeVar("Encoding")
#: Fits a number of Gaussians with a profile in a share (0 to 1] of all steps; depends on nothing else.
Fit = Callable[[int, Profile, float, Trace], Encoding]


def fit_to_rate(
    method: Method,
    image: np.ndarray,
    budget: Budget,
    profiles: Sequence[Profile],
    steps: int,
    fit: Fit[Encoding],
    trace: Trace,
) -> Encoding:
    """The encoding whose file has H * W * bpp / 8 bytes within 2 %, or, after `MAX_FITS` fits or where one Gaussian
    more or less is more than that, the one that comes nearest.

    The trace gets the stages of the fit that is returned, all other time as stage "search", and a note that says what
    was found. The same arguments give the same encoding.

    Args:
        method: writes and reads the files; its `encode` is not called.
        image: uint8 [H, W, C].
        budget: with `bpp`.
        profiles: at least one; where two look equally good the first is taken.
        steps: of a whole fit; they say how short a pilot may be.
        fit: fits.

    Raises:
        MethodError: no number of Gaussians from 1 to H * W meets the rate; or a time limit or snapshots are asked for,
            which cannot be had of several fits.
        Diverged: a fit became NaN or infinite.
    """
    assert budget.bpp is not None
    if budget.seconds is not None or trace.wanted:
        what = "a time limit" if budget.seconds is not None else "snapshots"
        raise MethodError(f"a budget in bytes takes several fits, so {what} cannot be had; fix the number of Gaussians")
    pixels = image.shape[0] * image.shape[1]
    pilot_share = min(1.0, max(PILOT_SHARE, PILOT_STEPS / steps))
    search = _Search(method, image, budget.bpp * pixels / 8, pilot_share, fit, trace)
    try:
        with trace.stage("search"):
            pilot = search.best_pilot(profiles)
        return search.whole(pilot)
    except OutOfReach as error:
        limit, ask = ("shorter", "more") if error.size > search.target else ("longer", "less")
        raise MethodError(
            f"{budget.bpp:g} bit/pixel are {search.target:.0f} bytes here, and {method.title} makes no {limit} file "
            f"than one of {error.size} bytes ({8 * error.size / pixels:.3g} bit/pixel) with N = {error.count}; "
            f"ask for {ask}"
        ) from None


@dataclass(frozen=True)
class _Pilot:
    """What the pilots of one profile found."""

    profile: Profile
    counts: CountSearch
    error: float  # mean squared error of the file that comes nearest to the target


@dataclass(frozen=True)
class _Search(Generic[Encoding]):
    method: Method
    image: np.ndarray
    target: float  # bytes
    pilot_share: float
    fit: Fit[Encoding]
    trace: Trace

    def best_pilot(self, profiles: Sequence[Profile]) -> _Pilot:
        """The profile with the smallest error at the target.

        A profile whose pilots diverge is left out.

        Raises:
            OutOfReach: of the profile that comes nearest, where none meets the target.
            Diverged: every profile's pilots diverged.
        """
        found: list[_Pilot] = []
        missed: list[OutOfReach] = []
        diverged: Diverged | None = None
        start = round(self.target / NOMINAL_BYTES_PER_GAUSSIAN)
        for profile in profiles:
            try:
                found.append(self._pilot(profile, start))
                start = found[-1].counts.nearest
            except OutOfReach as error:
                missed.append(error)
            except Diverged as error:
                diverged = error
                stored = ", ".join(f"{name} {value}" for name, value in profile.items())
                self.trace.note(f"a pilot diverged{' with ' if stored else ''}{stored}: {error}")
        if not found:
            if diverged is not None and not missed:
                raise diverged
            raise min(missed, key=lambda error: abs(math.log(error.size / self.target)))
        return min(found, key=lambda pilot: pilot.error)

    def _pilot(self, profile: Profile, start: int) -> _Pilot:
        counts, files = self._counts(start), {}
        while len(counts.sizes) < MAX_PILOTS and (n := counts.propose()) is not None:
            encoding = self.fit(n, profile, self.pilot_share, self.trace.branch())
            files[n] = self.method.to_bytes(encoding)
            counts.add(n, len(files[n]))
        error = squared_error(self.method.from_bytes(files[counts.nearest]), self.image)
        return _Pilot(profile, counts, error)

    def whole(self, pilot: _Pilot) -> Encoding:
        """Whole fits of a profile, the first with the pilot's count; the trace adopts the one that is returned.

        Raises:
            OutOfReach: what a pilot met, no whole fit meets.
        """
        counts = self._counts(pilot.counts.nearest, pilot.counts.slope)
        best: tuple[Encoding, Trace, float] | None = None
        begin = self.trace.seconds
        while len(counts.sizes) < MAX_FITS and (n := counts.propose()) is not None:
            since, branch = self.trace.seconds, self.trace.branch()
            encoding = self.fit(n, pilot.profile, 1.0, branch)
            counts.add(n, len(self.method.to_bytes(encoding)))
            if counts.nearest == n:
                best = (encoding, branch, self.trace.seconds - since)
        assert best is not None  # the first was the nearest when it was added
        encoding, branch, seconds = best
        self.trace.adopt(branch)
        self.trace.stages["search"] += self.trace.seconds - begin - seconds
        stored = "".join(f", {name} {value}" for name, value in pilot.profile.items())
        self.trace.note(
            f"the file is {100 * counts.off:+.2f} % off its budget: N = {counts.nearest}{stored}; "
            f"whole fits: {len(counts.sizes)}"
        )
        return encoding

    def _counts(self, start: int, prior: float | None = None) -> CountSearch:
        return CountSearch(self.target, self.image.shape[0] * self.image.shape[1], start, prior)


def squared_error(decoded: Decoded, image: np.ndarray) -> float:
    """Mean squared error of decoded Gaussians (or layers), drawn and clamped to [0, 1], against uint8 [H, W, C]."""
    assert not isinstance(decoded, np.ndarray)
    total = 0.0
    for row, strip in iter_strips(decoded):
        shown = strip.clamp(0, 1).cpu().numpy()
        total += float(np.square(shown - image[row : row + len(shown)] / np.float32(255)).sum(dtype=np.float64))
    return total / image.size
