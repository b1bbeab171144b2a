"""Energy of the device that encodes, read from its own counters: RAPL of the processor packages, NVML of a GPU.

The counters are of the whole device: whatever else runs on it at that time is in the figure, as its idle power is. On
most Linux systems only root may read RAPL; without a counter there is no figure, never an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Linux' power capping interface, https://docs.kernel.org/power/powercap/powercap.html
POWERCAP = Path("/sys/class/powercap")


class Counter(Protocol):
    """A counter of energy that only grows, but for going round."""

    @property
    def name(self) -> str:
        """Which one, for the reader of a record."""

    def joules_since(self, earlier: int) -> float:
        """Energy since a reading, in joules."""

    def read(self) -> int:
        """The counter's present value, in its own unit."""


@dataclass(frozen=True)
class RaplPackage:
    """One processor package; counts microjoules and goes round at `range_uj`."""

    name: str
    path: Path
    range_uj: int

    def read(self) -> int:
        return int(self.path.read_text())

    def joules_since(self, earlier: int) -> float:
        difference = self.read() - earlier
        return (difference + self.range_uj + 1 if difference < 0 else difference) / 1e6


def rapl_packages(folder: Path = POWERCAP) -> list[RaplPackage]:
    """The packages whose counters can be read; of all packages, or none: a part would be no energy of the machine."""
    found = []
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's processors are under this name, too
        if zone.name.count(":") > 1:
            continue  # cores, memory controller ...: parts of a package
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith("package"):
                continue
            package = RaplPackage(name, zone / "energy_uj", int((zone / "max_energy_range_uj").read_text()))
            package.read()
        except (OSError, ValueError):
            return []
        found.append(package)
    return found


class NvmlDevice:
    """The first visible CUDA device; NVML counts millijoules since the driver was loaded (Volta and later).

    Raises:
        OSError: NVML or the counter is not there.
    """

    def __init__(self) -> None:
        import pynvml
        import torch

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            identity = str(torch.cuda.get_device_properties(0).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{identity.removeprefix('GPU-')}")
            self.name = str(pynvml.nvmlDeviceGetName(self._handle))
            self.read()
        except (pynvml.NVMLError, AssertionError, RuntimeError) as error:
            raise OSError(f"NVML gives no energy: {error}") from error

    def read(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def joules_since(self, earlier: int) -> float:
        return (self.read() - earlier) / 1e3


def counters(device: str) -> list[Counter]:
    """Counters of the device, "cpu" or "cuda"; empty where it has none that can be read."""
    if device.startswith("cuda"):
        try:
            return [NvmlDevice()]
        except (OSError, ImportError):
            return []
    return list(rapl_packages())


class EnergyMeter:
    """Adds up the energy between `start` and `stop`, as a trace's clock adds up seconds.

    Attributes:
        joules: so far; None where no counter could be read, or one failed meanwhile.
        source: what was read, e.g. "RAPL package-0".
    """

    def __init__(self, found: Sequence[Counter]) -> None:
        self._counters = found
        self._since: list[int] | None = None
        self.joules: float | None = 0.0 if found else None
        kind = "RAPL" if all(isinstance(counter, RaplPackage) for counter in found) else "NVML"
        self.source = f"{kind} {', '.join(counter.name for counter in found)}" if found else ""

    def start(self) -> None:
        try:
            self._since = [counter.read() for counter in self._counters]
        except (OSError, ValueError):
            self.joules, self._since = None, None

    def stop(self) -> None:
        if self._since is None or self.joules is None:
            return
        try:
            pairs = zip(self._counters, self._since, strict=True)
            self.joules += sum(counter.joules_since(since) for counter, since in pairs)
        except (OSError, ValueError):
            self.joules = None
        self._since = None
