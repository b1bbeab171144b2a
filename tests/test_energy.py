"""Energy from counters: made-up ones, and those of this machine where it has any."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from splatbench.energy import EnergyMeter, NvmlDevice, counters, rapl_packages
from splatbench.trace import Trace


def zone(folder: Path, name: str, kind: str, microjoules: int, limit: int = 999_999) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "name").write_text(f"{kind}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{limit}\n")
    return path / "energy_uj"


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 1000), zone(tmp_path, "intel-rapl:1", "package-1", 5)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 7)
    zone(tmp_path, "intel-rapl:2", "psys", 7)
    meter = EnergyMeter(rapl_packages(tmp_path))
    meter.start()
    first.write_text("201000")
    second.write_text("50005")
    core.write_text("999")
    meter.stop()
    assert meter.joules == pytest.approx(0.25)
    assert meter.source == "RAPL package-0, package-1"


def test_a_counter_that_goes_round(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 990_000)
    meter = EnergyMeter(rapl_packages(tmp_path))
    meter.start()
    counter.write_text("10000")  # 999 999 is the last value before 0
    meter.stop()
    assert meter.joules == pytest.approx(0.02)


def test_snapshots_are_not_counted(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(rapl_packages(tmp_path))
    trace = Trace(on_snapshot=lambda *_: counter.write_text("500000"), snapshots=["1"], meter=meter)
    trace.start()
    counter.write_text("100000")
    trace.snapshot("1", None)
    counter.write_text("550000")
    trace.stop()
    assert meter.joules == pytest.approx(0.15)


def test_no_counter_no_figure(tmp_path):
    assert rapl_packages(tmp_path / "nothing") == []
    meter = EnergyMeter([])
    meter.start()
    meter.stop()
    assert meter.joules is None
    assert meter.source == ""


def test_one_package_that_cannot_be_read_leaves_none(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    zone(tmp_path, "intel-rapl:1", "package-1", 1).write_text("no number")
    assert rapl_packages(tmp_path) == []


def test_a_counter_that_fails_meanwhile_gives_no_figure(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = EnergyMeter(rapl_packages(tmp_path))
    meter.start()
    shutil.rmtree(tmp_path / "intel-rapl:0")
    meter.stop()
    assert meter.joules is None


def test_a_gpu_without_nvml_has_no_counter():
    import torch

    if torch.cuda.is_available():
        assert counters("cuda")[0].read() >= 0
    else:
        with pytest.raises(OSError, match="NVML"):
            NvmlDevice()
        assert counters("cuda") == []


def test_encoding_records_it(tmp_path, monkeypatch):
    """Through `encode_image`: what the counter moved while the clock ran."""
    import numpy as np

    from splatbench.budget import Budget
    from splatbench.method import get_method
    from splatbench.runner import encoding

    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    monkeypatch.setattr(encoding, "counters", lambda device: rapl_packages(tmp_path))
    kind = get_method("identity")
    method = kind(kind.make_config({}), "cpu")
    inner = method.encode

    def encode(*arguments):
        counter.write_text("3000")
        return inner(*arguments)

    monkeypatch.setattr(method, "encode", encode)
    encoded = encoding.encode_image(method, np.zeros((8, 8, 3), np.uint8), Budget(native=True))
    assert encoded.energy_joules == pytest.approx(0.003)
    assert encoded.energy_source == "RAPL package-0"
