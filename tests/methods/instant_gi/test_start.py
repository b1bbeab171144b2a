"""Starts: counts that are asked for, the quadtree's Gaussians, the order in memory."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.method import MethodError, get_method
from splatbench.trace import Trace


@pytest.fixture(scope="module")
def start(part):
    return part("start")


def bumps(height, width, level=0.3):
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return (level * (1 + 0.9 * np.sin(9 * x) * np.cos(7 * y))).astype(np.float32)


@pytest.mark.parametrize("wanted", [150, 1000, 2500, 4000])
def test_a_count_is_met_within_one_per_cent_from_below(start, wanted):
    trace = Trace()
    triangles, factor = start.meet_count(bumps(50, 66), 3, (150, 197), wanted, trace)
    assert 0.99 * wanted <= len(triangles) <= wanted
    assert not trace.notes
    # It is what the factor gives, not something cut off.
    points = start.points_of(start.dither(np.minimum(bumps(50, 66) * np.float32(factor), 1)), 3, (150, 197))
    assert torch.equal(start.triangulate(points, (150, 197)).corners, triangles.corners)
    assert set(trace.stages) == {"dithering", "triangulation"}


def test_a_count_that_dithering_jumps_over_is_missed_from_below_and_said(start):
    """On a small flat map no factor gives 107 to 111."""
    cells, size, trace = np.full((12, 12), 0.5, np.float32), (36, 36), Trace()
    counts = {
        len(start.triangulate(start.points_of(start.dither(np.minimum(cells * f, np.float32(1))), 3, size), size))
        for f in np.geomspace(0.2, 2, 400, dtype=np.float32)
    }
    assert {106, 112} <= counts and not counts & set(range(107, 112))
    assert len(start.meet_count(cells, 3, size, 111, trace)[0]) == 106
    assert trace.notes == ["106 Gaussians, not 111: the nearest from below that 8 dithered maps gave"]


def test_more_is_more(start):
    factors = [start.meet_count(bumps(50, 66), 3, (150, 197), n, Trace())[1] for n in (500, 1500, 3000)]
    assert factors == sorted(factors)


def test_counts_that_cannot_be_are_refused_with_what_can(start):
    with pytest.raises(
        MethodError, match=r"blocks of 3x3 pixels hold at most (\d+) Gaussians.*, 9999 are wanted"
    ) as no:
        start.meet_count(bumps(50, 66), 3, (150, 197), 9999, Trace())
    most = int(str(no.value).split("at most ")[1].split()[0])
    full = start.triangulate(start.points_of(np.ones((50, 66), bool), 3, (150, 197)), (150, 197))
    assert most == len(full)
    assert len(start.meet_count(bumps(50, 66), 3, (150, 197), most, Trace())[0]) >= 0.99 * most
    with pytest.raises(MethodError, match=r"the fewest Gaussians found for this picture are \d+, 1 are wanted"):
        start.meet_count(bumps(50, 66), 3, (150, 197), 1, Trace())


@settings(max_examples=25)
@given(
    height=st.integers(1, 30),
    width=st.integers(2, 30),
    wanted=st.integers(60, 400),
    density=st.sampled_from([0.0, 1e-9, 0.02, 0.5, 1.0]),
)
def test_any_map_gives_at_most_what_is_wanted_or_a_reason(height, width, wanted, density):
    start = importlib.import_module(f"{get_method('instant_gi').__module__}.start")
    size, cells = (3 * height, 3 * width), np.full((height, width), density, np.float32)
    full = len(start.triangulate(start.points_of(np.ones((height, width), bool), 3, size), size))
    trace = Trace()
    try:
        count, reason = len(start.meet_count(cells, 3, size, wanted, trace)[0]), ""
    except MethodError as error:
        count, reason = 0, str(error)
    if count:
        assert count <= wanted
        said = f"{count} Gaussians, not {wanted}: the nearest from below that "
        assert [note.startswith(said) for note in trace.notes] == ([] if count >= 0.99 * wanted else [True])
    else:
        assert "Gaussians in this picture" in reason or "found for this picture" in reason
    if density >= 0.02 and min(height, width) >= 8 and wanted < full:
        assert count >= 0.9 * wanted
    if wanted > 2 * full:
        assert "hold at most" in reason


def test_the_quadtree_has_the_colours_of_the_picture(start, part, method, photograph):
    """On a picture that is linear in x and y, colours follow the published sampling, whose -1 is a pixel's middle."""
    height, width = 60, 80
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = 3 * np.arange(width), 4 * np.arange(height)[:, None]
    begun = start.quad_start(ramp, method.make_config({"start": "quad"}), "cpu", Trace())
    x, y = ((begun.gaussians.means - 0.5) / torch.tensor([width, height])).unbind(1)  # 0 to 1 along each side
    torch.testing.assert_close(begun.gaussians.colors[:, 0], 3 / 255 * x.clamp(0, 1) * (width - 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(begun.gaussians.colors[:, 1], 4 / 255 * y.clamp(0, 1) * (height - 1), atol=1e-4, rtol=0)
    assert not begun.gaussians.colors[:, 2].any()


def test_the_quadtrees_sizes_have_the_floor_of_the_refinement(start, part, method, crop):
    begun = start.quad_start(crop, method.make_config({"start": "quad"}), "cpu", Trace())
    found = part("quadtree").quad_start(crop)
    assert len(begun.gaussians) == len(found.sizes)
    expected = torch.from_numpy(found.sizes).clamp_min(0.5).sort(0).values
    assert torch.equal(begun.gaussians.scales.sort(0).values, expected)
    assert begun.parameters["scaling"].min() < 0.5  # the parameters are as they were


def test_neighbours_lie_together_unless_the_order_is_part_of_the_picture(start, method):
    def distance(config):
        begun = start.random_start((200, 300), 4000, 3, method.make_config(config), "cpu", Trace())
        assert torch.equal(begun.parameters["features"], begun.gaussians.colors)
        return float((begun.gaussians.means[1:] - begun.gaussians.means[:-1]).norm(dim=1).mean()), begun

    sorted_distance, by_place = distance({})
    drawn_distance, as_drawn = distance({"tile_cap_256": True})
    assert sorted_distance < drawn_distance / 10
    rows = [set(map(tuple, b.gaussians.colors.tolist())) for b in (by_place, as_drawn)]
    assert rows[0] == rows[1]
