"""`Workspace` and the operations over it: batches, autograd, and what is refused."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import weakref

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

from splatbench.render.gpu import Workspace, ops, rasterize_sum, rasterize_topk

SIZE = 9, 18


@pytest.fixture
def tensors(make_scene, triton_device):
    return [v.to(triton_device) for v in make_scene(5, SIZE)]


@pytest.mark.parametrize("blend", ["sum", "topk"])
def test_every_value_is_written_each_time(blend, tensors, triton_device):
    """Over NaN, and over what another scene left in the workspace; with and without the dimension of a batch of one."""
    w = Workspace(5, SIZE, 3, device=triton_device, blend=blend, k=2)
    grad = torch.ones(*SIZE, 3, device=triton_device)
    results = []
    for means in (tensors[0] + 5, tensors[0], tensors[0][None]):
        batch = means.shape[:-2]
        inputs = [means, *(v.reshape(*batch, *v.shape) for v in tensors[1:])]
        out = torch.full((*batch, *SIZE, 3), math.nan, device=triton_device)
        gradients = [torch.full_like(v, math.nan) for v in inputs]
        w.forward(*inputs, out)
        w.backward(grad.expand_as(out).contiguous(), *gradients)
        results.append([v.reshape(v.shape[len(batch) :]) for v in (out, *gradients)])
    assert all(v.isfinite().all() for result in results for v in result)
    assert not torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(a, b) for a, b in zip(results[1], results[2], strict=True))


def test_two_pictures_may_wait_for_their_gradients(make_scene, triton_device):
    scenes = [[v.to(triton_device).requires_grad_() for v in make_scene(n, SIZE, seed=n)] for n in (3, 4)]
    images = [rasterize_sum(*scene, SIZE) for scene in scenes]
    for image in images:
        image.square().sum().backward()
    for scene in scenes:
        waited = [v.grad.clone() for v in scene]
        for v in scene:
            v.grad = None
        rasterize_sum(*scene, SIZE).square().sum().backward()
        assert all(torch.equal(v.grad, g) for v, g in zip(scene, waited, strict=True))


def test_a_change_in_place_is_noticed(tensors):
    leaves = [v.clone().requires_grad_() for v in tensors]
    for which, draw in ((2, rasterize_sum), (0, rasterize_topk)):
        image = draw(*leaves, SIZE)
        with torch.no_grad():
            leaves[which].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            image.sum().backward()


def test_out_and_strides(tensors, triton_device):
    wanted = rasterize_sum(*tensors, SIZE)
    out = torch.empty_like(wanted)
    strided = [torch.stack([v, v], -1)[..., 0] for v in tensors]
    assert not strided[0].is_contiguous()
    assert rasterize_sum(*strided, SIZE, out=out) is out
    assert torch.equal(out, wanted)
    none = [v[None][:0] for v in tensors]
    assert rasterize_sum(*none, SIZE).shape == (0, *SIZE, 3)


@pytest.mark.parametrize("draw", [rasterize_sum, rasterize_topk])
def test_nothing_outlives_its_picture(draw, tensors, monkeypatch):
    """The garbage collector is not needed: a picture does not own itself by way of its workspace."""
    made = []

    class Noted(Workspace):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            made.append(weakref.ref(self))

    monkeypatch.setattr(ops, "Workspace", Noted)
    leaves = [v.clone().requires_grad_() for v in tensors]
    gc.disable()
    try:
        image = draw(*leaves, SIZE)
        assert made[0]() is not None
        del image
        assert made[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blend": "alpha"}, "blend: expected 'sum' or 'topk'"),
        ({"compat": frozenset({"tiles"})}, "compat"),
        ({"blend": "topk", "compat": frozenset({"tile_cap_256"})}, "compat: expected some of .'tiles_3sigma'. for"),
        ({"n": -1}, "n: expected 0 to"),
        ({"n": 1 << 20, "batch": 1 << 8}, "n: expected 0 to 178956969 Gaussians in a batch"),
        ({"size": (0, 4)}, "size"),
        ({"size": (4, 600_000)}, "size: expected at most 262136 x 524272 pixels"),
        ({"channels": 0}, "channels"),
        ({"batch": 0}, "batch"),
        ({"k": 0}, "k: expected 1 to 128"),
        ({"epsilon": math.nan}, "epsilon"),
        ({"min_response": 0.0}, "min_response"),
    ],
)
def test_settings_are_checked(settings, message, triton_device):
    arguments = {"n": 5, "size": SIZE, "channels": 3, "device": triton_device} | settings
    with pytest.raises(ValueError, match=message):
        Workspace(**arguments)


def test_tensors_are_checked(tensors, triton_device):
    w = Workspace(5, SIZE, 3, device=triton_device)
    out = torch.empty(*SIZE, 3, device=triton_device)
    with pytest.raises(RuntimeError, match="forward first"):
        w.backward(out, *tensors)
    for place, value, message in (
        (0, tensors[0].double(), "means: expected torch.float32"),
        (1, tensors[1].float(), "covariance: expected torch.float64"),
        (2, tensors[2][:, :2].contiguous(), "colors: expected"),
        (3, out[:-1], "out: expected"),
        (3, out.transpose(0, 1).contiguous().transpose(0, 1), "out: must be contiguous"),
    ):
        arguments = [*tensors, out]
        arguments[place] = value
        with pytest.raises(ValueError, match=message):
            w.forward(*arguments)
    with pytest.raises(ValueError, match="covariance: expected"):
        rasterize_sum(tensors[0], tensors[1][:4], tensors[2], SIZE)


def test_the_cpu_is_refused_where_kernels_are_not_interpreted():
    code = """
import torch
from splatbench.render.gpu import rasterize_sum
rasterize_sum(torch.zeros(1, 2), torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 3), (4, 4))
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "need a CUDA device, got a tensor on cpu; set TRITON_INTERPRET=1" in run.stderr
