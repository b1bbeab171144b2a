"""AIR as a method: budgets, snapshots, weights, files."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import decode
from splatbench.method import MethodError, WeightsMissing
from splatbench.render import render
from splatbench.trace import Diverged, Trace

NATIVE = Budget(native=True)


@pytest.fixture(scope="session")
def weights(part, tmp_path_factory):
    """A tiny network with seeded random weights and a quantiser, which draws something."""
    model_file = part("model")
    small, quantiser = part("network.small"), part("quantiser")
    torch.manual_seed(3)
    model = model_file.SmallModel(small.SmallSettings(width=16, blocks=1), quantiser.PUBLISHED)
    with torch.no_grad():
        for head in model.network.heads:
            head.output.weight.normal_(std=0.2)
            head.output.bias[5:] = 0.1
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model_file.save_small(path, model)
    return path


@pytest.fixture(scope="session")
def photo():
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[100:163, 200:290])


@pytest.fixture
def make(method, weights):
    def build(**settings):
        return method(method.make_config({"weights": str(weights), **settings}))

    return build


def score(gaussians, image):
    return 10 * np.log10(1 / np.square(render(gaussians).clamp(0, 1).numpy() - image / 255).mean())


@pytest.mark.parametrize("settings", [{}, {"quantise": True}, {"quantise": True, "ranges": "per_image"}])
def test_the_file_decodes_to_the_gaussians_of_the_encoding(make, photo, settings):
    air = make(**settings)
    encoding = air.encode(photo, NATIVE, Trace())
    decoded = decode(air.to_bytes(encoding))
    expected = encoding.gaussians()
    assert len(decoded) == len(encoding) == int(encoding.masks.sum())
    for name, value in expected.tensors().items():
        assert torch.equal(value, decoded.tensors()[name]), name
    assert torch.equal(render(decoded), render(expected))


def test_the_same_picture_gives_the_same_bytes_whatever_the_seed(make, photo):
    air = make(quantise=True)
    first, second = (air.to_bytes(air.encode(photo, NATIVE, Trace(), seed)) for seed in (1, 2))
    assert first == second


def test_snapshots_are_the_first_stages_and_the_unquantised_set(make, photo):
    taken = {}
    wanted = ["stage1", "stage2", "stage4", "unquantised"]
    air = make(quantise=True)
    final = air.encode(photo, NATIVE, Trace(snapshots=wanted, on_snapshot=taken.__setitem__))
    assert list(taken) == wanted
    assert [len(taken[name].masks) for name in wanted] == [1, 2, 4, 4]
    assert torch.equal(taken["stage2"].masks, final.masks[:2])
    assert final.codes is not None and taken["unquantised"].codes is None
    trace = Trace(snapshots=wanted, on_snapshot=lambda name, encoding: None)
    trace.start()
    air.encode(photo, NATIVE, trace)
    at = [trace.snapshot_seconds[name] for name in wanted]
    assert 0 < at[0] < at[1] < at[2]  # each when its stage was done
    assert len(taken["unquantised"]) == len(final)


def test_a_stage_that_has_nothing_to_do_still_has_its_snapshot(make, photo):
    taken = {}
    air = make(psnr_threshold=-60.0, ssim_threshold=None)
    assert len(air.encode(photo, NATIVE, Trace()).masks) == 0
    air = make(psnr_threshold=5.0, ssim_threshold=None)
    bright = np.full((30, 40, 3), 200, np.uint8)
    final = air.encode(bright, NATIVE, Trace(snapshots=["stage4"], on_snapshot=taken.__setitem__))
    assert 0 < len(final.masks) < 4  # one Gaussian of a random network is within 5 dB of nearly every flat patch
    assert torch.equal(taken["stage4"].masks, final.masks)


def test_fewer_stages_are_the_first_ones(make, photo):
    two, four = (make(stages=n).encode(photo, NATIVE, Trace()) for n in (2, 4))
    assert torch.equal(two.masks, four.masks[:2])
    assert torch.equal(two.values.colors, four.upto(2).values.colors)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (7, 7), (50, 8)])
def test_pictures_of_any_size_are_encoded(make, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    air = make(quantise=True)
    assert decode(air.to_bytes(air.encode(image, NATIVE, Trace()))).size == size


def test_the_official_preset_switches_every_published_deviation_on(method):
    config = method.make_config({"preset": "official", "weights": "ps_7.pt"})
    assert config.drawing().stretch and config.drawing().compat == {"tiles_3sigma", "tile_cap_256"}
    assert config.control().when_none == "all"
    exact = method.make_config({"preset": "official", "tile_cap_256": False, "all_when_none": False})
    assert exact.drawing().compat == {"tiles_3sigma"} and exact.control().when_none == "skip"
    ours = method.make_config({})
    assert not ours.drawing().stretch and not ours.drawing().compat and ours.control().when_none == "skip"


def test_a_wanted_psnr_is_reached_with_fewer_gaussians_than_all(make, photo):
    air = make()
    everything = make(psnr_threshold=None, ssim_threshold=None).encode(photo, NATIVE, Trace())
    # A random network gets worse with every stage; aim between what one Gaussian and the best prefix give.
    best = max(score(everything.upto(n).gaussians(), photo) for n in (1, 2, 3, 4))
    empty = 10 * np.log10(1 / np.square(photo / 255).mean())
    wanted = empty + 0.5 * (best - empty)
    encoding = air.encode(photo, Budget(psnr=wanted), Trace())
    assert score(encoding.gaussians(), photo) >= wanted - 1e-3
    assert len(encoding) < len(everything.upto(1))


def test_a_wanted_psnr_holds_for_the_quantised_file(make, photo):
    air = make(quantise=True, psnr_threshold=None, ssim_threshold=None)
    first = score(air.encode(photo, NATIVE, Trace()).upto(1).gaussians(), photo)
    empty = 10 * np.log10(1 / np.square(photo / 255).mean())
    wanted = empty + 0.6 * (first - empty)
    assert wanted > empty
    encoding = air.encode(photo, Budget(psnr=wanted), Trace())
    assert encoding.codes is not None
    assert score(decode(air.to_bytes(encoding)), photo) >= wanted


def test_a_psnr_that_an_empty_canvas_has_needs_no_gaussian(make, photo):
    assert len(make().encode(photo, Budget(psnr=0.5), Trace())) == 0


def test_a_limit_that_stands_in_the_way_of_a_psnr_is_named(make, photo):
    with pytest.raises(MethodError, match="need more than 2 Gaussians, which reach"):
        make(max_gaussians=2).encode(photo, Budget(psnr=30.0), Trace())


def test_a_time_limit_ends_the_chain_after_a_stage_and_steps_mean_nothing(make, photo):
    trace = Trace(seconds=1e-9)
    trace.start()
    encoding = make(psnr_threshold=None, ssim_threshold=None).encode(photo, Budget(native=True, iterations=5), trace)
    assert len(encoding.masks) == 1
    assert any("limit on iterations" in note for note in trace.notes)
    assert any("fingerprint" in note for note in trace.notes)


def test_snapshots_cost_no_encode_time(make, photo, monkeypatch):
    air, running = make(), []
    trace = Trace(snapshots=["stage1"], on_snapshot=lambda name, encoding: None)
    made = type(air)._encoding

    def watched(self, chain, target):
        before = trace.seconds
        encoding = made(self, chain, target)
        running.append(trace.seconds > before)
        return encoding

    monkeypatch.setattr(type(air), "_encoding", watched)
    trace.start()
    air.encode(photo, NATIVE, trace)
    assert running == [False, True]


def test_weights_that_change_change_the_fingerprint(method, weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights.read_bytes())
    config = method.make_config({"weights": str(path)})
    first = method.fingerprint(config)
    path.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    os.utime(path, (1, 1))
    assert len(first) == 16 and method.fingerprint(config) != first
    path.unlink()
    assert method.fingerprint(config) == "missing"


def test_large_weights_are_told_apart_by_their_ends(part, tmp_path):
    fingerprint, seen = part("weights").fingerprint, set()
    for position in (0, (65 << 20) - 1):
        path = tmp_path / f"{position}.pt"
        with open(path, "wb") as file:
            file.truncate(65 << 20)
            file.seek(position)
            file.write(b"x")
        seen.add(fingerprint(path))
    assert len(seen) == 2


def test_a_psnr_out_of_reach_says_what_can_be_had(make, photo):
    with pytest.raises(MethodError, match=r"90 dB are beyond this network: .* reach \d+\.\d+ dB"):
        make().encode(photo, Budget(psnr=90.0), Trace())


def test_a_count_cannot_be_imposed(make, photo):
    with pytest.raises(MethodError, match="chooses its own number"):
        make().encode(photo, Budget(gaussians=100), Trace())


def test_official_weights_that_are_not_there_are_named_with_a_way_to_get_them(method, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match="authors' weights"):
        method(method.make_config({"preset": "official"})).prepare()
    with pytest.raises(WeightsMissing, match=f"ps_7.pt not found.*{tmp_path}"):
        method(method.make_config({"preset": "official", "weights": "ps_7.pt"})).prepare()


def test_adaptive_ranges_need_weights_that_have_them(method, part, tmp_path):
    model_file, small = part("model"), part("network.small")
    path = tmp_path / "plain.safetensors"
    model_file.save_small(path, model_file.SmallModel(small.SmallSettings(width=8, blocks=1)))
    settings = {"weights": str(path), "quantise": True}
    with pytest.raises(MethodError, match="no quantiser.*per_image"):
        method(method.make_config(settings)).prepare()
    method(method.make_config({**settings, "ranges": "per_image"})).prepare()


def test_damaged_weights_are_refused_by_name(method, weights, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(MethodError, match=r"broken\.safetensors: .*damaged"):
        method(method.make_config({"weights": str(broken)})).prepare()


def test_weights_of_another_shape_or_with_nan_are_refused(part, weights, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(weights, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(weights)
    name = "network.heads.0.output.bias"
    load = part("model").load_small
    for change, message in (
        ({name: torch.full((8,), float("nan"))}, "NaN"),
        ({name: torch.zeros(9)}, r"\[9\] instead of \[8\]"),
        ({"more": torch.zeros(1)}, "1 unexpected: more"),
    ):
        path = tmp_path / "changed.safetensors"
        save_file({**tensors, **change}, path, metadata=header)
        with pytest.raises(MethodError, match=message):
            load(path)
    save_file({k: v for k, v in tensors.items() if k != name}, tmp_path / "less.safetensors", metadata=header)
    with pytest.raises(MethodError, match="1 missing"):
        load(tmp_path / "less.safetensors")


def test_bfloat16_stays_close_to_float32(make, photo):
    exact, coarse = (make(precision=p).encode(photo, NATIVE, Trace()) for p in ("float32", "bfloat16"))
    assert exact.values.colors.dtype == coarse.values.colors.dtype == torch.float32
    n = min(len(exact.upto(1)), len(coarse.upto(1)))
    difference = (exact.values.offsets[:n] - coarse.values.offsets[:n]).abs().max()
    assert 0 < difference < 0.2


def test_a_limit_on_the_count_holds_over_all_stages(make, photo):
    free = make(psnr_threshold=None, ssim_threshold=None).encode(photo, NATIVE, Trace())
    patches = free.masks.shape[1]
    limited = make(psnr_threshold=None, ssim_threshold=None, max_gaussians=2 * patches + 5).encode(
        photo, NATIVE, Trace()
    )
    assert [int(mask.sum()) for mask in limited.masks] == [patches, patches, 5]
    assert torch.equal(limited.values.colors[: 2 * patches], free.values.colors[: 2 * patches])


@pytest.mark.parametrize("settings", [{}, {"quantise": True}])
def test_a_black_picture_may_need_no_gaussian(make, settings):
    black = np.zeros((20, 30, 3), np.uint8)
    air = make(ssim_threshold=None, **settings)
    encoding = air.encode(black, NATIVE, Trace())
    decoded = decode(air.to_bytes(encoding))
    assert len(encoding) == len(decoded) == 0
    assert not render(decoded).any()


def test_a_network_that_gives_nan_diverges_and_fits_no_steps(make, photo):
    air = make()
    air.prepare()
    trace = Trace()
    air.encode(photo, NATIVE, trace)
    assert trace.steps == 0 and [point[0] for point in trace.curve] == [1, 2, 3, 4]
    with torch.no_grad():
        air.loaded.network.heads[1].output.bias[6] = float("nan")
    with pytest.raises(Diverged, match="stage 2.*NaN"):
        air.encode(photo, NATIVE, Trace())
