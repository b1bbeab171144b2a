"""Both phases under the trainer: labels, what gets a gradient, and that a resumed run is the same run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from scipy import ndimage

from splatbench.method import MethodError
from splatbench.training.config import load_config
from splatbench.training.errors import TrainingError
from splatbench.training.loop import train

TINY = {"base": 4, "k_dim": 4, "unshuffle": 2, "convention": "exact", "sampling": ["dither"], "fit_steps": 3}


@pytest.fixture
def run(folder):
    """run(phase, out, iterations=4, resume=False, init=None, **settings) -> the exported weights."""

    def trained(phase, out, iterations=4, resume=False, init=None, **settings):
        values = {
            "method": "fast_2dgs",
            "phase": phase,
            "settings": {**TINY, **settings},
            "data": {"train": "pictures", "validation": {"count": 1}},
            "size": {"policy": "crop", "side": [48, 48]},
            "batch": 2,
            "iterations": iterations,
            "optimiser": {"lr": 5e-3},
            "schedule": {"kind": "constant"},
            "validate_every": 2,
            "checkpoint_every": 2,
            "log_every": 1,
        }
        if init is not None:
            values["init"] = str(init)
        (folder / "phase.yaml").write_text(yaml.safe_dump(values))
        train(load_config(folder / "phase.yaml"), folder / out, resume, say=lambda line: None)
        return load_file(folder / out / "export" / "fast-2dgs-small.safetensors")

    return trained


def test_resumed_runs_are_the_uninterrupted_ones(folder, run):
    whole = run("heat", "whole")
    run("heat", "parts", iterations=2)
    assert_same(whole, run("heat", "parts", resume=True))
    attributes = run("attributes", "whole2", heat="whole/export")
    run("attributes", "parts2", iterations=2, heat="whole/export")
    assert_same(attributes, run("attributes", "parts2", resume=True, heat="whole/export"))


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_the_second_phase_leaves_the_first_ones_network_alone(folder, run):
    """Weights and running statistics of the heat network are those of its own phase, bit for bit."""
    heat = run("heat", "one")
    both = run("attributes", "two", heat="one/export")
    assert_same(heat, {name: value for name, value in both.items() if name.startswith("heat.")})
    longer = run("attributes", "three", iterations=6, heat="one/export")
    changed = [name for name in both if name.startswith("attributes.") and not torch.equal(both[name], longer[name])]
    assert len(changed) > 100


def test_frozen_norms_keep_the_statistics_of_their_first_steps(folder, run):
    """Means of the first two batches, whatever came before; not changed later, also across a stop."""
    run("heat", "one")
    run("attributes", "before", heat="one/export")
    frozen = {"heat": "one/export", "norms": "frozen", "settle": 2, "init": "before/export"}
    short, long = run("attributes", "short", iterations=2, **frozen), run("attributes", "long", iterations=6, **frozen)
    statistics = [name for name in short if name.startswith("attributes.") and "running" in name]
    assert len(statistics) > 30
    assert all(torch.equal(short[name], long[name]) for name in statistics)
    assert int(long["attributes.inc.block.1.num_batches_tracked"]) == 2
    assert not torch.equal(short["attributes.inc.block.0.weight"], long["attributes.inc.block.0.weight"])
    run("attributes", "parts", iterations=2, **frozen)
    assert_same(long, run("attributes", "parts", iterations=6, resume=True, **frozen))


@pytest.mark.slow
def test_attributes_learn(folder, run):
    run("heat", "one")
    run("attributes", "two", iterations=40, heat="one/export", log_mse=1.0, l1=0.0, l2=0.0)
    lines = [json.loads(line) for line in (folder / "two" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.15  # of log10 MSE: 1.5 dB


def test_weights_of_another_shape_are_refused(folder, run):
    run("heat", "one")
    with pytest.raises(TrainingError, match="base=4.*put that into the settings"):
        run("heat", "two", init="one/export", base=6)
    with pytest.raises(TrainingError, match="holds attributes of none"):
        run("attributes", "three", init="one/export", heat="one/export")
    with pytest.raises(TrainingError, match="trained for convention 'exact'"):
        run("attributes", "five", heat="one/export", convention="published")
    with pytest.raises(TrainingError, match=r"settings\.heat"):
        run("attributes", "four")


def test_wrong_settings_are_named(method):
    with pytest.raises(MethodError, match="did you mean 'heat'"):
        method.training_task({}, "heta")
    with pytest.raises(MethodError, match="unknown setting 'fit_step'.*fit_steps"):
        method.training_task({"fit_step": 3}, "heat")
    with pytest.raises(MethodError, match="labels need l1 or l2"):
        method.training_task({"l1": 0, "l2": 0, "log_mse": 1}, "heat")
    with pytest.raises(MethodError, match="lower one first"):
        method.training_task({"counts": [9, 3]}, "heat")


def test_counts_are_uniform_with_the_rest_at_the_least(part):
    """The published max(U 100 000, 10 000): a tenth of the draws is at the least count, the others are uniform."""
    torch.manual_seed(0)
    settings = part("training.settings").Settings()
    counts = np.array([part("training.drawing").random_count(settings) for _ in range(4000)])
    assert counts.min() == 10_000 and counts.max() < 100_000
    assert abs((counts == 10_000).mean() - 0.1) < 0.02
    assert abs(np.median(counts[counts > 10_000]) - 55_000) < 2500


@pytest.mark.parametrize(("equivalent", "size", "expected"), [(262_144, (10, 7), 70), (10_000, (512, 512), 10_000),
                                                              (10_000, (128, 256), 1250), (1, (3, 3), 1)])  # fmt: skip
def test_counts_stand_for_densities(part, equivalent, size, expected):
    assert part("training.drawing").count_on(equivalent, size) == expected


@pytest.mark.parametrize("convention", ["exact", "published"])
@pytest.mark.parametrize("size", [(5, 7), (64, 48), (128, 512)])
def test_a_pixel_s_position_stands_for_that_pixel(part, convention, size):
    """Also where the published truncation of x (W - 1) could fall to the left neighbour by rounding: not at these."""
    pixels = torch.arange(size[0] * size[1])
    positions = part("gather").pixel_positions(pixels, size, convention)
    if convention == "published":
        positions = positions + 1e-6  # truncation needs no more than the rounding of float32
    found = part("training.heat").pixels_at(positions, size, convention)
    assert torch.equal(found, pixels)


def test_positions_outside_count_for_the_border(part):
    positions = torch.tensor([[-3.0, 0.5], [4.0, 0.5], [0.5, -1.0], [0.5, 9.0]])
    found = part("training.heat").pixels_at(positions, (10, 20), "exact")
    assert [(int(i) // 20, int(i) % 20) for i in found] == [(5, 0), (5, 19), (0, 10), (9, 10)]


def test_labels_are_blurred_impulses(part):
    """Against scipy's Gaussian filter; repeats count once, and the largest value is 1."""
    settings = part("training.settings").Settings(convention="exact", blur=1.5)
    at = torch.tensor([[3, 4], [3, 4], [20, 11], [21, 11], [0, 0]])
    positions = (at + 0.5) / torch.tensor([30.0, 24.0])
    label = part("training.heat").blurred_impulses(positions, (24, 30), settings).numpy()
    impulses = np.zeros((24, 30))
    impulses[at[:, 1], at[:, 0]] = 1
    expected = ndimage.gaussian_filter(impulses, 1.5, mode="constant", truncate=16)
    assert np.allclose(label, expected / expected.max(), atol=1e-5)


