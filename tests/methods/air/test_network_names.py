"""Names, shapes and counts of the released checkpoints, from the table of their rules."""

from __future__ import annotations

import pytest
import torch

BLOCK = {
    "norm1.weight": (768,),
    "norm1.bias": (768,),
    "attn.qkv.weight": (2304, 768),
    "attn.qkv.bias": (2304,),
    "attn.qkv.bias_mask": (2304,),
    "attn.proj.weight": (768, 768),
    "attn.proj.bias": (768,),
    "ls1.gamma": (768,),
    "norm2.weight": (768,),
    "norm2.bias": (768,),
    "mlp.fc1.weight": (3072, 768),
    "mlp.fc1.bias": (3072,),
    "mlp.fc2.weight": (768, 3072),
    "mlp.fc2.bias": (768,),
    "ls2.gamma": (768,),
}
BUFFERS = (
    "image_mean",
    "image_std",
    "periods",
    "bias_mask",
    "bits_per_channel",
    "qmin_per_channel",
    "qmax_per_channel",
)
#: Trainable parameters of the whole network with four heads and a quantiser, by patch size.
PARAMETERS = {5: 392_600_496, 6: 392_690_608, 7: 392_797_104, 14: 394_001_328}


def convolution(name, shape):
    """A weight and its bias; transposed convolutions have their outputs second."""
    transposed = len(shape) == 4 and shape[2] == 2
    return {f"{name}.weight": shape, f"{name}.bias": (shape[1] if transposed else shape[0],)}


def stack(name, inputs, blocks):
    widths = (1024, 256, 128, 64, 32)
    table = {}
    for level, channels in enumerate(inputs):
        table |= convolution(f"{name}.input_blocks.{level}", (widths[level], channels, 1, 1))
    for level in range(4):
        if level < 3:
            table |= convolution(f"{name}.resamplers.{level}.0", (widths[level], widths[level + 1], 2, 2))
        entering = widths[level + 1] if level < 3 else 64
        table |= convolution(f"{name}.resamplers.{level}.1", (widths[level + 1], entering, 3, 3))
    for level in (1, 2, 3):
        for block in range(blocks):
            for place in (2, 5):
                at = f"{name}.res_blocks.{level}.{block}.layers.{place}"
                table |= convolution(at, (widths[level], widths[level], 3, 3))
    return table


def expected(patch, heads=4):
    table = {}
    for k in range(heads):
        head = {"encoder.image_mean": (1, 3, 1, 1), "encoder.image_std": (1, 3, 1, 1)}
        vit = {"cls_token": (1, 1, 768), "storage_tokens": (1, 4, 768), "mask_token": (1, 768)}
        vit |= {"patch_embed.proj.weight": (768, 3, 16, 16), "patch_embed.proj.bias": (768,)}
        vit |= {"rope_embed.periods": (16,), "norm.weight": (768,), "norm.bias": (768,)}
        vit |= {f"blocks.{b}.{name}": shape for b in range(12) for name, shape in BLOCK.items()}
        head |= {f"encoder.backbone.{name}": shape for name, shape in vit.items()}
        for i in (0, 1):
            head |= convolution(f"encoder.output_projections.{i}", (1024, 768, 1, 1))
        head |= stack("neck", (1026, 2, 2, 2, 2), 2)
        head |= stack("gaussian_feat_decoder", (1024, 256, 128, 64, 32), 1)
        head |= convolution("gaussian_feat_decoder.output_blocks.4", (32, 32, 1, 1))
        head |= {"patch_embedding.patchify.conv.weight": (64, 32, patch, patch)}
        head |= {"feat_layer_norm.weight": (64,), "feat_layer_norm.bias": (64,)}
        head |= {"gaussian_linear.weight": (8, 64), "gaussian_linear.bias": (8,)}
        table |= {f"gaussian_heads.{k}.{name}": shape for name, shape in head.items()}
    for name, c in (("xy", 2), ("scaling", 2), ("rotation", 1), ("color", 3)):
        at = f"feed_forward_gaussian_codec.{name}_quantizer"
        table |= {f"{at}.{x}_per_channel": (c,) for x in ("bits", "qmin", "qmax")}
        table |= {f"{at}.offset_net.weight": (2 * c, 768), f"{at}.offset_net.bias": (2 * c,)}
    return table


@pytest.fixture(scope="module", params=PARAMETERS)
def net(request, part):
    with torch.device("meta"):
        return part("network.airnet").AirNet(request.param)


def test_names_and_shapes_are_the_released_ones(net):
    state, table = net.state_dict(), expected(net.patch)
    assert len(table) == 1160
    assert {name: tuple(value.shape) for name, value in state.items()} == table
    for name, value in state.items():
        assert value.dtype == (torch.int32 if name.endswith("bits_per_channel") else torch.float32), name


def test_buffers_and_parameters_are_the_released_ones(net):
    names = {name for name, _ in net.named_buffers() if name in net.state_dict()}
    assert names == {name for name in expected(net.patch) if name.rpartition(".")[2] in BUFFERS}


def test_parameter_counts(net):
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[net.patch]
    head = net.gaussian_heads[0]
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in head.named_children()}
    assert sum(p.numel() for p in head.encoder.backbone.parameters()) == 85_669_632
    assert counts["encoder"] - 85_669_632 == 1_574_912
    assert (counts["neck"], counts["gaussian_feat_decoder"]) == (6_157_376, 4_693_280)
    assert counts["patch_embedding"] == 2048 * net.patch**2
    assert (counts["feat_layer_norm"], counts["gaussian_linear"]) == (128, 520)


def test_state_without_quantiser_is_that_of_the_heads(part):
    with torch.device("meta"):
        net = part("network.airnet").AirNet(6, heads=2, quantise=False)
    assert list(net.state_dict()) and set(net.state_dict()) == {
        name for name in expected(6, heads=2) if name.startswith("gaussian_heads.")
    }
