from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from splatbench.method import MethodError

TINY = {"widths": (8, 12, 16, 20), "depths": (1, 2, 2, 1)}


@pytest.fixture(scope="module")
def official(part):
    return part("network.official")


@pytest.fixture(scope="module")
def tiny(official):
    """A small network in which every weight, bias and statistic matters."""

    def make(**settings):
        net = official.OfficialNet.seeded(0, **TINY, **settings).eval()
        generator = torch.Generator().manual_seed(1)
        for name, value in net.state_dict().items():
            if name.endswith(("running_var", "gamma")) or (value.ndim == 1 and name.endswith("weight")):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name.endswith("num_batches_tracked"):
                continue
            elif value.ndim == 1:
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
            else:
                fan_in = value.numel() / value.shape[0]
                value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
        return net

    return make


def picture(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


class Reference:
    """The feature network from the table of its layers, in float64 and without modules."""

    def __init__(self, state, batch_statistics):
        self.state = {name: value.double() for name, value in state.items()}
        self.batch_statistics = batch_statistics

    def __call__(self, image):
        x = torch.relu(self.batch_norm(self.conv(image.double(), "in_conv.in_conv.0", pad=1), "in_conv.in_conv.1"))
        skips = [x]
        for stage in range(4):
            at = f"convnext_encoder.downsample_layers.{stage}"
            if stage == 0:
                x = self.layer_norm(self.conv(x, f"{at}.0", step=2), f"{at}.1")
            else:
                x = self.conv(self.layer_norm(x, f"{at}.0"), f"{at}.1", step=2)
            block = 0
            while self.has(f"convnext_encoder.stages.{stage}.{block}.gamma"):
                x = self.block(x, f"convnext_encoder.stages.{stage}.{block}")
                block += 1
            skips.append(x)
        x = skips.pop()
        for k in (1, 2, 3, 4):
            at, skip = f"unet_decoder.up{k}", skips.pop()
            up = self.transposed(x, f"{at}.up")
            frame = torch.zeros(*up.shape[:2], *skip.shape[2:], dtype=torch.float64)
            top, left = (skip.shape[2] - up.shape[2]) // 2, (skip.shape[3] - up.shape[3]) // 2
            frame[:, :, top : top + up.shape[2], left : left + up.shape[3]] = up
            x = torch.cat([skip, frame], 1)
            for place in (0, 3):
                x = self.conv(x, f"{at}.conv.double_conv.{place}", pad=1)
                x = torch.relu(self.batch_norm(x, f"{at}.conv.double_conv.{place + 1}"))
        return self.conv(x, "unet_decoder.outc.conv")

    def has(self, name):
        return f"feature_net.{name}" in self.state

    def get(self, name):
        return self.state[f"feature_net.{name}"]

    def conv(self, x, name, step=1, pad=0):
        bias = self.get(f"{name}.bias") if self.has(f"{name}.bias") else None
        return functional.conv2d(x, self.get(f"{name}.weight"), bias, stride=step, padding=pad)

    def transposed(self, x, name):
        """Every pixel becomes 2 x 2 of its own."""
        tiles = torch.einsum("bihw,ioyx->bohywx", x, self.get(f"{name}.weight"))
        b, o, h, _, w, _ = tiles.shape
        return tiles.reshape(b, o, 2 * h, 2 * w) + self.get(f"{name}.bias")[:, None, None]

    def batch_norm(self, x, name):
        if self.batch_statistics:
            mean = x.mean((0, 2, 3))
            variance = (x - mean[:, None, None]).square().mean((0, 2, 3))
        else:
            mean, variance = self.get(f"{name}.running_mean"), self.get(f"{name}.running_var")
        scale = self.get(f"{name}.weight") / (variance + 1e-5).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + self.get(f"{name}.bias")[:, None, None]

    def layer_norm(self, x, name):
        centred = x - x.mean(1, keepdim=True)
        normal = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
        return normal * self.get(f"{name}.weight")[:, None, None] + self.get(f"{name}.bias")[:, None, None]

    def block(self, x, name):
        weight = self.get(f"{name}.dwconv.weight")
        inner = functional.conv2d(x, weight, self.get(f"{name}.dwconv.bias"), padding=3, groups=len(weight))
        inner = self.layer_norm(inner, f"{name}.norm")
        inner = self.linear(inner, f"{name}.pwconv1")
        inner = self.linear(inner * (1 + torch.erf(inner / math.sqrt(2))) / 2, f"{name}.pwconv2")
        return x + self.get(f"{name}.gamma")[:, None, None] * inner

    def linear(self, x, name):
        weight, bias = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        return torch.einsum("oi,bihw->bohw", weight, x) + bias[:, None, None]


@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("size", [(32, 48), (33, 47), (37, 18), (16, 31)])
@torch.no_grad()
def test_features_are_those_of_a_plain_float64_network(tiny, batch_statistics, size):
    net, image = tiny(batch_statistics=batch_statistics), picture(*size)
    want = Reference(net.state_dict(), batch_statistics)(image)
    found = net.features(image)
    assert found.shape == (1, 64, *size) and found.dtype == torch.float32
    assert (found - want).abs().max() <= 2e-5 * want.abs().max()


@torch.no_grad()
def test_statistics_of_the_picture_leave_the_running_ones_alone(tiny):
    net, image = tiny(), picture(20, 24)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = net.features(image)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.allclose(found, net.train().features(image), atol=1e-5)  # the mode that the released inference is in
    assert not all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not torch.allclose(found, tiny(batch_statistics=False).features(image), atol=1e-2)


@pytest.mark.parametrize("block", [1, 3, 4])
@torch.no_grad()
def test_density_is_the_largest_probability_of_a_block(tiny, official, monkeypatch, block):
    net, (height, width) = tiny(block=block), (21, 26)
    features = net.features(picture(height, width))
    state = {name: value.double() for name, value in net.position_field.state_dict().items()}
    x = features[0].double().permute(1, 2, 0)
    for k in (0, 2):
        x = torch.relu(x @ state[f"{k}.weight"].T + state[f"{k}.bias"])
    want = torch.sigmoid(x @ state["4.weight"].T + state["4.bias"])[..., 0]
    assert (net.probability(features)[0] - want).abs().max() < 1e-5
    density = net.density(features, (height, width))
    assert density.shape == (math.ceil(height / block), math.ceil(width / block))
    for row, line in enumerate(density):
        for column, value in enumerate(line):
            y, x = row * block, column * block
            assert abs(value - want[y : y + block, x : x + block].max()) < 1e-5
    monkeypatch.setattr(official, "_PIXELS", 60)  # bands of two rows
    assert torch.allclose(net.density(features, (height, width)), density, atol=1e-6)
    with torch.enable_grad():
        assert torch.allclose(net.density(features, (height, width)), density, atol=1e-6)


def test_gradients_of_the_probability_reach_every_weight_of_the_feature_net(tiny):
    net = tiny()
    net.density(net.features(picture(18, 22)), (18, 22)).square().sum().backward()
    for name, parameter in net.named_parameters():
        learns = name.startswith(("feature_net.", "position_field."))
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == learns, name


def test_new_weights_are_drawn_as_published(official):
    net = official.OfficialNet.seeded(3, widths=(32, 48), depths=(1, 1))
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("gamma"):
            assert (value == 1e-6).all()
        elif ".up.weight" in name:  # the framework's: uniform within the inverse root of the fan-in
            assert value.abs().max() <= (value.shape[1] * 4) ** -0.5 and value.std() > 0.03
        elif ".up.bias" in name:
            assert value.abs().max() > 0
        elif name.endswith(("bias", "running_mean")):
            assert (value == 0).all(), name
        elif value.ndim > 1 and value.numel() > 1500:
            assert abs(value.std() / 0.02 - 1) < 0.1, name
    again, other = (official.OfficialNet.seeded(s, widths=(32, 48), depths=(1, 1)).state_dict() for s in (3, 4))
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert not all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("size", [(15, 40), (40, 15)])
def test_pictures_that_collapse_in_the_encoder_are_refused(tiny, size):
    with pytest.raises(MethodError, match=f"4 times and takes no side under 16 pixels; .* {size[1]}x{size[0]}"):
        tiny().features(picture(*size))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32)])
