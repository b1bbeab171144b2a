"""Records and tables."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import Timing, markdown, read_timings, to_records, write_timings
from benchmarks.roofline import COPY, FMA, Roofline
from benchmarks.timing import CPU, Case, Measured
from benchmarks.work import Work
from splatbench.record import Provenance

MADE = Provenance(commit="c" * 40, dirty=False, cpu="A CPU", cores=2, time="2026-01-02", versions={"numpy": "2.4"})


@pytest.fixture
def timings(scene) -> list[Timing]:
    def case(kernel: str, whose: str, **more: object) -> Case:
        return Case(kernel, whose, lambda: print, **more)  # type: ignore[arg-type]

    measured = [
        Measured(case("sum forward", "splatbench", work=Work(4e6, 10), pairs=2_000_000), [0.002, 0.004, 0.003]),
        Measured(case("sum forward", "reference", pairs=2_000_000, note="exact"), [0.3, None, 0.3]),
        Measured(case("sum forward", "absent"), not_available="pip install absent"),
        Measured(case("step L2", "splatbench"), [0.01] * 3),
        Measured(case("step L2", "broken"), failure="ValueError: no"),
        Measured(case(FMA, "chains", work=Work(4e9, 0)), [1.0] * 3),
        Measured(case(COPY, "0 MiB", work=Work(0, 1e6)), [5e-4] * 3),
        Measured(case(COPY, "953 MiB", work=Work(0, 1e9)), [1.0] * 3),
    ]
    return to_records(measured, scene, CPU, 1, Roofline(4e9, ((1e6, 2e9), (1e9, 1e9))), MADE)


def test_records_hold_what_was_measured(timings):
    ours, reference, absent, _, broken, *_ = timings
    assert (ours.median, ours.repeats, ours.tenth, ours.ninetieth) == pytest.approx((0.003, 3, 0.0022, 0.0038))
    assert ours.pairs_per_second == pytest.approx(2e6 / 0.003)
    assert ours.fraction == pytest.approx(1e-3 / 0.003)  # 4e6 multiply-adds at 4e9 per second
    assert (ours.scene, ours.gaussians, ours.height, ours.width) == ("small", 60, 24, 36)
    assert (ours.device, ours.threads, ours.clock, ours.peak_fma) == ("cpu", 1, "cpu", 4e9)
    assert ours.peak_bytes == 2e9
    assert reference.ratio == pytest.approx((0.3 / 0.002 + 0.3 / 0.003) / 2) and reference.repeats == 2
    assert (absent.status, absent.reason, absent.median) == ("not_available", "pip install absent", None)
    assert (broken.status, broken.reason) == ("failed", "ValueError: no")
    assert all(t.provenance == MADE for t in timings)


def test_records_are_read_as_they_were_written(timings, tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    write_timings(path, timings)
    assert list(read_timings(path)) == timings
    assert all(json.loads(line)["schema_version"] == 1 for line in path.read_text().splitlines())


def test_wrong_records_are_named_by_line(timings, tmp_path):
    path = tmp_path / "a.jsonl"
    write_timings(path, timings[:1])
    path.write_text(path.read_text() + '{"kernel": 3}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2"):
        list(read_timings(path))


def test_tables(timings):
    text = markdown(timings)
    rows = {tuple(c.strip() for c in line.split("|")[1:-1]) for line in text.splitlines() if line.startswith("| ")}
    assert ("sum forward", "splatbench", "3.000", "53%", "", "1.500", "33.3%") in rows
    assert ("sum forward", "reference", "300.000", "0%", "125.00", "150.000", "") in rows
    assert ("sum forward", "absent", "not available", "", "", "", "") in rows
    assert ("step L2", "splatbench", "small", "1 thread, CPU time", "8.0 s", "8.3 min") in rows
    assert "- absent, sum forward: pip install absent" in text
    assert "- broken, step L2: ValueError: no" in text
    assert "- reference, sum forward: exact" in text
    assert "## small: 60 Gaussians, 36x24; 1 thread, CPU time" in text
    assert "Roofline: 4.0 G multiply-adds/s; copies: 2.0 GB/s (0 MiB), 1.0 GB/s (953 MiB)." in text
    assert "CPU: A CPU, 2 cores. Commit cccccccccccc. 2026-01-02" in text
    assert FMA not in text


def test_a_table_of_failures_says_so(timings):
    text = markdown([timings[2]])
    assert "No roofline" in text and "Whole fits" not in text
