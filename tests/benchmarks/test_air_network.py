"""The benchmark of AIR's network, as far as it goes without a GPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import air_network
from benchmarks.report import Timing, read_timings

PARTS = ["Stage Control", "head", "drawing"]


def test_every_part_is_measured_on_the_cpu(tmp_path, capsys):
    arguments = ["--device", "cpu", "--tiny", "--variants", "float32,bf16", "--repeats", "3", "--output", str(tmp_path)]
    assert air_network.main(arguments) == 0
    (path,) = tmp_path.glob("*.jsonl")
    timings = list(read_timings(path))
    assert {(t.kernel, t.implementation) for t in timings} == {
        (kernel, variant)
        for kernel in [f"stage {s}: {p}" for s in (1, 2, 3, 4) for p in PARTS] + [air_network.WHOLE]
        for variant in ("float32", "bf16")
    }
    assert all(t.status == "ok" and t.median and t.repeats == 3 for t in timings)
    of = {(t.kernel, t.implementation): t for t in timings}
    whole = of[air_network.WHOLE, "float32"]
    heads = sum(of[f"stage {s}: head", "float32"].median for s in (1, 2, 3, 4))
    assert 0.2 * heads < whole.median < 20 * heads  # the parts are parts of the whole
    assert of["stage 1: drawing", "float32"].note == "48 of 48 candidates"  # stage 1 is full
    assert (whole.gaussians, whole.height, whole.width) == (6 * 8, 40, 53)
    assert (text := path.with_suffix(".md").read_text()) in capsys.readouterr().out
    assert "| all stages" in text and "bar" not in text  # which is one for GPUs


def test_parts_get_what_they_get_in_the_pass():
    """Their pictures are those of the stages: the last one is the picture of the whole."""
    chain = air_network.make_chain(air_network.VARIANTS["float32"], (40, 53), "cpu", tiny=True)
    target = air_network.make_target((40, 53), "cpu")
    parts = {name: function for name, function, _ in air_network.parts_of(chain, target)}
    whole = parts[air_network.WHOLE]()
    for stage in range(4):
        torch.testing.assert_close(parts[f"stage {stage + 1}: head"]().raw[0], whole.raw[stage], rtol=0, atol=1e-5)
        assert torch.equal(parts[f"stage {stage + 1}: Stage Control"]()[0], whole.chosen[stage])
    torch.testing.assert_close(parts["stage 4: drawing"]()[0], whole.picture, rtol=0, atol=1e-5)


def test_the_verdict_is_that_of_the_fastest_whole_pass():
    values = {"gaussians": 1, "height": 1, "width": 1, "device": "cuda", "threads": 1, "clock": "wall"}
    timings = [
        Timing(kernel=kernel, implementation=name, scene=scene, median=median, **values)
        for kernel, name, scene, median in (
            (air_network.WHOLE, "float32", "a", 0.090),
            (air_network.WHOLE, "bf16", "a", 0.030),
            ("stage 1: head", "bf16", "a", 0.001),
            (air_network.WHOLE, "bf16", "b", 0.019),
            (air_network.WHOLE, "bf16", "c", 0.041),
        )
    ]
    lines = air_network.verdict(timings).splitlines()
    assert lines == [
        "a, bf16: 30.0 ms, bar 40 ms: met",
        "b, bf16: 19.0 ms, bar 40 ms: goal of 20 ms met",
        "c, bf16: 41.0 ms, bar 40 ms: missed",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--variants", "fp8"], "unknown fp8"),
        (["--sizes", "1x1"], "unknown 1x1"),
        (["--repeats", "2"], "at least 3"),
        (["--device", "cuda"], "no CUDA device"),
    ],
)
def test_errors_are_polite(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        air_network.main(arguments)
    assert words in capsys.readouterr().err


@pytest.mark.gpu
def test_every_part_is_measured_on_a_gpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    arguments = ["--device", "cuda", "--tiny", "--repeats", "3", "--output", str(tmp_path)]
    assert air_network.main(arguments) == 0
    (path,) = tmp_path.glob("*.jsonl")
    timings = list(read_timings(path))
    assert {t.implementation for t in timings} == set(air_network.VARIANTS)
    assert all(t.status == "ok" for t in timings), [t.reason for t in timings if t.reason]