def test_what_is_no_colour_picture_is_refused(tiny, shape):
    with pytest.raises(MethodError, match=r"takes \[B, 3, H, W\]"):
        tiny().features(torch.zeros(shape))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"block": 0}, "block must be at least 1"),
        ({"widths": (8, 12), "depths": (1,)}, "as many widths as depths"),
        ({"widths": (7, 12), "depths": (1, 1)}, "first width even"),
        ({"widths": (8, 0), "depths": (1, 1)}, "all positive"),
        ({"widths": (), "depths": ()}, "as many widths as depths"),
    ],
)
def test_shapes_that_make_no_network_are_refused(official, settings, words):
    with pytest.raises(MethodError, match=words):
        official.OfficialNet(**settings)


@pytest.fixture(scope="module")
def anchor(official):
    """The published network with weights that anybody can compute, and a picture of 100 x 72 pixels."""
    with torch.device("meta"):
        net = official.OfficialNet()
    net = net.to_empty(device="cpu").eval()
    for number, (name, value) in enumerate(net.state_dict().items()):
        value.copy_(prescribed(number, name, value.shape))
    y, x = np.mgrid[0:72, 0:100]
    waves = [0.5 + 0.5 * np.sin(2 * np.pi * ((c + 1) * x / 100 + (2 - c) * y / 72) + c) for c in range(3)]
    return net, torch.from_numpy(np.stack(waves)).float()[None]


