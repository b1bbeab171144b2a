"""The transformer against a float64 implementation written from its description, one head and one pair at a time."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest

GRID = (3, 5)


@pytest.fixture
def make(part):
    """A small transformer; every number of it is random, also those that start as ones and zeros."""

    def build(seed=0, **settings):
        torch.manual_seed(seed)
        net = part("network.vit").VisionTransformer(
            part("network.vit").ViTShape(width=48, depth=3, heads=2, taps=(0, 2)), **settings
        )
        with torch.no_grad():
            for value in net.parameters():
                value.copy_(0.3 * torch.randn_like(value))
        return net.eval()

    return build


@pytest.fixture(scope="module")
def image():
    return torch.randn(2, 3, 16 * GRID[0], 16 * GRID[1], generator=torch.Generator().manual_seed(9))


def reference(state, image, heads=2, factors=(1.0, 1.0, 1.0), taps=(0, 2)):
    """Maps of all taps and the last CLS token, float64."""
    w = {name: value.double() for name, value in state.items()}
    rows, columns = image.shape[2] // 16, image.shape[3] // 16
    patches = image.double().reshape(len(image), 3, rows, 16, columns, 16).permute(0, 2, 4, 1, 3, 5).flatten(3)
    kernel = w["patch_embed.proj.weight"].flatten(1)
    tokens = (patches @ kernel.T + w["patch_embed.proj.bias"]).flatten(1, 2)
    begin = torch.cat([w["cls_token"][0], w["storage_tokens"][0]]).expand(len(image), -1, -1)
    x = torch.cat([begin, tokens], 1)
    width = x.shape[-1]
    each = width // heads

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def turn(vector, row, column, factor):
        """Element k and element k + half are the parts of a complex number."""
        half, quarter = each // 2, each // 4
        z = torch.complex(vector[..., :half], vector[..., half:])
        angles = torch.zeros(half, dtype=torch.float64)
        for k in range(quarter):
            period = 100 ** (k / quarter)
            angles[k] = 2 * math.pi * factor * (2 * (row + 0.5) / rows - 1) / period
            angles[quarter + k] = 2 * math.pi * factor * (2 * (column + 0.5) / columns - 1) / period
        z = z * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([z.real, z.imag], -1)

    maps = []
    for b in range(len(factors)):
        at = f"blocks.{b}"
        bias = w[f"{at}.attn.qkv.bias"].clone()
        bias[width : 2 * width] = 0  # keys have none
        qkv = norm(x, f"{at}.norm1") @ w[f"{at}.attn.qkv.weight"].T + bias
        seen = []
        for h in range(heads):
            q, k, v = (qkv[..., i * width + h * each : i * width + (h + 1) * each].clone() for i in range(3))
            for t in range(rows * columns):
                place = t // columns, t % columns, factors[b]
                q[:, 5 + t], k[:, 5 + t] = turn(q[:, 5 + t], *place), turn(k[:, 5 + t], *place)
            scores = q @ k.transpose(1, 2) / math.sqrt(each)
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            seen.append(weights @ v)
        x = x + w[f"{at}.ls1.gamma"] * linear(torch.cat(seen, -1), f"{at}.attn.proj")
        inner = linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = x + w[f"{at}.ls2.gamma"] * linear(inner, f"{at}.mlp.fc2")
        if b in taps:
            maps.append(norm(x, "norm"))
    cls = maps[-1][:, 0]
    return [m[:, 5:].reshape(len(image), rows, columns, width).permute(0, 3, 1, 2) for m in maps], cls


@torch.no_grad()
def test_taps_equal_the_description(make, image):
    net = make()
    found, (maps, cls) = net(image), reference(net.state_dict(), image)
    for mine, expected in zip(found.maps, maps, strict=True):
        torch.testing.assert_close(mine.double(), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(found.cls.double(), cls, rtol=0, atol=2e-5)


@torch.no_grad()
def test_training_scales_the_coordinates_of_every_block_by_a_factor_of_its_own(make, image, part, monkeypatch):
    net, factors = make().train(), [0.6, 1.7, 1.1]
    drawn = iter(factors)
    monkeypatch.setattr(part("network.vit"), "_jitter", lambda device: torch.tensor([next(drawn)]))
    found, (maps, _) = net(image), reference(net.state_dict(), image, factors=factors)
    torch.testing.assert_close(found.maps[1].double(), maps[1], rtol=0, atol=2e-5)
    net.eval()(image)  # draws none: the iterator is at its end


def test_jitter_is_log_uniform(part):
    torch.manual_seed(4)
    logs = [float(part("network.vit")._jitter(torch.device("cpu")).log2()) for _ in range(2000)]
    assert kstest(logs, "uniform", args=(-1, 2)).pvalue > 1e-3


def test_gradients_with_checkpointing_are_the_same(make, image):
    gradients = []
    for checkpointing in (False, True):
        net = make(checkpointing=checkpointing).train()
        torch.manual_seed(7)  # of the jitter
        taps = net(image)
        (taps.maps[0].square().mean() + taps.cls.sum()).backward()
        gradients.append({name: value.grad for name, value in net.named_parameters()})
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_every_parameter_gets_a_gradient_but_key_biases_and_the_mask_token(make, image):
    net = make()
    taps = net(image)
    (taps.maps[0].square().mean() + taps.maps[1].square().mean()).backward()
    for name, value in net.named_parameters():
        gradient = value.grad
        if name == "mask_token":
            assert not gradient.any()
        elif name.endswith("qkv.bias"):
            assert gradient[:48].any() and not gradient[48:96].any() and gradient[96:].any()
        else:
            assert gradient.any(), name


@torch.no_grad()
def test_rotations_make_attention_depend_on_distances_alone(part):
    """The scores of two tokens do not change when both move by as much."""
    rope = part("network.vit").AxialRope(24)
    cos, sin = rope.rotation(rope.angles(6, 7), 0)
    q, k = torch.randn(2, 24, generator=torch.Generator().manual_seed(1))
    turn = part("network.vit").turn
    scores = (turn(q, cos, sin) @ turn(k, cos, sin).T).reshape(6, 7, 6, 7)
    torch.testing.assert_close(scores[1, 2, 3, 3], scores[3, 5, 5, 6], rtol=1e-4, atol=1e-5)
    assert (scores[1, 2, 3, 3] - scores[1, 2, 3, 4]).abs() > 1e-3


def test_periods_are_those_of_the_released_weights(part):
    expected = torch.tensor([100 ** (i / 16) for i in range(16)])
    torch.testing.assert_close(part("network.vit").AxialRope(64).periods, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"width": 50, "heads": 4}, "multiple of 4"),
        ({"taps": (5, 10)}, "must be the last block"),
        ({"taps": (11, 5)}, "must ascend"),
        ({"taps": ()}, "must ascend"),
        ({"heads": 0}, "heads"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(part, sizes, words):
    with pytest.raises(ValueError, match=words):
        part("network.vit").ViTShape(**sizes)
