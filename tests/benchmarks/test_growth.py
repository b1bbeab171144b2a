"""How cost grows: the law that is fitted, points that are kept, processes that die."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from benchmarks import growth as module
from benchmarks.growth import COUNTS, SIZES, main, points, run_point
from benchmarks.growth_job import measure_point, memory
from benchmarks.growth_report import Growth, draw_figure, drawable, fit_law, growth_markdown, read_growth, write_growth
from benchmarks.training import STEPS

STEP = next(iter(STEPS))


def record(size: int, time: float, memory: float, axis: str = "pixels", **more: object) -> Growth:
    shape = {"height": 1, "width": size, "gaussians": 5} if axis == "pixels" else {"height": 9, "width": 9}
    if axis == "gaussians":
        shape["gaussians"] = size
    values = {"step": STEP, "threads": 1, "clock": "cpu", "seconds": [time] * 3, "base": 10**8, "scene": 10**8}
    return Growth.model_validate({"axis": axis, "peak": round(10**8 + memory)} | shape | values | more)


def test_law_is_found():
    sizes = np.geomspace(1e3, 1e8, 9)
    law = fit_law(sizes, 2e-3 + 5e-8 * sizes)
    assert (law.fixed, law.each) == pytest.approx((2e-3, 5e-8)) and law.error < 1e-9
    assert law(1e6) == pytest.approx(0.052) and 0 < law.slope < 1
    assert fit_law([1, 10, 100], [3, 30, 300]).slope == pytest.approx(1)
    steep = fit_law([1, 10, 100], [1, 100, 10_000])
    assert steep.fixed == 0 and steep.slope == pytest.approx(2) and steep.error > 0.25
    with pytest.raises(ValueError, match="at least two sizes"):
        fit_law([4, 4], [1, 2])


def test_points_cover_what_was_asked_for():
    pixels = points("pixels", 2.1e8, 2e6)
    assert pixels[0][0] * pixels[0][1] < 1.01e5 and pixels[-1] == (12288, 16320, 430_000)
    density = [n / (h * w) for h, w, n in pixels]
    assert max(density) / min(density) < 1.01
    assert [n for *_, n in points("gaussians", 1e9, 2e6)] == list(COUNTS) and COUNTS[0] == 1000
    assert points("pixels", 1e6, 1)[-1][:2] == (768, 1020) and len(SIZES) == 7


def test_words_say_whether_growth_is_linear_and_why_not():
    straight = [record(n, 1e-7 * n, 50.0 * n) for n in (10**5, 10**6, 10**7)]
    text = growth_markdown(straight)
    assert "Time: log-log slope 1.00; 0.00 ms + 100.0 ns per pixel fits within 0%. Near-linear." in text
    assert "| 1.00 |" in text.replace("    ", " ").replace("  ", " ")
    flat = [record(n, 0.05 + 1e-7 * n, 1e8 + 50 * n, "gaussians") for n in (10**3, 10**5, 10**6)]
    text = growth_markdown(flat)
    assert "50.00 ms + 100.0 ns per Gaussian" in text
    assert "Less than linear because of a fixed part (the loss of every pixel" in text
    assert "which is as much as 5e+05 Gaussians cost" in text
    assert "Memory beyond libraries: log-log slope" in text and "100 MB + 50.0 bytes per Gaussian" in text
    steep = [record(n, 1e-14 * n * n, n) for n in (10**5, 10**6, 10**7)]
    assert "More than linear" in growth_markdown(steep) and "rough one" in growth_markdown(steep)
    constant = [record(n, 0.01, 1e6, "gaussians") for n in (10, 20, 30)]
    assert "It hardly grows" in growth_markdown(constant) or "Less than linear" in growth_markdown(constant)


def test_failures_are_rows():
    failed = record(10**8, 0, 0, status="failed", reason="ended by SIGKILL: out of memory?", peak=None, seconds=[])
    text = growth_markdown([record(10**5, 0.01, 1e6), failed])
    assert "failed: ended by SIGKILL: out of memory?" in text and "Time:" not in text
    assert drawable([record(10**5, 0.01, 1e6), failed]) == []
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_figure([failed], "unused.svg")


def test_figure(tmp_path):
    records = [record(n, 1e-7 * n, 50.0 * n) for n in (10**5, 10**6)]
    records += [record(n, 1e-2, 5e7, "gaussians") for n in (10**3, 10**4)]
    for ending, start in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        draw_figure(records, tmp_path / f"a.{ending}")
        assert (tmp_path / f"a.{ending}").read_bytes().startswith(start)


def test_records_are_read_as_they_were_written(tmp_path):
    records = [record(n, 1e-7 * n, 50.0 * n) for n in (10**5, 10**6)]
    write_growth(tmp_path / "a.jsonl", records)
    assert list(read_growth(tmp_path / "a.jsonl")) == records
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1"):
        list(read_growth(tmp_path / "a.jsonl"))


def test_a_point_in_this_process():
    found = measure_point(40, 50, 30, STEP, "cpu", 0.0)
    assert len(found["seconds"]) == 3 and min(found["seconds"]) > 0
    assert 0 < found["base"] <= found["peak"] and found["scene"] <= found["peak"]


def test_peak_memory_is_seen():
    before, _ = memory()
    block = np.ones(200_000_000, np.uint8)
    now, most = memory()
    del block
    slack = 5_000_000  # the kernel's own counts lag behind
    assert now > before + 200_000_000 - slack and most > now - slack
    after, still = memory()
    assert after < now - 150_000_000 and still > now - slack


@pytest.mark.slow
def test_a_point_in_a_process_of_its_own():
    asked = record(40, 0, 0, seconds=[], base=None, scene=None, peak=None)
    found = run_point(asked, 0.0)
    assert found.status == "ok", found.reason
    assert found.time > 0 and found.peak and found.base and found.memory >= 0


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        (-9, "", "ended by SIGKILL: out of memory?"),
        (-11, "", "ended by SIGSEGV"),
        (1, "Traceback ...\nKeyError: 'x'\n", "KeyError: 'x'"),
        (3, "", "exit code 3"),
    ],
)
def test_processes_that_die_say_how(monkeypatch, code, said, reason):
    done = subprocess.CompletedProcess([], code, stdout="", stderr=said)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: done)
    found = run_point(record(40, 0, 0), 0.0)
    assert (found.status, found.reason) == ("failed", reason)


def test_measured_points_are_kept(tmp_path, monkeypatch, capsys):
    asked: list[int] = []

    def fake(growth: Growth, budget: float) -> Growth:
        asked.append(growth.pixels)
        if growth.pixels == 384 * 510 and asked.count(growth.pixels) == 1:
            return growth.model_copy(update={"status": "failed", "reason": "no luck"})
        cost = {"seconds": [1e-8 * growth.pixels], "base": 10, "scene": 20, "peak": 10 + growth.pixels}
        return growth.model_copy(update=cost)

    monkeypatch.setattr(module, "run_point", fake)
    monkeypatch.setattr(module, "draw_figure", lambda _, path: path.touch())
    arguments = [
        "--axes",
        "pixels",
        "--most-pixels",
        "8e5",
        "--threads",
        "1",
        "--clock",
        "cpu",
        "--output",
        str(tmp_path),
    ]
    sizes = [272 * 360, 384 * 510, 768 * 1020]
    assert main(arguments) == 1 and asked == [64 * 64, *sizes]
    assert "failed: no luck" in capsys.readouterr().out
    assert main(arguments) == 0 and asked[4:] == [64 * 64, 384 * 510]  # what failed is tried again, and nothing else
    assert main(arguments) == 0 and len(asked) == 6
    assert main([*arguments, "--again"]) == 0 and asked[6:] == [64 * 64, *sizes]
    assert {p.name for p in tmp_path.iterdir()} == {"growth.jsonl", "growth.md", "growth.svg", "growth.png"}
    monkeypatch.setattr(module, "_same", lambda *_: False)
    main(arguments)
    assert asked[10:] == [64 * 64, *sizes]
