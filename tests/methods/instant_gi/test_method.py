"""Instant-GI as a method: budgets, starts, snapshots, weights, files."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import BitstreamError, decode, write
from splatbench.method import MethodError, WeightsMissing
from splatbench.render import render
from splatbench.trace import Diverged, Trace

NATIVE = Budget(native=True)


@pytest.fixture(scope="session")
def weights(part, tmp_path_factory):
    """A tiny network with seeded random weights."""
    small = part("network.small")
    torch.manual_seed(3)
    net = small.SmallNet(small.SmallSettings(widths=(8, 12), blocks=(1, 1), up_blocks=(1,)))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    part("model").save_small(path, net)
    return path


@pytest.fixture
def make(method, weights):
    def build(**settings):
        return method(method.make_config({"weights": str(weights), **settings}))

    return build


def equal(a, b):
    return all(torch.equal(value, b.tensors()[name]) for name, value in a.tensors().items())


def rows(gaussians):
    """Their values, bit for bit, in any order."""
    values = [value.reshape(len(gaussians), -1) for value in gaussians.tensors().values()]
    return sorted(map(tuple, torch.cat(values, 1).tolist()))


def test_without_iterations_it_is_the_networks_picture(make, part, crop):
    """The published Gaussians, in another order: scales are not raised to the refinement's floor."""
    instant = make()
    trace = Trace()
    found = instant.encode(crop, NATIVE, trace)
    picture = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        predicted = part("decode").predict(instant.network, picture)
    assert len(found) == len(predicted.means) and found.scales.min() < 0.5
    torch.testing.assert_close(render(found), render(predicted.gaussians((96, 96))), atol=1e-5, rtol=0)
    assert list(trace.stages) == ["network", "dithering", "triangulation", "decoding"]
    assert trace.steps == 0 and any("fingerprint" in note for note in trace.notes)


def test_a_refinement_goes_on_from_there(make, crop):
    taken = {}
    instant = make()
    trace = Trace(snapshots=["init", 10, 60], on_snapshot=taken.__setitem__)
    final = instant.encode(crop, Budget(native=True, iterations=60), trace)
    assert list(taken) == ["init", "10"]  # the last step is the encoding itself
    assert equal(taken["init"], instant.encode(crop, NATIVE, Trace()))
    assert equal(taken["10"], instant.encode(crop, Budget(native=True, iterations=10), Trace()))
    target = torch.from_numpy(crop) / 255
    errors = [float((render(g).clamp(0, 1) - target).square().mean()) for g in (taken["init"], taken["10"], final)]
    assert errors[0] > errors[1] > errors[2]
    assert final.scales.min() >= 0.5 and trace.steps == 60 and "fit" in trace.stages
    configured = make(iterations=10).encode(crop, NATIVE, Trace())
    assert equal(configured, taken["10"])


