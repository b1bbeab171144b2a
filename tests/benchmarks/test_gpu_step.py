"""The benchmark of fitting steps, as far as it goes without a GPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu_step
from benchmarks.report import Timing


def test_errors_are_polite(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_step.main([]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err
    for arguments, words in ((["--scenes", "mars"], "unknown mars"), (["--repeats", "1"], "at least 3")):
        with pytest.raises(SystemExit):
            gpu_step.main(arguments)
        assert words in capsys.readouterr().err


def test_parts_are_those_of_the_step_and_find_the_scene(scene, triton_device):
    from splatbench.render import covariance_from_cholesky

    fit = gpu_step.make_fit(scene.to(triton_device), gpu_step.OBJECTIVES["L2"])
    assert list(fit.parts()) == list(gpu_step.least_work(scene, 1, True))
    fit.parts()["activation"]()
    torch.testing.assert_close(fit.means.cpu(), scene.means.clamp_min(0.5), rtol=0, atol=1e-4)  # what tanh can reach
    covariance = covariance_from_cholesky(scene.factors)
    torch.testing.assert_close(fit.covariance.cpu(), covariance, rtol=1e-5, atol=1e-5)


def test_the_verdict_compares_with_the_bars():
    values = {"scene": "kodak-28k", "gaussians": 1, "height": 1, "width": 1, "device": "cuda", "threads": 1}
    fast, slow = (
        Timing(kernel=kernel, implementation="splatbench", clock="wall", median=median, **values)
        for kernel, median in (("step L2, Adan", 2e-4), ("step L1 + SSIM, Adan", 5e-4))
    )
    text = gpu_step.verdict([fast, slow])
    assert "0.200 ms, bar 0.25 ms: met" in text and "0.500 ms, bar 0.40 ms: missed" in text
