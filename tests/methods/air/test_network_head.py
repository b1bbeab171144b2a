"""The head: resizing, padding and patches against float64 matrices written from their description."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch


def antialiased(before, after):
    """[after, before]: a triangle as wide as the pixels that become one, cut at the border and normalised."""
    scale = before / after
    matrix = np.zeros((after, before))
    for i in range(after):
        for j in range(before):
            matrix[i, j] = max(0.0, 1 - abs(j + 0.5 - (i + 0.5) * scale) / max(scale, 1.0))
    return matrix / matrix.sum(1, keepdims=True)


def bilinear(before, after):
    """[after, before]: between the two nearest pixel centres, whatever the scale; edges repeated."""
    matrix = np.zeros((after, before))
    for i in range(after):
        at = max((i + 0.5) * before / after - 0.5, 0.0)
        first = min(int(at), before - 1)
        second = min(first + 1, before - 1)
        matrix[i, first] += 1 - (at - first)
        matrix[i, second] += at - first
    return matrix


def resized(x, make, size):
    rows, columns = (torch.from_numpy(make(n, m)) for n, m in zip(x.shape[2:], size, strict=True))
    return torch.einsum("Hh,bchw,Ww->bcHW", rows, x, columns)


def reference(head, residual, patch):
    """Features and raw vectors, float64; the transformer and the two stacks are the head's own, tested elsewhere."""
    head = copy.deepcopy(head).double()
    height, width = residual.shape[2:]
    h, w = height // 16, width // 16
    x = resized(residual.double(), antialiased, (16 * h, 16 * w))
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    taps = head.encoder.backbone(x)
    fused = sum(
        torch.einsum("oc,bchw->bohw", project.weight[:, :, 0, 0], tap) + project.bias[:, None, None]
        for project, tap in zip(head.encoder.output_projections, taps.maps, strict=True)
    )
    inputs = []
    for level in range(5):
        rows, columns = h << level, w << level
        grid = np.mgrid[0:rows, 0:columns]
        diagonal = np.hypot(rows, columns)
        uv = np.stack([2 * grid[1] + 1 - columns, 2 * grid[0] + 1 - rows]) / diagonal
        inputs.append(torch.from_numpy(uv)[None].expand(len(residual), -1, -1, -1))
    inputs[0] = torch.cat([fused, inputs[0]], 1)
    maps, x = [], None
    for level in range(5):
        x = head.neck.level(level, inputs[level], x)
        maps.append(x)
    x = None
    for level in range(5):
        x = head.gaussian_feat_decoder.level(level, maps[level], x)
    x = resized(x, bilinear, (height, width)).numpy()
    rows, columns = -(-height // patch), -(-width // patch)
    x = np.pad(x, ((0, 0), (0, 0), (0, rows * patch - height), (0, columns * patch - width)), mode="edge")
    blocks = x.reshape(*x.shape[:2], rows, patch, columns, patch).transpose(0, 2, 4, 1, 3, 5)
    tokens = blocks.reshape(len(x), rows * columns, -1) @ head.patch_embedding.patchify.conv.weight.flatten(1).numpy().T
    tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-5)
    tokens = torch.from_numpy(tokens) * head.feat_layer_norm.weight + head.feat_layer_norm.bias
    return tokens, tokens @ head.gaussian_linear.weight.T + head.gaussian_linear.bias, taps.cls


@pytest.fixture
def make(part, tiny_shape):
    def build(patch=7, seed=2, **settings):
        torch.manual_seed(seed)
        head = part("network.head").Head(patch, tiny_shape, **settings)
        with torch.no_grad():  # otherwise the transformer's blocks do next to nothing, and norms nothing
            for name, value in head.named_parameters():
                if name.endswith("gamma") or "norm" in name:
                    value.copy_(torch.randn_like(value))
        return head.eval()

    return build


def residual_of(height, width, batch=2):
    return 2 * torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height)) - 1


@pytest.mark.parametrize(
    ("height", "width", "patch"), [(131, 203, 7), (131, 203, 5), (64, 48, 7), (16, 31, 14), (33, 16, 6), (48, 64, 8)]
)
@torch.no_grad()
def test_raw_vectors_equal_the_description(make, height, width, patch):
    head, residual = make(patch), residual_of(height, width)
    features, raw, cls = reference(head, residual, patch)
    found = head(residual)
    assert found.raw.dtype == found.cls.dtype == torch.float32
    torch.testing.assert_close(head.features(residual).double(), features, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.raw.double(), raw, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.cls.double(), cls, rtol=0, atol=1e-4)


@torch.no_grad()
def test_pictures_of_a_batch_do_not_see_each_other(make):
    head, residual = make(), residual_of(50, 70, batch=3)
    together, alone = head(residual).raw, [head(x[None]).raw[0] for x in residual]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-5)


@torch.no_grad()
def test_mixed_precision_returns_float32_close_to_full(make):
    head, residual = make(), residual_of(64, 80)
    full = head(residual)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = head(residual)
        assert head.features(residual).dtype == torch.float32
    assert mixed.raw.dtype == mixed.cls.dtype == torch.float32
    difference = (mixed.raw - full.raw).square().mean().sqrt() / full.raw.std()
    assert 1e-5 < difference < 0.05  # it was used, and it is as good as eight bits are


def test_gradients_with_checkpointing_are_the_same(make):
    gradients = []
    for checkpointing in (False, True):
        head = make(checkpointing=checkpointing).train()
        torch.manual_seed(1)
        head(residual_of(40, 50, batch=1)).raw.square().sum().backward()
        gradients.append({name: value.grad for name, value in head.named_parameters()})
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_at_the_start_candidates_sit_near_the_middle_of_their_ranges(part, tiny_shape):
    torch.manual_seed(0)
    raw = part("network.head").Head(7, tiny_shape).eval()(residual_of(64, 64)).raw
    assert raw.abs().mean() < 1


@pytest.mark.parametrize("size", [(15, 64), (64, 15), (1, 1)])
def test_pictures_below_a_token_are_refused_with_what_to_do(make, size):
    with pytest.raises(ValueError, match="at least 16x16 pixels, got .*enlarge"):
        make()(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    "residual", [torch.zeros(1, 4, 32, 32), torch.zeros(3, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)]
)
def test_other_shapes_and_types_are_refused(make, residual):
    with pytest.raises(ValueError, match=r"takes \[B, 3, H, W\] float32"):
        make()(residual)


def test_a_patch_has_pixels(part):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        part("network.head").Head(0)
