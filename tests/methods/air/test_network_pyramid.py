"""The pyramid stacks against a float64 implementation with plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

WIDTHS, INPUTS = (10, 8, 6, 5, 4), (12, 2, 2, 2, 2)


@pytest.fixture
def stack(part):
    torch.manual_seed(3)
    return part("network.pyramid").PyramidStack(INPUTS, WIDTHS, (0, 2, 1, 2, 0), projection=True).eval()


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(2, c, 3 << level, 2 << level, generator=generator) for level, c in enumerate(INPUTS)]


def conv1x1(x, w, name):
    return np.einsum("oc,bchw->bohw", w[f"{name}.weight"][:, :, 0, 0], x) + w[f"{name}.bias"][:, None, None]


def conv3x3(x, w, name):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = x.shape[2:]
    total = w[f"{name}.bias"][:, None, None]
    for i in range(3):
        for j in range(3):
            window = padded[:, :, i : i + height, j : j + width]
            total = total + np.einsum("oc,bchw->bohw", w[f"{name}.weight"][:, :, i, j], window)
    return total


def transposed(x, w, name):
    """Every pixel becomes 2 x 2 pixels."""
    batch, _, height, width = x.shape
    weight = w[f"{name}.weight"]  # in, out, 2, 2
    out = np.zeros((batch, weight.shape[1], 2 * height, 2 * width))
    for i in range(2):
        for j in range(2):
            out[:, :, i::2, j::2] = np.einsum("co,bchw->bohw", weight[:, :, i, j], x)
    return out + w[f"{name}.bias"][:, None, None]


def doubled(n):
    """[2 n, n]: bilinear weights with pixel centres at half integers, edges repeated."""
    matrix = np.zeros((2 * n, n))
    for i in range(2 * n):
        at = min(max((i + 0.5) / 2 - 0.5, 0), n - 1)
        below = min(int(at), n - 2) if n > 1 else 0
        matrix[i, below] += 1 - (at - below)
        matrix[i, min(below + 1, n - 1)] += at - below
    return matrix


def reference(state, features, blocks):
    w = {name: value.double().numpy() for name, value in state.items()}
    outputs, x = [], None
    for level, feature in enumerate(features):
        entering = conv1x1(feature.double().numpy(), w, f"input_blocks.{level}")
        if level == 0:
            x = entering
        elif level < len(features) - 1:
            up = transposed(x, w, f"resamplers.{level - 1}.0")
            x = conv3x3(up, w, f"resamplers.{level - 1}.1") + entering
        else:
            up = np.einsum("Hh,bchw,Ww->bcHW", doubled(x.shape[2]), x, doubled(x.shape[3]))
            x = conv3x3(up, w, f"resamplers.{level - 1}.1") + entering
        for block in range(blocks[level]):
            at = f"res_blocks.{level}.{block}.layers"
            inner = conv3x3(np.maximum(x, 0), w, f"{at}.2")
            x = x + conv3x3(np.maximum(inner, 0), w, f"{at}.5")
        outputs.append(x)
    outputs[-1] = conv1x1(x, w, f"output_blocks.{len(features) - 1}")
    return outputs


def run(stack, features):
    outputs, x = [], None
    for level, feature in enumerate(features):
        x = stack.level(level, feature, x)
        outputs.append(x)
    return outputs


@torch.no_grad()
def test_all_levels_equal_the_description(stack, features):
    expected = reference(stack.state_dict(), features, (0, 2, 1, 2, 0))
    for mine, wanted in zip(run(stack, features), expected, strict=True):
        np.testing.assert_allclose(mine.double().numpy(), wanted, rtol=0, atol=5e-6)


@torch.no_grad()
def test_a_map_for_all_pictures_of_a_batch_equals_one_each(stack, features):
    same = [features[0], *(f[:1] for f in features[1:])]
    repeated = [features[0], *(f[:1].expand(2, -1, -1, -1) for f in features[1:])]
    for mine, wanted in zip(run(stack, same), run(stack, repeated), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-6)


def test_gradients_with_checkpointing_are_the_same(stack, features):
    gradients = []
    for checkpointing in (False, True):
        stack.train().checkpointing = checkpointing
        stack.zero_grad()
        run(stack, features)[-1].square().mean().backward()
        gradients.append([value.grad.clone() for value in stack.parameters()])
    for plain, kept in zip(*gradients, strict=True):
        assert torch.equal(plain, kept) and plain.any()


def test_the_four_taps_of_transposed_convolutions_start_equal(stack):
    for level in range(3):
        taps = stack.resamplers[level][0].weight.flatten(2)
        assert torch.equal(taps, taps[:, :, :1].expand_as(taps))
        assert taps.std() > 0


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (30, 20)])
def test_coordinates_put_the_corners_of_the_picture_at_distance_one(part, size):
    height, width = size
    x, y = part("network.pyramid").uv_map(height, width)[0].double()
    diagonal = np.hypot(height, width)
    for i in range(height):
        for j in range(width):
            centre = (j + 0.5 - width / 2) * 2 / diagonal, (i + 0.5 - height / 2) * 2 / diagonal
            assert (float(x[i, j]), float(y[i, j])) == pytest.approx(centre, abs=1e-6)
    corner = float(x[-1, -1]) + 1 / diagonal, float(y[-1, -1]) + 1 / diagonal
    assert np.hypot(*corner) == pytest.approx(1, abs=1e-6)


def test_levels_must_agree(part):
    with pytest.raises(ValueError, match="as many levels"):
        part("network.pyramid").PyramidStack((3, 2), (4, 4, 4), (0, 0, 0))
