"""The training under the trainer: its losses, labels, and that a resumed run is the same run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from splatbench.method import MethodError
from splatbench.render import rasterize_sum
from splatbench.training.config import load_config
from splatbench.training.errors import TrainingError
from splatbench.training.loop import train

TINY = {"widths": [8, 12], "blocks": [1, 1], "up_blocks": [1], "log_mse": 1.0, "mse": 0.0, "ssim": 0.0}


@pytest.fixture
def folder(folder):
    """And labels: pictures in grey."""
    (folder / "labels").mkdir()
    for path in (folder / "pictures").iterdir():
        Image.fromarray(np.uint8(np.array(Image.open(path)).mean(2))).save(folder / "labels" / path.name)
    return folder


@pytest.fixture
def run(folder):
    """run(out, iterations=4, resume=False, labels="labels", init=None, **settings) -> the exported weights."""

    def trained(out, iterations=4, resume=False, labels="labels", init=None, size=None, **given):
        values = {
            "method": "instant_gi",
            "phase": "network",
            "settings": {**TINY, **given},
            "data": {"train": "pictures", "validation": {"count": 1}},
            "size": size or {"policy": "crop", "side": [47, 50]},
            "batch": 2 if size is None else 1,
            "iterations": iterations,
            "optimiser": {"name": "muon", "lr": 5e-3},
            "schedule": {"kind": "constant"},
            "validate_every": 2,
            "checkpoint_every": 2,
            "log_every": 1,
        }
        if labels:
            values["data"]["labels"] = labels
        if init is not None:
            values["init"] = str(init)
        (folder / "phase.yaml").write_text(yaml.safe_dump(values))
        train(load_config(folder / "phase.yaml"), folder / out, resume, say=lambda line: None)
        return load_file(folder / out / "export" / "instant-gi-small.safetensors")

    return trained


def test_a_resumed_run_is_the_uninterrupted_one(run):
    """With labels dithered before the stop and the network's own probabilities after it, and random densities."""
    options = {"teacher": 3, "density": [0.5, 1.2]}
    whole = run("whole", **options)
    run("parts", iterations=2, **options)
    parts = run("parts", resume=True, **options)
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


@pytest.mark.slow
def test_it_learns(folder, run):
    """In 60 steps the picture and the position probability both get better, on a picture that was not learned from."""
    run("out", iterations=60)
    lines = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    scores = [line["validation"]["psnr"] for line in lines if "validation" in line]
    assert scores[-1] > scores[0] + 1
    position = [line["position"] for line in lines if "position" in line]
    assert np.mean(position[-5:]) < np.mean(position[:5])


def test_whole_pictures_one_by_one(run):
    assert run("out", iterations=2, size={"policy": "whole"})


def test_without_labels_there_is_nothing_to_learn(run):
    with pytest.raises(TrainingError, match=r"data\.labels"):
        run("out", labels=None)


def test_weights_of_another_network_are_refused(folder, run):
    run("one", iterations=1)
    with pytest.raises(TrainingError, match="widths"):
        run("two", init="one/export", widths=[8, 10])
    with pytest.raises(TrainingError, match="not a file of weights"):
        (folder / "bad.safetensors").write_bytes(b"nothing")
        run("three", init="bad.safetensors")


def test_wrong_settings_are_named(method):
    with pytest.raises(MethodError, match="did you mean 'network'"):
        method.training_task({}, "networks")
    with pytest.raises(MethodError, match="not all 0"):
        method.training_task({"mse": 0, "ssim": 0}, "network")
    with pytest.raises(MethodError, match="the lower one first"):
        method.training_task({"density": [2, 1]}, "network")


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_focal_loss(part, pairs):
    predicted, target = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    expected = np.mean([(1 - math.exp(-abs(t - p))) ** 2 * (t - p) ** 2 for p, t in pairs])
    assert float(part("training.losses").focal(predicted, target)) == pytest.approx(expected, abs=1e-12)


def test_weights_of_pixels(part):
    """1 / (P + 0.01) between 1 and 10, without a gradient."""
    p = torch.tensor([0.0, 0.04, 0.09, 0.49, 0.995, 1.0], requires_grad=True)
    weights = part("training.losses").pixel_weights(p)
    assert torch.allclose(weights, torch.tensor([10.0, 10.0, 10.0, 2.0, 1.0, 1.0]), atol=1e-6)
    assert not weights.requires_grad


