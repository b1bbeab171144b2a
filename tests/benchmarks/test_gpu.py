"""The benchmark on a CUDA device."""

from __future__ import annotations

import pytest
import torch

from benchmarks import roofline, scenes
from benchmarks.report import read_timings
from benchmarks.run import cases_of, main

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def test_every_kernel_is_measured(monkeypatch, tmp_path):
    monkeypatch.setitem(scenes.SCENES, "small", (40, 24, 36))
    monkeypatch.setattr(roofline, "_COPIED_GPU", (1 << 20,))
    assert main(["--scenes", "small", "--devices", "cuda", "--repeats", "3", "--output", str(tmp_path)]) == 0
    (records,) = tmp_path.glob("*.jsonl")
    for t in read_timings(records):
        if t.implementation == "gsplat" and t.status == "not_available":
            continue
        assert t.status == "ok", (t.kernel, t.implementation, t.reason)
        assert t.device == "cuda" and t.provenance.gpu and t.median and t.median > 0


def test_what_is_recorded_computes_what_it_says(scene):
    """Steps repeated from a graph do what autograd does; drawn pictures were compared where the kernels are tested."""
    there = scene.to("cuda")
    losses = {}
    for case in cases_of(there, [], exact=False):
        if case.kernel == "step L1 + SSIM, Adam":
            step = case.build()
            step()
            if hasattr(step, "loss"):
                losses[case.implementation] = float(step.loss() if callable(step.loss) else step.loss)
    assert set(losses) == {"splatbench", "splatbench, no graph"}
    torch.testing.assert_close(losses["splatbench"], losses["splatbench, no graph"])
