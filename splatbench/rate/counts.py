"""Which number of Gaussians to try next, so that a file gets a wanted length."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from splatbench.budget import RATE_TOLERANCE

#: An extrapolation changes the count by this factor at most.
MAX_FACTOR = 8


class OutOfReach(Exception):
    """The file of the fewest or of the most Gaussians is still too long or too short.

    Attributes:
        count: that number of Gaussians.
        size: bytes of its file.
    """

    def __init__(self, count: int, size: int) -> None:
        super().__init__(f"{count} Gaussians give {size} bytes")
        self.count, self.size = count, size


@dataclass
class CountSearch:
    """Regula falsi over counts from 1 to `highest`, for lengths that grow with the count but for noise of a percent.

    Call `propose`, fit, `add` the length; until `propose` returns None.

    Attributes:
        target: wanted bytes, above 0.
        highest: largest count.
        start: the first proposal.
        prior: bytes per Gaussian where only one length is known; None: length / count.
        sizes: lengths by count, as added.
    """

    target: float
    highest: int
    start: int
    prior: float | None = None
    sizes: dict[int, int] = field(default_factory=dict)

    def add(self, n: int, size: int) -> None:
        self.sizes[n] = size

    @property
    def nearest(self) -> int:
        """The count whose file comes nearest to the target; the smaller of two."""
        return min(self.sizes, key=lambda n: (abs(self.sizes[n] - self.target), n))

    @property
    def off(self) -> float:
        """By which share the nearest file misses the target; positive: it is longer."""
        return self.sizes[self.nearest] / self.target - 1

    @property
    def slope(self) -> float:
        """Bytes per additional Gaussian near the target, above 0."""
        near, *others = sorted(self.sizes, key=lambda n: (abs(self.sizes[n] - self.target), n))
        mean = self.sizes[near] / near
        if not others:
            return self.prior or mean
        secant = (self.sizes[near] - self.sizes[others[0]]) / (near - others[0])
        return min(max(secant, mean / 10), 3 * mean)  # noise between neighbours may turn it round

    def propose(self) -> int | None:
        """The next count; None once the nearest file is within 2 %, or no other count can come nearer.

        Raises:
            OutOfReach: both the fewest and the most Gaussians are on one side of the target.
        """
        if not self.sizes:
            return min(max(self.start, 1), self.highest)
        if abs(self.off) <= RATE_TOLERANCE:
            return None
        if len({size > self.target for size in self.sizes.values()}) == 2:
            return self._between()
        return self._beyond()

    def _between(self) -> int | None:
        """Inside the neighbours on either side of the target that come nearest to it."""
        sides = [
            (low, high)
            for low, high in pairwise(sorted(self.sizes))
            if high - low > 1 and (self.sizes[low] > self.target) != (self.sizes[high] > self.target)
        ]
        if not sides:
            return None
        low, high = min(sides, key=lambda pair: sum(abs(self.sizes[n] - self.target) for n in pair))
        share = (self.target - self.sizes[low]) / (self.sizes[high] - self.sizes[low])
        if len(self.sizes) % 3 == 0:  # a curved function keeps one end of plain regula falsi in place
            share = 0.5
        return min(max(round(low + share * (high - low)), low + 1), high - 1)

    def _beyond(self) -> int:
        """Further than all counts so far, towards the target."""
        too_long = self.off > 0
        outermost, end = (min(self.sizes), 1) if too_long else (max(self.sizes), self.highest)
        if outermost == end:
            raise OutOfReach(end, self.sizes[end])
        step = (self.target - self.sizes[outermost]) / self.slope
        n = round(min(max(outermost + step, outermost / MAX_FACTOR), outermost * MAX_FACTOR))
        return max(min(n, outermost - 1), end) if too_long else min(max(n, outermost + 1), end)
