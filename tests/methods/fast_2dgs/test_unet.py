"""The networks: names, shapes and counts of the published ones; values against a plain network in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def published_entries(head, outputs, k_dim, c=32):
    """Names and shapes of the weights, from the layer table."""
    entries = {}

    def conv(name, shape):
        entries[f"{name}.weight"], entries[f"{name}.bias"] = shape, (shape[0],)

    def transposed(name, channels):
        entries[f"{name}.weight"], entries[f"{name}.bias"] = (channels, channels, 2, 2), (channels,)

    def double(name, a, b):
        for i, source in ((0, a), (3, b)):
            conv(f"{name}.{i}", (b, source, 3, 3))
            entries.update({f"{name}.{i + 1}.{what}": () if what == NORM[4] else (b,) for what in NORM})

    double("inc.block", 3, c)
    for i, (a, b) in enumerate([(c, 2 * c), (2 * c, 4 * c), (4 * c, 8 * c), (8 * c, 8 * c)], 1):
        double(f"down{i}.1.block", a, b)
    conv("bottleneck_reduce.0", (k_dim, 8 * c, 1, 1))
    conv("bottleneck_expand", (8 * c, k_dim, 1, 1))
    conv("k_embed.0", (64, 1))
    conv("k_embed.2", (128, 64))
    conv("k_to_gamma", (k_dim, 128))
    conv("k_to_beta", (k_dim, 128))
    for i, (up, after) in enumerate([(8 * c, 4 * c), (4 * c, 2 * c), (2 * c, c), (c, c)], 1):
        transposed(f"up{i}", up)
        double(f"conv{i}.block", 2 * up, after)
    double(head, c, c)
    conv(f"{head}.6", (outputs, c, 1, 1))
    return entries


@pytest.mark.parametrize(
    ("build", "head", "outputs", "k_dim", "parameters"),
    [
        (lambda u: u.HeatNet(), "pos_conv", 1, 16, 3_740_561),
        (lambda u: u.AttributeNet(offset=False), "out_conv", 6, 16, 3_740_726),
        (lambda u: u.AttributeNet(), "out_conv", 8, 64, 3_777_800),
    ],
)
def test_published_names_shapes_and_counts(part, build, head, outputs, k_dim, parameters):
    net = build(part("unet"))
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == published_entries(
        head, outputs, k_dim
    )
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert sum(b.numel() for b in net.buffers()) == 4116
    assert len(net.state_dict()) == 162


def plain_network(state, image, count, head, u=1):
    """The forward pass of the layer table in float64, layer by layer."""
    w = {name: value.double() for name, value in state.items()}

    def conv(name, x, padding=0):
        return functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=padding)

    def double(name, x):
        for i in (0, 3):
            x = conv(f"{name}.{i}", x, 1)
            mean, var, scale, shift = (
                w[f"{name}.{i + 1}.{what}"].reshape(-1, 1, 1) for what in ("running_mean", "running_var", *NORM[:2])
            )
            x = torch.relu((x - mean) / torch.sqrt(var + 1e-5) * scale + shift)
        return x

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def up(name, x):
        """2x2, stride 2: every output pixel comes from one input pixel."""
        y = torch.einsum("bchw,cdij->bdhiwj", x, w[f"{name}.weight"])
        b, d, h, i, v, j = y.shape
        return y.reshape(b, d, h * i, v * j) + w[f"{name}.bias"].reshape(-1, 1, 1)

    xs = [double("inc.block", functional.pixel_unshuffle(image.double(), u))]
    for i in range(1, 5):
        xs.append(double(f"down{i}.1.block", functional.max_pool2d(xs[-1], 2)))
    z = torch.relu(conv("bottleneck_reduce.0", xs[4]))
    t = torch.log(1 + count.double()) / math.log(100_001)
    embedded = torch.relu(linear("k_embed.2", torch.relu(linear("k_embed.0", t))))
    z = linear("k_to_gamma", embedded)[..., None, None] * z + linear("k_to_beta", embedded)[..., None, None]
    x = conv("bottleneck_expand", z)
    for i in range(1, 5):
        x = double(f"conv{i}.block", torch.cat([up(f"up{i}", x), xs[4 - i]], 1))
    return functional.pixel_shuffle(conv(f"{head}.6", double(head, x)), u)


@pytest.mark.parametrize("u", [1, 2])
@pytest.mark.parametrize("kind", ["heat", "attributes", "offset"])
def test_forward_against_a_plain_network(part, randomised, kind, u):
    unet = part("unet")
    shape = unet.Shape(base=4, k_dim=3, unshuffle=u)
    net = unet.HeatNet(shape) if kind == "heat" else unet.AttributeNet(shape, offset=kind == "offset")
    net = randomised(net)
    image = torch.rand(2, 3, 16 * u, 48 * u, generator=torch.Generator().manual_seed(1))
    count = torch.tensor([[1000.0], [80_000.0]])
    with torch.no_grad():
        got = net.raw(image, count)
    expected = plain_network(net.state_dict(), image, count, net.head, u)
    assert expected.std() > 0.01
    assert (got.double() - expected).abs().max() < 2e-5 * expected.abs().max()
    if kind == "heat":
        with torch.no_grad():
            assert torch.equal(net(image, count), got)


def test_activations(part):
    """Channels: offset, scale, colour on top of the picture, angle; values by hand."""
    raw = torch.tensor([0.5, -0.25, 0.0, 3.0, 0.1, -0.2, 0.3, 1.0]).reshape(1, 8, 1, 1)
    image = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 3, 1, 1)
    maps = part("unet").Maps(raw, image).activated()
    flat = [None if value is None else value.flatten().tolist() for value in maps]
    assert flat[0] == pytest.approx([math.tanh(0.5), math.tanh(-0.25)])
    assert flat[1] == pytest.approx([math.log(2), math.log(1 + math.e**3)])
    assert flat[2] == pytest.approx([0.2 + math.tanh(0.1), 0.4 - math.tanh(0.2), 0.9 + math.tanh(0.3)])
    assert flat[3] == pytest.approx([2 * math.pi / (1 + math.exp(-1))])
    without = part("unet").Maps(raw[:, 2:], image).activated()
    assert without.offset is None and torch.equal(without.colors, maps.colors)
    with pytest.raises(ValueError, match="6 or 8 channels"):
        part("attributes").activate(raw[:, :7], image)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (15, 70), (33, 64), (40, 31)])
@pytest.mark.parametrize("u", [1, 2])
def test_any_size_is_mirrored_to_multiples_and_cut(part, randomised, size, u):
    net = randomised(part("unet").HeatNet(part("unet").Shape(4, 4, u)))
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
    more = [-side % (16 * u) for side in size]
    whole = image[0].numpy()
    for axis, (side, extra) in enumerate(zip(size, more, strict=True), 1):
        widths = [(0, 0)] * 3
        widths[axis] = (0, extra)
        whole = np.pad(whole, widths, mode="reflect" if extra < side else "edge")
    count = torch.tensor([[5000.0]])
    with torch.no_grad():
        got, expected = net(image, count), net(torch.from_numpy(whole)[None], count)
    assert got.shape == (1, 1, *size)
    assert torch.equal(got, expected[..., : size[0], : size[1]])


def test_the_count_matters_and_has_its_shape(part, randomised):
    net = randomised(part("unet").HeatNet(part("unet").Shape(4, 4)))
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        few, many = (net(image, torch.full((2, 1), k)) for k in (100.0, 90_000.0))
    assert (few - many).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"counts must be \[B, 1\], got \[2\]"):
        net(image, torch.tensor([100.0, 100.0]))


def test_the_last_layer_and_the_count_stay_float32_under_autocast(part, randomised):
    net = randomised(part("unet").AttributeNet(part("unet").Shape(4, 4)))
    image, count = torch.rand(1, 3, 32, 48), torch.tensor([[20_000.0]])
    dtypes = {}
    for name, module in (("last", net.out_conv[6]), ("count", net.k_to_gamma), ("first", net.inc.block[0])):
        module.register_forward_hook(lambda _m, _i, out, name=name: dtypes.update({name: out.dtype}))
    with torch.no_grad():
        plain = net.raw(image, count)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net.raw(image, count)
    assert dtypes == {"last": torch.float32, "count": torch.float32, "first": torch.bfloat16}
    assert mixed.dtype == torch.float32
    assert (mixed - plain).abs().max() < 0.05 * plain.abs().max()


def test_equivalent_count(part):
    equivalent = part("unet").equivalent_count
    assert equivalent(50_000, 512, 512) == 50_000
    assert equivalent(30_000, 512, 768) == pytest.approx(20_000)


def test_bad_shapes_are_refused(part):
    with pytest.raises(ValueError, match="base must be at least 1, got 0"):
        part("unet").Shape(base=0)
