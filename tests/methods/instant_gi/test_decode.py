from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (23, 31)


@pytest.fixture(scope="module")
def decoding(part):
    return part("decode")


@pytest.fixture(scope="module")
def net(part):
    """A network that any triangulation may be decoded with; heads as strong as trained ones."""
    net = part("network.official").OfficialNet.seeded(2, widths=(8, 12), depths=(1, 1)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in ("feature_reduction", "bc_field", "scale_rot_field", "color_field"):
            for value in getattr(net, name).parameters():
                fan_in = value.shape[1] if value.ndim == 2 else 25
                value.copy_(1.5 * torch.randn(value.shape, generator=generator) / fan_in**0.5)
    return net


@pytest.fixture(scope="module")
def scene(part):
    """A picture, a feature map and triangles; some of their corners are on the border, some the same."""
    rng = np.random.default_rng(5)
    height, width = SIZE
    points = np.concatenate([rng.uniform(0, 1, (30, 2)) * [width - 1, height - 1], [[0, 0], [width - 1, 0], [0, 9]]])
    which = np.stack([rng.choice(len(points), 3, replace=False) for _ in range(40)])
    corners = points.astype(np.float32)[which]
    count = len(corners)
    fields = {
        "corners": torch.from_numpy(corners),
        "neighbours": torch.from_numpy(rng.integers(0, count, (count, 3))),
        "centres": torch.from_numpy(corners.mean(1)),
        "axes": torch.from_numpy(np.sort(rng.uniform(0.1, 6, (count, 2)), 1).astype(np.float32)),
        "turn": torch.from_numpy(rng.uniform(1e-5, 0.5, count).astype(np.float32)),
    }
    image = torch.from_numpy(rng.uniform(0, 1, (1, 3, *SIZE)).astype(np.float32))
    features = torch.from_numpy(rng.normal(0, 1, (1, 64, *SIZE)).astype(np.float32))
    return image, features, part("triangulation").Triangles(**fields)


def bilinear(picture, x, y):
    """picture [C, H, W] at (x, y), normalised: -1 is the outer edge of the first pixel; outside there is 0."""
    _, height, width = picture.shape
    column, row = (x + 1) / 2 * width - 0.5, (y + 1) / 2 * height - 0.5
    total = picture.new_zeros(len(picture))
    for j in (math.floor(column), math.floor(column) + 1):
        for i in (math.floor(row), math.floor(row) + 1):
            if 0 <= i < height and 0 <= j < width:
                total = total + (1 - abs(column - j)) * (1 - abs(row - i)) * picture[:, i, j]
    return total


def perceptron(state, name, x):
    for k in (0, 2):
        x = torch.relu(state[f"{name}.{k}.weight"] @ x + state[f"{name}.{k}.bias"])
    return state[f"{name}.4.weight"] @ x + state[f"{name}.4.bias"]


def stretch(raw):
    x = 50 * torch.tanh(0.02 * raw)
    if x < 0:
        return 0.5 * torch.exp(x / 2)
    z = x / 4 - 2.5
    return 3 + z if z < -2 else 3 - 0.5 * torch.log(1 + torch.exp(-2 * z))


def reference(state, image, features, triangles):
    """The decoding, triangle after triangle, in the number type of its inputs."""
    _, height, width = image.shape
    described, positions = [], []
    for corners, centre, axes, turn in zip(
        triangles.corners, triangles.centres, triangles.axes, triangles.turn, strict=True
    ):
        t = [(2 * float(x) / width - 1, 2 * float(y) / height - 1) for x, y in corners]
        c = [min(max(2 * float(v) / s - 1, -0.99999), 0.99999) for v, s in zip(centre, (width, height), strict=True)]
        places = [*t, c]
        (x0, y0), (x1, y1), (x2, y2) = t
        area = abs((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)) / 2
        gx, gy = (x0 + x1 + x2) / 3, (y0 + y1 + y2) / 3
        outline = [v / math.sqrt(area) for x, y in t for v in (x - gx, y - gy)]
        colors = torch.cat([bilinear(image, *place) for place in places])
        seen = torch.cat([bilinear(features, *place) for place in places])
        reduced = perceptron(state, "feature_reduction", seen)
        deviation = reduced - reduced.mean()
        reduced = deviation / (deviation.square().mean() + 1e-5).sqrt()
        reduced = reduced * state["feature_reduction.5.weight"] + state["feature_reduction.5.bias"]
        ellipse = [*c, float(axes[0]) / (float(axes[1]) + 1e-4), float(turn)]
        row = torch.cat([image.new_tensor(ellipse + outline), colors, reduced])
        weights = torch.exp(perceptron(state, "bc_field", row))
        weights = weights / weights.sum()
        position = sum(w * image.new_tensor(corner) for w, corner in zip(weights, t, strict=True))
        described.append(row)
        positions.append(position.clamp(-1 + 1e-6, 1 - 1e-6))
    rest = []
    for n, row in enumerate(described):
        near = [positions[k].detach() for k in (n, *triangles.neighbours[n].tolist())]
        row = torch.cat([*near, row])
        r = perceptron(state, "scale_rot_field", row)
        scales = torch.stack([stretch(r[k]) * float(triangles.axes[n, k]) for k in (0, 1)])
        a = float(triangles.turn[n])
        turn = torch.sigmoid(math.log(a / (1 - a)) + torch.tanh(r[2]))
        at = bilinear(image, *positions[n].tolist())
        rest.append(torch.cat([scales, turn[None], torch.sigmoid(perceptron(state, "color_field", row)) * at]))
    rest = torch.stack(rest)
    return {"means": torch.stack(positions), "scales": rest[:, :2], "turns": rest[:, 2], "colors": rest[:, 3:]}


def objective(found):
    """A scalar in which every output counts."""
    generator, total = torch.Generator().manual_seed(9), 0.0
    for name in ("means", "scales", "turns", "colors"):
        weight = torch.rand(found[name].shape, generator=generator, dtype=torch.float64)
        total = total + (weight * found[name].double().square()).sum()
    return total


def test_gaussians_and_gradients_are_those_of_a_loop_in_float64(decoding, net, scene):
    image, features, triangles = scene
    state = {name: value.double() for name, value in net.state_dict().items()}
    state = {name: value.requires_grad_(value.is_floating_point()) for name, value in state.items()}
    wide = features.double().requires_grad_()
    want = reference(state, image[0].double(), wide[0], triangles)
    objective(want).backward()
    narrow = features.clone().requires_grad_()
    net.zero_grad()
    found = vars(decoding.decode(net, narrow, image, triangles))
    objective(found).backward()
    for name, value in want.items():
        assert found[name].dtype == torch.float32
        assert (found[name] - value).abs().max() < 2e-5, name
    assert (narrow.grad - wide.grad).abs().max() < 1e-4 * wide.grad.abs().max()
    for name, parameter in net.named_parameters():
        gradient = state[name].grad
        assert (parameter.grad is None) == (gradient is None), name
        if gradient is not None:
            assert (parameter.grad - gradient).abs().max() < 1e-4 * gradient.abs().max(), name


@pytest.mark.parametrize(
    ("output", "reached"),
    [
        ("means", {"feature_reduction", "bc_field"}),
        ("scales", {"feature_reduction", "scale_rot_field"}),
        ("turns", {"feature_reduction", "scale_rot_field"}),
        ("colors", {"feature_reduction", "color_field"}),
    ],
)
def test_where_gradients_go(decoding, net, scene, output, reached):
    """Positions stand still where colours are sampled and neighbours are seen; no output moves the probabilities."""
    image, features, triangles = scene
    features = features.clone().requires_grad_()
    net.zero_grad()
    getattr(decoding.decode(net, features, image, triangles), output).square().sum().backward()
    assert features.grad.abs().sum() > 0
    assert {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None} == reached


def test_without_heads_gaussians_are_the_ellipses_at_half_size(decoding, part, scene):
    image, features, triangles = scene
    net = part("network.official").OfficialNet(widths=(8,), depths=(1,))
    for value in net.parameters():
        torch.nn.init.zeros_(value)
    found = decoding.decode(net, features, image, triangles)
    middle = triangles.corners.mean(1)
    assert torch.allclose(found.pixels(SIZE) - 0.5, middle, atol=1e-5)
    assert torch.allclose(found.scales, triangles.axes / 2)
    assert torch.allclose(found.turns, triangles.turn, atol=1e-6)
    seen = [bilinear(image[0], 2 * x / SIZE[1] - 1, 2 * y / SIZE[0] - 1) for x, y in middle.tolist()]
    assert torch.allclose(found.colors, torch.stack(seen) / 2, atol=1e-6)


@torch.no_grad()
def test_few_triangles_at_a_time_give_the_same(decoding, net, scene, monkeypatch):
    image, features, triangles = scene
    whole = vars(decoding.decode(net, features, image, triangles))
    for size in (1, 7, 40):
        monkeypatch.setattr(decoding, "_CHUNK", size)
        for name, value in vars(decoding.decode(net, features, image, triangles)).items():
            assert torch.allclose(value, whole[name], atol=1e-5), name


def test_every_vertex_is_sampled_once(decoding, net, scene, monkeypatch):
    image, features, triangles = scene
    asked = []
    sample = net.sample
    monkeypatch.setattr(net, "sample", lambda f, points, size: asked.append(len(points)) or sample(f, points, size))
    decoding.decode(net, features, image, triangles)
    assert asked == [len(np.unique(triangles.corners.reshape(-1, 2).numpy(), axis=0)), len(triangles.corners)]


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), min_size=3, max_size=30))
@settings(max_examples=50)
def test_vertices_are_told_apart_to_the_bit(decoding, points):
    corners = torch.tensor(points[: len(points) // 3 * 3], dtype=torch.float32).reshape(-1, 3, 2)
    found, which = decoding._unique(corners)
    assert torch.equal(found[which], corners)
    assert len({row.numpy().tobytes() for row in found}) == len(found)


def test_scale_factor_has_the_published_values(decoding):
    raw = torch.tensor([-10, -1, 0, 0.5, 1, 2, 5, 10, 20, 50])
    want = [0.003597, 0.303286, 0.5, 0.624996, 0.749967, 0.999733, 1.706719, 2.636753, 2.994469, 3.0]
    assert decoding.scale_factor(raw).tolist() == pytest.approx(want, abs=1e-6)


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_scale_factor_is_finite_everywhere_with_its_gradient(decoding, raw):
    x = torch.tensor(raw, requires_grad=True)
    factor = decoding.scale_factor(x)
    factor.backward()
    assert 0 < factor <= 3 and x.grad >= 0 and x.grad.isfinite()


@pytest.mark.parametrize(("x", "y", "part_of"), [(0, 10.5, 0.5), (31, 10.5, 0.5), (15.5, 23, 0.5), (0, 0, 0.25)])
def test_points_on_the_border_get_a_part_of_the_value(decoding, x, y, part_of):
    picture = torch.full((1, 2, *SIZE), 0.8)
    at = decoding.normalised(torch.tensor([[float(x), float(y)]]), SIZE)
    assert torch.allclose(decoding.sample_bilinear(picture, at), torch.full((1, 2), 0.8 * part_of), atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (37, 22), (72, 100)])
@torch.no_grad()
def test_a_picture_becomes_one_gaussian_per_triangle(decoding, part, net, size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(4))
    trace = part("decode").Trace()
    trace.start()
    found = decoding.predict(net, image, trace)
    assert set(trace.stages) == {"network", "dithering", "triangulation", "decoding"} and not trace.notes
    density = net.density(net.features(image), size)
    assert len(found.means) == pytest.approx(2 * float(density.sum()), rel=0.5)
    again = decoding.predict(net, image)
    assert all(torch.equal(value, vars(again)[name]) for name, value in vars(found).items())
    gaussians = found.gaussians(size, frozenset({"tiles_3sigma"}))
    assert gaussians.compat == {"tiles_3sigma"} and len(gaussians) == len(found.means)
    assert torch.equal(gaussians.angles, 2 * math.pi * found.turns)
    expected = (found.means + 1) / 2 * torch.tensor([size[1], size[0]]) + 0.5
    assert torch.allclose(gaussians.means, expected, atol=1e-5)


@torch.no_grad()
def test_a_network_that_wants_no_points_leaves_the_border_and_a_note(decoding, part):
    net = part("network.official").OfficialNet.seeded(1, widths=(8, 12), depths=(1, 1)).eval()
    net.position_field[4].bias.fill_(-30)
    trace = decoding.Trace()
    found = decoding.predict(net, torch.zeros(1, 3, 20, 30), trace)
    assert 0 < len(found.means) < 40 and all(value.isfinite().all() for value in vars(found).values())
    assert len(trace.notes) == 1 and "border" in trace.notes[0]


@pytest.mark.parametrize("shape", [(3, 23, 31), (2, 3, 23, 31), (1, 4, 23, 31)])
def test_other_pictures_are_refused(decoding, net, scene, shape):
    with pytest.raises(ValueError, match=r"expected a picture \[1, 3, H, W\]"):
        decoding.decode(net, scene[1], torch.zeros(shape), scene[2])
