"""The training files: they load, name groups that exist, and the published ones hold the published values."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatbench.method import build_dataclass, get_method
from splatbench.training.config import load_config

RECIPES = Path(__file__).resolve().parents[3] / "methods" / "air" / "training" / "recipes"
#: Phase: lr, of the backbone, of the quantiser, of the patch embedding; steps; largest area.
PUBLISHED = {
    "pod": (1e-4, 1e-5, None, None, 120_000, 640_000),
    "finetune": (5e-5, 5e-6, None, None, 100_000, 640_000),
    "quantise": (1.25e-5, 1.25e-6, 1e-4, None, 200_000, 640_000),
    "adapt": (5e-6, 5e-7, None, 1e-4, 100_000, 640_000),
    "refine": (2.5e-6, 2.5e-7, None, None, 1_500, 810_000),
}


@pytest.fixture
def settings(part):
    def read(config):
        return build_dataclass(part("training.settings").Settings, config.settings, where="recipe")

    return read


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_names_settings_and_groups_that_exist(path, part, settings, tiny_shape, monkeypatch):
    airnet = part("network.airnet").AirNet
    monkeypatch.setattr(
        part("training.trainee"), "AirNet", lambda p, s, q, checkpointing: airnet(p, s, q, tiny_shape, checkpointing)
    )
    config = load_config(path)
    settings(config)
    task = get_method("air").training_task({**config.settings, "dinov3": ""}, config.phase)
    assert set(config.optimiser.group_lr) <= {group["name"] for group in task.parameter_groups()}


@pytest.mark.parametrize("phase", PUBLISHED)
def test_the_published_values(phase, settings):
    config = load_config(RECIPES / f"air_{phase}.yaml")
    lr, backbone, quantiser, embedding, steps, area = PUBLISHED[phase]
    rates = config.optimiser.group_lr
    assert (config.optimiser.lr, rates["backbone"]) == (lr, backbone)
    assert (rates.get("quantiser"), rates.get("patch_embedding")) == (quantiser, embedding)
    assert (config.optimiser.betas, config.optimiser.weight_decay) == ((0.9, 0.999), 0.01)
    assert config.iterations == steps and config.clip_norm is None and config.ema is None
    assert (config.size.area, config.size.aspect) == ((160_000, area), (0.5, 2.0))
    assert config.augment.flip == 0.5 and config.augment.colour.p == 1.0
    assert config.augment.noise.p == config.augment.jpeg.p == config.augment.blur.p == 0.5
    own = settings(config)
    assert own.network == "official" and own.drawing == own.gradient == "published" and own.when_none == "all"
    assert (own.l1, own.ssim, own.log_mse, own.penalty) == (0.7, 0.3, 0.0, 0.01)
    if phase == "pod":
        assert (own.pod_steps, own.pod_lr, own.pod_scale) == ((20, 40, 60, 80), 1e-3, 100)
        assert own.milestones == (0, 20_000, 40_000, 60_000)
        epochs = [config.learning_rate_factor(10_000 * epoch) for epoch in range(12)]
        assert epochs == [0.5, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert own.patch == (14 if phase == "adapt" else 7)
