"""Names, shapes, order and counts of the released checkpoints, from the table of their rules."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

#: Trainable parameters of each part of the published network.
COUNTS = {
    "feature_net.in_conv": 1_856,
    "feature_net.convnext_encoder": 87_591_040,
    "feature_net.unet_decoder": 12_194_560,
    "position_field": 8_385,
    "feature_reduction": 107_072,
    "bc_field": 15_225,
    "scale_rot_field": 18_145,
    "color_field": 17_955,
}


def layer(name, weight, bias):
    return [(f"{name}.weight", weight), (f"{name}.bias", (bias,))]


def batch_norm(name, channels):
    rest = [(f"{name}.running_mean", (channels,)), (f"{name}.running_var", (channels,))]
    return [*layer(name, (channels,), channels), *rest, (f"{name}.num_batches_tracked", ())]


def perceptron(name, *widths):
    """Linear layers with an activation after each."""
    layers = [layer(f"{name}.{2 * k}", (out, in_), out) for k, (in_, out) in enumerate(pairwise(widths))]
    return [entry for both in layers for entry in both]


def expected(widths=(128, 256, 512, 1024), depths=(3, 3, 27, 3)):
    half = widths[0] // 2
    net = "feature_net."
    table = [(f"{net}in_conv.in_conv.0.weight", (half, 3, 3, 3)), *batch_norm(f"{net}in_conv.in_conv.1", half)]
    down = f"{net}convnext_encoder.downsample_layers"
    table += layer(f"{down}.0.0", (widths[0], half, 2, 2), widths[0]) + layer(f"{down}.0.1", (widths[0],), widths[0])
    for i in range(1, len(widths)):
        above, below = widths[i - 1 : i + 1]
        table += layer(f"{down}.{i}.0", (above,), above) + layer(f"{down}.{i}.1", (below, above, 2, 2), below)
    for stage, (c, depth) in enumerate(zip(widths, depths, strict=True)):
        for block in range(depth):
            at = f"{net}convnext_encoder.stages.{stage}.{block}"
            table += [(f"{at}.gamma", (c,)), *layer(f"{at}.dwconv", (c, 1, 7, 7), c), *layer(f"{at}.norm", (c,), c)]
            table += layer(f"{at}.pwconv1", (4 * c, c), 4 * c) + layer(f"{at}.pwconv2", (c, 4 * c), c)
    levels = [*reversed(widths), half]
    for k in range(1, len(levels)):
        coarse, fine = levels[k - 1 : k + 1]
        at = f"{net}unet_decoder.up{k}"
        table += layer(f"{at}.up", (coarse, fine, 2, 2), fine)
        for place, inputs in ((0, 2 * fine), (3, fine)):
            table += [(f"{at}.conv.double_conv.{place}.weight", (fine, inputs, 3, 3))]
            table += batch_norm(f"{at}.conv.double_conv.{place + 1}", fine)
    table += layer(f"{net}unet_decoder.outc.conv", (64, half, 1, 1), 64)
    table += perceptron("position_field", 64, 64, 64, 1)
    table += perceptron("feature_reduction", 256, 256, 128, 64) + layer("feature_reduction.5", (64,), 64)
    table += perceptron("bc_field", 86, 86, 86, 3)
    return table + perceptron("scale_rot_field", 94, 94, 94, 3) + perceptron("color_field", 94, 94, 94, 1)


def entries(state):
    return [(name, tuple(value.shape)) for name, value in state.items()]


@pytest.fixture(scope="module")
def net(part):
    with torch.device("meta"):
        return part("network.official").OfficialNet()


def test_names_shapes_and_order_are_the_released_ones(net):
    state = net.state_dict()
    assert len(state) == 436
    assert entries(state) == expected()
    for name, value in state.items():
        assert value.dtype == (torch.int64 if name.endswith("tracked") else torch.float32), name


def test_landmarks_of_the_order(net):
    names = list(net.state_dict())
    landmarks = {
        0: "feature_net.in_conv.in_conv.0.weight",
        6: "feature_net.convnext_encoder.downsample_layers.0.0.weight",
        22: "feature_net.convnext_encoder.stages.0.0.gamma",
        345: "feature_net.convnext_encoder.stages.3.2.pwconv2.bias",
        346: "feature_net.unet_decoder.up1.up.weight",
        388: "feature_net.unet_decoder.up4.up.weight",
        402: "feature_net.unet_decoder.outc.conv.weight",
        404: "position_field.0.weight",
        416: "feature_reduction.5.weight",
        435: "color_field.4.bias",
    }
    assert {index: names[index] for index in landmarks} == landmarks


def test_parameter_counts(net):
    assert sum(p.numel() for p in net.parameters()) == sum(COUNTS.values()) == 99_954_238
    assert sum(1 for _ in net.parameters()) == 409 and sum(1 for _ in net.buffers()) == 27
    for name, count in COUNTS.items():
        assert sum(p.numel() for p in net.get_submodule(name).parameters()) == count, name


@pytest.mark.parametrize(
    ("widths", "depths", "millions"),
    [((96, 192, 384, 768), (3, 3, 9, 3), 34.7), ((48, 96, 192, 384), (2, 2, 6, 2), 6.6), ((16, 32), (1, 3), None)],
)
def test_reduced_variants_follow_the_same_rules(part, widths, depths, millions):
    with torch.device("meta"):
        net = part("network.official").OfficialNet(widths, depths)
    assert entries(net.state_dict()) == expected(widths, depths)
    if millions is not None:
        assert round(sum(p.numel() for p in net.feature_net.parameters()) / 1e6, 1) == millions
