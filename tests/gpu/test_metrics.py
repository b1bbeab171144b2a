"""SSIM and LPIPS on the GPU against the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.metrics import array_strips, evaluate, weights
from splatbench.metrics.lpips import LpipsStream, load_model
from splatbench.metrics.registry import MetricNotRun

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def pair(photograph: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0).normal(0, 0.07, photograph.shape)
    return np.clip(photograph / 255 + noise, 0, 1).astype(np.float32), photograph


@pytest.mark.parametrize("streamed", [False, True])
def test_ssim_agrees_with_the_cpu(pair, streamed: bool) -> None:
    on_cpu = evaluate(["ssim", "ms_ssim"], *pair, device="cpu", streamed=streamed)[0]
    on_gpu = evaluate(["ssim", "ms_ssim"], *pair, device="cuda", streamed=streamed)[0]
    assert on_gpu == pytest.approx(on_cpu, abs=1e-4)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["lpips_alex", "lpips_vgg", "lpips_squeeze"])
def test_lpips_agrees_with_the_cpu(pair, name: str, streamed: bool) -> None:
    try:
        weights.locate(name)
    except MetricNotRun as reason:
        pytest.skip(str(reason))
    on_cpu = evaluate([name], *pair, device="cpu", streamed=streamed)[0]
    on_gpu = evaluate([name], *pair, device="cuda", streamed=streamed)[0]
    assert on_gpu == pytest.approx(on_cpu, abs=1e-4)


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_tiles_with_random_weights_agree_with_the_cpu(pair, net: str) -> None:
    """Needs no weights; relative, because random weights give small values. TF32 would fail it."""
    import lpips

    picture, reference = pair
    values = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(5)
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        for layer in model.lins:
            layer.model[1].weight.data.abs_()
        stream = LpipsStream(model.to(device), net, reference, device, tile=208)
        for row0, strip in array_strips(picture, 64):
            stream.push(row0, strip)
        values.append(stream.value())
    assert values[1] == pytest.approx(values[0], rel=1e-4)


def test_settings_of_the_caller_are_left_alone(pair) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    evaluate(["ssim"], *pair, device="cuda")
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == before
    load_model.cache_clear()
