"""Records, outlines and lists: what the drawing kernels go by."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

triton = pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")
tl = triton.language

from splatbench.render.gpu import Workspace, plan  # noqa: E402
from splatbench.render.gpu.geometry import FIELDS, NO_TILE, band, distances, load_record  # noqa: E402

LIMIT = np.log2(255.0)


@triton.jit
def _bands(records, out, cut, top, bottom, COUNT: tl.constexpr):
    i = tl.arange(0, COUNT)
    left, right = band(load_record(records, i, mask=i < COUNT), cut, top, bottom)
    tl.store(out + 2 * i, left)
    tl.store(out + 2 * i + 1, right)


@triton.jit
def _distances(records, out, left, top, count):
    row, column = tl.arange(0, 8)[:, None], tl.arange(0, 16)[None, :]
    for i in range(count):
        _, _, t = distances(load_record(records, i), left, top, 16, 8)
        tl.store(out + i * 128 + row * 16 + column, t)


def prepared(scene, size, device, **settings):
    """A workspace that has seen the scene, and its records in float64 by name."""
    tensors = [v.to(device) for v in scene]
    w = Workspace(len(tensors[0]), size, tensors[2].shape[1], device=device, **settings)
    w._bin(*tensors[:2])
    return w, dict(zip(FIELDS, w._records.double().cpu().T, strict=True))


def exact(scene, x, y):
    """t in float64, by the definition."""
    dx, dy = x - scene[0].double()[:, :1] - -0.5, y - scene[0].double()[:, 1:] - -0.5
    sxx, sxy, syy = (v[:, None] for v in scene[1].unbind(1))
    return (syy * dx * dx - 2 * sxy * dx * dy + sxx * dy * dy) / (sxx * syy - sxy * sxy) / (2 * np.log(2))


def test_records_hold_the_whitening(make_scene, triton_device, error):
    scene = make_scene(20, (30, 30), long=(1, 40), short=(0.1, 1))
    _, r = prepared(scene, (1, 1), triton_device)
    factor = torch.linalg.cholesky(torch.stack([scene[1][:, [0, 1]], scene[1][:, [1, 2]]], 1))
    w = torch.linalg.inv(factor) * np.sqrt(np.log2(np.e) / 2)
    drawn = r["w11"] != 0  # the others are outside
    assert 0 < drawn.sum() < 20
    for got, want in (
        (r["w11"], w[:, 0, 0]),
        (r["w21"] + r["rest21"], w[:, 1, 0]),
        (r["w22"] + r["rest22"], w[:, 1, 1]),
    ):
        assert ((got - want) / want)[drawn].abs().max() < 2e-7
    bits = torch.stack([r["w21"], r["w22"]]).float().view(torch.int32)
    assert not (bits & 0xFFF).any()
    mean = torch.stack([r["whole_x"] + r["part_x"], r["whole_y"] + r["part_y"]], 1)[drawn]
    assert error(mean, scene[0][drawn] - 0.5) < 1e-7


@hypothesis.settings(max_examples=12)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), ratio=st.sampled_from([1.0, 10.0, 1000.0]), top=st.integers(-40, 40))
def test_a_band_holds_the_pixels_of_the_outline(triton_device, make_scene, seed, ratio, top):
    """Whatever the shape, no pixel with t <= cut is left of it or right of it; and it is not much wider than needed."""
    count = 64
    scene = make_scene(count, (20, 20), long=(0.5, 30), short=(0.5 / ratio, 30 / ratio), seed=seed)
    scene[0].uniform_(0, 20, generator=torch.Generator().manual_seed(seed % 1000))
    w, _ = prepared(scene, (20, 20), triton_device)
    out = torch.empty(count, 2, device=triton_device)
    _bands[(1,)](w._records, out, float(LIMIT), float(top), float(top + 7), COUNT=count, num_warps=1)
    left, right = out.double().cpu().unbind(1)
    x, y = torch.meshgrid(torch.arange(-150.0, 170), torch.arange(top, top + 8.0), indexing="ij")
    x, y = x.double().reshape(1, -1), y.double().reshape(1, -1)
    inside = (exact(scene, x, y) <= LIMIT) & (w._spans_x.cpu() != NO_TILE.value)[:, None]
    assert not (inside & ((x < left[:, None]) | (x > right[:, None]))).any()
    fine = torch.linspace(top - 0.1, top + 7.1, 10_000, dtype=torch.float64)
    for i in inside.any(1).nonzero()[:10, 0].tolist():  # the outline, point by point
        sxx, sxy, syy = scene[1][i].tolist()
        mx, my = (scene[0][i].double() - 0.5).tolist()
        room = 2 * np.log(255) * syy - (fine - my) ** 2
        half = (room.clamp_min(0) * (sxx * syy - sxy * sxy)).sqrt() / syy
        middle = mx + sxy / syy * (fine - my)
        reached = room >= 0
        assert (middle - half)[reached].min() - left[i] < 0.3 + 0.01 * sxx**0.5
        assert right[i] - (middle + half)[reached].max() < 0.3 + 0.01 * sxx**0.5


def test_distances_are_exact_where_it_counts(triton_device, make_scene):
    """Axes of 1 : 10 000: t to 2e-5 in all pixels of the support, up to hundreds of pixels from the mean."""
    count, size = 40, (8, 16)
    scene = make_scene(count, size, long=(50, 200), short=(0.005, 0.05), seed=1)
    rng = np.random.default_rng(0)
    sxx, sxy, _ = scene[1].numpy().T
    along = np.stack([sxx, sxy], 1) / np.sqrt(sxx)[:, None]  # from the mean to the rightmost point of the unit ellipse
    pixel = np.stack([rng.integers(0, 16, count), rng.integers(0, 8, count)], 1) + 0.5
    scene[0].copy_(torch.from_numpy(pixel + along * rng.uniform(-2, 2, (count, 1))))
    w, _ = prepared(scene, size, triton_device)
    out = torch.empty(count, *size, device=triton_device)
    _distances[(1,)](w._records, out, 0.0, 0.0, count, num_warps=1)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(16.0), indexing="ij")
    want = exact(scene, x.double().reshape(1, -1), y.double().reshape(1, -1)).reshape(count, *size)
    seen = want <= LIMIT
    assert seen.sum() > 40
    assert (out.double().cpu() - want)[seen].abs().max() < 2e-5


@pytest.mark.parametrize("batch", [1, 2])
def test_lists_hold_what_meets_their_node(batch, make_scene, triton_device, monkeypatch):
    """Of every node and part: the Gaussians whose tiles meet it, ascending; and the large ones, some of each block."""
    for name, value in {"BLOCK": 8, "LARGE": 3, "FEW": 0, "SLOTS": 2}.items():
        monkeypatch.setattr(plan, name, value)
    n, size = 19, (100, 90)
    scenes = [make_scene(n, size, long=(1, 9), seed=s) for s in range(batch)]
    tensors = [torch.stack(v).to(triton_device) for v in zip(*scenes, strict=True)]
    w = Workspace(n, size, 3, batch=batch, device=triton_device)
    w._bin(*tensors[:2])
    assert w.plan.nodes > 4 and w.plan.parts == 3
    across, down = w._spans_x.cpu().numpy(), w._spans_y.cpu().numpy()
    x0, x1, y0, y1 = across & 0xFFFF, across >> 16, down & 0xFFFF, down >> 16
    list_ids, segments = w._list_ids.cpu().numpy(), w._segments.cpu().numpy()
    index = np.arange(batch * n)
    for b, node, part in np.ndindex(segments.shape[:3]):
        left, top = node % w.plan.nodes_x * w.plan.node_w, node // w.plan.nodes_x * w.plan.node_h
        first = b * n + part * w.plan.part
        mine = (index >= first) & (index < min(first + w.plan.part, (b + 1) * n))
        mine &= (x0 < left + w.plan.node_w) & (x1 >= left) & (y0 < top + w.plan.node_h) & (y1 >= top)
        start, count = segments[b, node, part]
        assert list_ids[start : start + count].tolist() == index[mine].tolist()
    assert segments[..., 1].sum() == int(w._counters[0])
    large = np.flatnonzero((x1 >= x0) & ((x1 - x0 + 1) * (y1 - y0 + 1) > 3))
    block = large // n * n + large % n // 8
    wanted = [i for i in large if (block[large < i] == block[large == i]).sum() < 2]
    assert sorted(w._large[: int(w._counters[1])].tolist()) == wanted
    assert w._is_listed.nonzero()[:, 0].tolist() == wanted and len(large) > len(wanted) > 2