def test_a_count_that_is_asked_for(make, crop):
    own, trace = len(make().encode(crop, NATIVE, Trace())), Trace()
    for wanted in (own // 2, own + own // 4):
        found = make().encode(crop, Budget(gaussians=wanted), trace)
        assert 0.99 * wanted - 1 <= len(found) <= wanted
    assert any("to meet the count" in note for note in trace.notes)
    with pytest.raises(MethodError, match="more than the 96x96 pixels"):
        make().encode(crop, Budget(gaussians=96 * 96 + 1), Trace())
    with pytest.raises(MethodError, match="blocks of 3x3 pixels hold at most"):
        make().encode(crop, Budget(gaussians=96 * 96), Trace())


def test_the_random_start_has_the_networks_count_or_the_budgets(make, method, crop, tmp_path):
    own = len(make().encode(crop, NATIVE, Trace()))
    trace = Trace()
    trace.start()
    found = make(start="random").encode(crop, NATIVE, trace)
    assert len(found) == own and list(trace.stages) == ["initialise"]
    assert any("outside the clock" in note for note in trace.notes)
    # A count of its own needs no network at all.
    without = method(method.make_config({"start": "random", "weights": str(tmp_path / "none.safetensors")}))
    without.prepare()
    assert len(without.encode(crop, Budget(gaussians=321), Trace())) == 321
    with pytest.raises(WeightsMissing):
        without.encode(crop, NATIVE, Trace())


def test_seeds_are_those_of_the_random_start(make, crop):
    by_chance = [make(start="random").encode(crop, Budget(gaussians=50), Trace(), seed) for seed in (1, 1, 2)]
    assert equal(by_chance[0], by_chance[1]) and not equal(by_chance[0], by_chance[2])
    predicted = [make().encode(crop, Budget(native=True, iterations=3), Trace(), seed) for seed in (1, 2)]
    assert equal(*predicted)


def test_the_quadtree_needs_no_weights_and_chooses_its_count(method, crop):
    quad = method(method.make_config({"start": "quad", "weights": "nowhere.safetensors"}))
    quad.prepare()
    trace = Trace()
    found = quad.encode(crop, Budget(native=True, iterations=40), trace)
    assert list(trace.stages) == ["quadtree", "fit"]
    error = float((render(found).clamp(0, 1) - torch.from_numpy(crop) / 255).square().mean())
    assert -10 * np.log10(error) > 18
    with pytest.raises(MethodError, match="chooses its own number"):
        quad.encode(crop, Budget(gaussians=100), Trace())


@pytest.mark.parametrize("start", ["network", "quad", "random"])
@pytest.mark.parametrize("shape", [(5, 5), (2, 40), (97, 33)])
def test_odd_and_tiny_pictures(make, method, start, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    instant = make(start=start)
    found = instant.encode(image, Budget(native=True, iterations=3), Trace())
    decoded = decode(instant.to_bytes(found))
    assert decoded.size == shape and bool(render(decoded).isfinite().all())


@pytest.mark.parametrize("shape", [(1, 1), (1, 50)])
def test_pictures_that_no_triangle_fits_in_are_refused(make, shape):
    with pytest.raises(MethodError, match=f"{shape[1]}x{shape[0]}"):
        make().encode(np.zeros((*shape, 3), np.uint8), NATIVE, Trace())


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("start", ["network", "quad"])
def test_flat_pictures(make, start, value):
    flat = np.full((48, 64, 3), value, np.uint8)
    found = make(start=start).encode(flat, Budget(native=True, iterations=200), Trace())
    assert len(found) > 0
    assert float((render(found).clamp(0, 1) - value / 255).abs().mean()) < 0.1


def test_a_time_limit_ends_the_refinement(make, crop):
    instant = make()
    instant.prepare()
    trace = Trace(seconds=0.5)
    trace.start()
    found = instant.encode(crop, Budget(native=True, iterations=10**6, seconds=0.5), trace)
    assert 0 <= trace.steps < 10**6 and len(found) > 0


def test_the_same_picture_gives_the_same_bytes(make, crop):
    data = [make().to_bytes(make().encode(crop, Budget(native=True, iterations=5), Trace())) for _ in range(2)]
    assert data[0] == data[1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count", "expected"), [("kodim03", 24941, (16.84, 23.4, 25.1, 28.1))])
def test_kodak_anchors_of_the_quadtree(method, kodak, name, count, expected):
    """PSNR that an independent implementation measured with the exact gradient: at first, after 50, 100, 200 steps."""
    from splatbench.datasets import load_image

    image = load_image(kodak / f"{name}.png").pixels
    taken = []
    trace = Trace(snapshots=["init", 50, 100], on_snapshot=lambda at, gaussians: taken.append(gaussians))
    quad = method(method.make_config({"start": "quad"}))
    taken.append(quad.encode(image, Budget(native=True, iterations=200), trace))
    target = torch.from_numpy(image).double() / 255
    errors = [float((render(g).clamp(0, 1).double() - target).square().mean()) for g in taken]
    assert [len(g) for g in taken] == [count] * 4
    np.testing.assert_allclose(-10 * np.log10(errors), expected, atol=0.06)


# -- files and weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"tiles_3sigma": True, "tile_cap_256": True}])
def test_the_file_decodes_to_the_same_picture(make, crop, settings):
    instant = make(**settings)
    found = instant.encode(crop, Budget(native=True, iterations=5), Trace())
    decoded = decode(instant.to_bytes(found))
    assert decoded.compat == found.compat == frozenset(settings)
    assert rows(found) == rows(decoded)
    if settings:  # under the cap the order is part of the picture
        assert equal(found, decoded)
    torch.testing.assert_close(render(found), render(decoded), atol=2e-6, rtol=0)


def test_other_files_are_refused(method):
    with pytest.raises(BitstreamError, match="made by method 'other'"):
        method.from_bytes(write("other", (4, 4), "sum", frozenset(), [], {}))
    with pytest.raises(BitstreamError, match="holds no Gaussians"):
        method.from_bytes(write("instant_gi", (4, 4), "sum", frozenset(), [], {}))


def test_weights_that_change_change_the_fingerprint(method, weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights.read_bytes())
    config = method.make_config({"weights": str(path)})
    first = method.fingerprint(config)
    path.write_bytes(weights.read_bytes()[:-1] + b"\1")
    os.utime(path, (1, 1))
    assert len(first) == 16 and method.fingerprint(config) != first
    path.unlink()
    assert method.fingerprint(config) == "missing"
    assert method.fingerprint(method.make_config({"start": "quad"})) == ""


def test_weights_that_are_not_there_are_named_with_a_way_to_get_them(method, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(tmp_path))
    for block in (3, 4):
        instant = method(method.make_config({"preset": "official", "block": block}))
        with pytest.raises(WeightsMissing, match=f"epoch_best_ks_{block}.pth not found.*{tmp_path}.*authors' weights"):
            instant.prepare()


def test_official_weights_run_with_their_settings(method, part, crop, tmp_path, monkeypatch):
    """A network of the published structure, reduced, under the released name; found in a folder of weights."""
    official = part("network.official")
    torch.manual_seed(0)
    net = official.OfficialNet(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1))
    torch.save({"model": net.state_dict()}, tmp_path / "epoch_best_ks_3.pth")
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(tmp_path))
    found = {}
    for statistics in (True, False):
        instant = method(method.make_config({"preset": "official", "batch_statistics": statistics}))
        found[statistics] = instant.encode(crop, NATIVE, Trace())
        assert found[statistics].compat == {"tiles_3sigma", "tile_cap_256"}
    assert rows(found[True]) != rows(found[False])
    small = method(method.make_config({"preset": "official"}))
    with pytest.raises(MethodError, match="16"):
        small.encode(crop[:15], NATIVE, Trace())


def test_damaged_weights_are_refused_by_name(method, weights, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(MethodError, match=r"broken\.safetensors: .*damaged"):
        method(method.make_config({"weights": str(broken)})).prepare()


def test_a_network_that_gives_nan_diverges(make, crop):
    instant = make()
    with torch.no_grad():
        instant.network.heads.scale_rot_field[-1].bias[0] = float("nan")
    with pytest.raises(Diverged, match="NaN"):
        instant.encode(crop, NATIVE, Trace())


def test_labels_are_the_quadtrees_with_the_settings_of_the_fit(method, part, crop):
    maker = method.make_labels({"iterations": 0})
    assert maker.settings.iterations == 0 and maker.settings.start == "quad"
    assert np.array_equal(maker.make(crop), part("labels").pseudo_label(crop, 0))
    assert method.make_labels({}).settings.iterations == 50_000
    with pytest.raises(MethodError, match="begin from the quadtree"):
        method.make_labels({"start": "network"})