def test_fits_lower_the_error_and_move_gaussians(part):
    """A label shows where the fit ended, not where it began."""
    from skimage import data

    image = torch.from_numpy(data.astronaut()[:48, :48].copy()).permute(2, 0, 1).float() / 255
    heat = part("training.heat")
    pixels = torch.arange(0, 48 * 48, 9)
    ends = []
    for steps in (0, 40):
        settings = part("training.settings").Settings(convention="exact", fit_steps=steps)
        torch.manual_seed(1)
        ends.append(heat.fitted_positions(image, pixels, settings))
    start = part("gather").pixel_positions(pixels, (48, 48), "exact")
    assert torch.equal(ends[0], start)
    assert float((ends[1] - start).norm(dim=1).median() * 48) > 0.3


def test_the_prior_follows_the_gradient(part):
    image = torch.zeros(3, 40, 40)
    image[:, :, 20:] = 1
    prior = part("training.heat").prior(image)
    assert float(prior[:, 18:22].min()) > 10 * float(prior[:, :10].max() + 1e-6)


def test_published_recipe(part):
    """The defaults are the released code's; the recipe of the published training uses them."""
    from pathlib import Path

    recipes = Path(part("training.settings").__file__).parent / "recipes"
    heat, attributes = (load_config(recipes / f"official_{phase}.yaml") for phase in ("heat", "attributes"))
    assert (heat.batch, heat.optimiser.lr, heat.optimiser.weight_decay) == (8, 5e-4, 0.05)
    assert (attributes.batch, attributes.optimiser.lr, attributes.optimiser.weight_decay) == (8, 1e-3, 0.05)
    for config in (heat, attributes):
        assert config.iterations == 500 * 100 and config.schedule.kind == "constant" and config.clip_norm is None
        assert config.size.side == (512, 512) and not config.augment.flip
    settings = part("training.settings").Settings()
    assert (settings.base, settings.counts, settings.fit_steps, settings.fit_rate) == (32, (10_000, 100_000), 200, 5e-3)
    assert (settings.sampling, settings.blur, settings.l1, settings.l2) == (("replacement",), 1.0, 1.0, 1.0)
    assert attributes.settings["k_dim"] == 64
    for config in (heat, attributes):
        blending = part("training.settings").Settings(**config.settings).blending()
        assert blending.gradient == "published" and blending.compat == {"tiles_3sigma"}