def test_ssim_map_is_the_definition(part):
    """Of one pixel from the window's weights alone, in float64, at a corner too: zeros beyond the picture."""
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 20, 23))
    found = part("training.losses").ssim_map(torch.tensor(x)[None], torch.tensor(y)[None])[0]
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    for c, i, j in ((0, 10, 11), (1, 0, 0), (2, 19, 22), (0, 3, 21)):
        a, b = (np.pad(v[c], 5)[i : i + 11, j : j + 11] for v in (x, y))
        ma, mb = (window * a).sum(), (window * b).sum()
        va, vb, vab = ((window * u * v).sum() - m for u, v, m in ((a, a, ma**2), (b, b, mb**2), (a, b, ma * mb)))
        expected = (2 * ma * mb + 1e-4) * (2 * vab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
        assert float(found[c, i, j]) == pytest.approx(expected, abs=1e-10)


def test_short_scales(part):
    scales = torch.tensor([[0.5, 0.1], [2.0, 0.3]])
    assert float(part("training.losses").short_scales(scales, 0.5)) == pytest.approx((0.4 + 0.2) / 4)


def test_labels_of_blocks(part):
    """The largest of each block; the last row and column of blocks repeat the edge."""
    label = torch.rand(2, 7, 10)
    pooled = part("training.trainee").blocks_of(label, 3)
    assert pooled.shape == (2, 3, 4)
    for r in range(3):
        for c in range(4):
            block = label[:, 3 * r : 3 * r + 3, 3 * c : 3 * c + 3]
            assert torch.equal(pooled[:, r, c], block.amax((1, 2)))


def test_published_recipe(part):
    recipes = Path(part("training.settings").__file__).parent / "recipes"
    config = load_config(recipes / "official.yaml")
    assert (config.batch, config.iterations, config.optimiser.name, config.optimiser.lr) == (1, 240_000, "adam", 1e-3)
    assert config.optimiser.weight_decay == 0 and config.clip_norm is None and config.data.order == "listed"
    # Cosine over 100 epochs to 1e-5, stepped by epochs of 2400 pictures.
    for epoch in (0, 1, 50, 99):
        expected = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / 100))
        for step in (2400 * epoch, 2400 * epoch + 2399):
            assert config.learning_rate_factor(step) == pytest.approx(expected)
    defaults = part("training.settings").Settings()
    assert (defaults.mse, defaults.ssim, defaults.position, defaults.scale) == (0.7, 0.3, 1.0, 10.0)
    assert defaults.block == 3 and defaults.least_scale == 0.5 and defaults.sparse_weight


def test_the_published_network_takes_a_step(part, folder):
    """With tiny widths: probabilities of pixels, weights by them, both losses; everything gets a gradient."""
    values = {"network": "official", "widths": [8, 16], "blocks": [1, 1]}
    task = part("training.task").NetworkTask(part("training.settings").Settings(**values))
    torch.manual_seed(0)
    total, log = task.loss(torch.rand(1, 4, 48, 50), 0)
    total.backward()
    assert {"position", "scale", "mse", "ssim"} <= log.keys()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in task.model.parameters())


@pytest.mark.parametrize("gradient", ["exact", "published"])
def test_training_has_the_gradient_of_the_refinement(method, part, gradient):
    """The error of the released kernels is the same one in both; exact and published differ."""
    refine, decode = part("refine"), part("decode")
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(40, 2, generator=generator) * 1.8 - 0.9
    turns, colors = torch.rand(40, generator=generator) * 0.9 + 0.05, torch.rand(40, 3, generator=generator)
    scales = torch.rand(40, 2, generator=generator) * 3 + 1
    weights = torch.rand(30, 40, 3, generator=generator)

    def gradients(kind):
        config = method.make_config({"gradient": kind})
        activation = refine.Activation((30, 40), "floor", config)
        raw = refine.raw_parameters(means, scales, turns, colors)
        raw["scaling"].requires_grad_(True)
        covariance = activation.covariance(raw)
        picture = rasterize_sum(activation.means(raw["xyz"]), covariance, raw["features"], (30, 40))
        (picture * weights).sum().backward()
        settings = part("training.settings").Settings(**TINY, gradient=kind)
        leaf = scales.clone().requires_grad_(True)
        drawn = part("training.task").NetworkTask(settings).draw(decode.Predicted(means, leaf, turns, colors), (30, 40))
        (drawn[0].permute(1, 2, 0) * weights).sum().backward()
        return raw["scaling"].grad, leaf.grad

    refined, trained = gradients(gradient)
    assert torch.allclose(trained, refined, rtol=1e-3, atol=1e-3 * float(refined.abs().max()))
    other, _ = gradients("exact" if gradient == "published" else "published")
    assert float((other - refined).abs().max()) > 0.05 * float(refined.abs().max())
