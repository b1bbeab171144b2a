from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

SIZE = (53, 70)


@pytest.fixture
def inference(part):
    return part("network.inference")


@pytest.fixture
def net(part, tiny_shape):
    """Random weights, strong enough to draw something."""
    net = part("network.airnet").AirNet.seeded(3, heads=3, quantise=False, shape=tiny_shape).eval()
    torch.manual_seed(4)
    with torch.no_grad():
        for head in net.gaussian_heads:
            head.gaussian_linear.weight.normal_(std=0.4)
    return net


@pytest.fixture(scope="module")
def target():
    coarse = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(2))
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("compat", [(), ("tiles_3sigma", "tile_cap_256")])
@pytest.mark.parametrize("psnr", [5.0, 35.0])
@torch.no_grad()
def test_static_shapes_give_the_stages_of_the_chain(inference, part, net, target, compat, psnr):
    control = part("control").StageControl(psnr, None, "all")
    drawing = part("stages").Drawing(stretch=bool(compat), compat=frozenset(compat))
    found = inference.StaticChain(net, SIZE, control, drawing)(target)
    run = list(part("stages").run_stages(net, target, control, drawing))
    assert len(run) == 3
    assert psnr > 20 or not found.chosen.all()  # some are left out at the low threshold
    for stage, raw, chosen in zip(run, found.raw, found.chosen, strict=True):
        assert torch.equal(stage.chosen[0], chosen)
        torch.testing.assert_close(stage.prediction.raw[0], raw, rtol=0, atol=1e-5)
    torch.testing.assert_close(run[-1].picture[0], found.picture, rtol=0, atol=1e-5)
    torch.testing.assert_close(run[-1].prediction.summary[0], found.cls, rtol=0, atol=1e-5)


@torch.no_grad()
def test_weights_converted_once_give_what_autocast_gives(inference, net, target):
    plain = copy.deepcopy(net)
    quick = inference.accelerate(net, torch.bfloat16)
    head = quick.gaussian_heads[1]
    assert head.neck.input_blocks[1].weight.dtype == torch.bfloat16
    assert head.gaussian_linear.weight.dtype == head.encoder.backbone.norm.weight.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = plain(target, 1), quick(target, 1)
    scale = expected.raw.std()
    assert (found.raw - expected.raw).abs().max() < 0.02 * scale  # one rounding more or less in another memory order
    assert (found.raw - plain(target, 1).raw).abs().max() > 1e-4 * scale  # it was not float32
    assert not any(p.requires_grad for p in quick.parameters())


@torch.no_grad()
def test_another_memory_order_changes_nothing_else(inference, net, target):
    expected = net(target, 0).raw
    torch.testing.assert_close(inference.accelerate(net)(target, 0).raw, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_heads_are_one_graph_for_the_compiler(net, target, monkeypatch):
    """No part of a head falls back to Python under autocast, and all heads share what was compiled."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    with torch.autocast("cpu", torch.bfloat16):
        expected = [net(target, stage).raw for stage in (0, 1)]
        for stage in (0, 1):
            net.gaussian_heads[stage].compile(backend=backend, fullgraph=True, dynamic=False)
            found = net(target, stage).raw
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected[stage], rtol=0, atol=1e-5)
    assert len(graphs) == 1


class OnDevice(TorchDispatchMode):
    """Raises where an operation reads from the device, makes a shape of values, or copies from the host: no CUDA graph
    can hold that."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if name == "index" else []
        if masks or name in ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "equal", "unique_dim"):
            raise AssertionError(f"{function} waits for the device")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("published", [False, True])
@torch.no_grad()
def test_nothing_waits_for_the_device(inference, part, net, target, published):
    flags = frozenset({"tiles_3sigma", "tile_cap_256"}) if published else frozenset()
    control = part("control").StageControl(when_none="all" if published else "skip")
    chain = inference.StaticChain(net, SIZE, control, part("stages").Drawing(published, flags))
    expected = chain(target).picture
    with OnDevice():
        found = chain(target).picture
        with pytest.raises(AssertionError, match="waits"):
            bool(found.any())
    assert torch.equal(found, expected)


@pytest.mark.gpu
@torch.no_grad()
def test_a_recorded_pass_gives_the_stages_of_the_cpu(inference, part, net, target):
    """On another picture than the one it was recorded with."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    control, drawing = part("control").StageControl(5.0, None), part("stages").Drawing()
    expected = inference.StaticChain(net, SIZE, control, drawing)(target)
    chain = inference.StaticChain(inference.accelerate(net.cuda()), SIZE, control, drawing)
    seen = torch.zeros_like(target, device="cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # kernels are compiled before the recording
        chain(seen)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        found = chain(seen)
    seen.copy_(target)
    graph.replay()
    assert torch.equal(found.chosen.cpu(), expected.chosen)
    torch.testing.assert_close(found.raw.cpu(), expected.raw, rtol=0, atol=5e-3)  # convolutions in TF32
    torch.testing.assert_close(found.picture.cpu(), expected.picture, rtol=0, atol=2e-2)