def prescribed(number, name, shape):
    if name.endswith(("running_mean", "num_batches_tracked")):
        return torch.zeros(shape)
    if name.endswith("running_var"):
        return torch.ones(shape)
    if name.endswith("gamma"):
        return torch.full(shape, 0.1)
    h = (np.arange(math.prod(shape), dtype=np.uint64) * 2654435761 + number * 40503 + 12345) & 0xFFFFFFFF
    h ^= h >> 16
    h = (h * 0x45D9F3B) & 0xFFFFFFFF
    h ^= h >> 16
    u = torch.from_numpy(2 * h / 2**32 - 1).reshape(shape)
    if name.endswith("bias"):
        return 0.01 * u
    return 1 + 0.1 * u if len(shape) == 1 else u * math.sqrt(3 / math.prod(shape[1:]))


#: What the network of the released code gives with these weights, by whether batch norms see the picture.
ANCHORS = {
    True: {
        "features": (0.031800, 0.782717),
        "pixel": (-0.42796, 0.14562, 0.25599, 0.11498),
        "probability": (0.469732, 0.285194, 0.631699, 0.463277, 0.471039, 0.495776),
        "count": 878,
        "means": (-0.005642, 0.006111),
        "scales": (0.877987, 2.449393),
        "turns": 0.174960,
        "colors": (0.266027, 0.267317, 0.267556),
    },
    False: {
        "features": (0.000372, 0.202613),
        "pixel": (-0.04134, 0.31163, 0.09496, -0.20011),
        "probability": (0.495727, 0.473780, 0.515835, 0.503779, 0.483987, 0.496668),
        "count": 820,
        "means": (-0.009032, 0.003225),
        "scales": (0.981435, 2.455361),
        "turns": 0.101194,
        "colors": (0.274848, 0.274223, 0.272787),
    },
}


@pytest.mark.parametrize("batch_statistics", [True, False])
@torch.no_grad()
def test_the_published_network_gives_the_published_gaussians(anchor, part, batch_statistics):
    """100 million parameters: features, probabilities and what is decoded from them."""
    (net, image), want = anchor, ANCHORS[batch_statistics]
    for module in net.modules():
        if hasattr(module, "batch_statistics"):
            module.batch_statistics = batch_statistics
    features = net.features(image)
    p = net.probability(features)[0]
    near = lambda value: pytest.approx(value, abs=2e-5)  # noqa: E731
    assert (features.mean().item(), features.std().item()) == near(want["features"])
    assert features[0, :4, 10, 20].tolist() == near(want["pixel"])
    seen = (p.mean(), p.min(), p.max(), p[10, 20], p[50, 70], p[71, 99])
    assert [value.item() for value in seen] == near(want["probability"])
    found = part("decode").predict(net, image)
    assert len(found.means) == pytest.approx(want["count"], abs=4)  # a probability on the edge may round otherwise
    tolerance = 1e-5 if len(found.means) == want["count"] else 2e-3
    for name in ("means", "scales", "turns", "colors"):
        assert getattr(found, name).mean(0).tolist() == pytest.approx(want[name], abs=tolerance), name
