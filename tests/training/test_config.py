"""The training file: defaults, messages, what may change between a run and its continuation."""

from __future__ import annotations

import pytest

from splatbench.training.config import differences, load_config
from splatbench.training.errors import TrainingError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iteration": 5}, "unknown key 'iteration'; did you mean 'iterations'"),
        ({"size": {"policy": "crop", "sides": [8, 8]}}, "size.crop.sides: unknown key 'sides'; did you mean 'side'"),
        ({"size": {"policy": "stretch", "aspects": [1, 2]}}, "did you mean 'aspect'"),
        ({"schedule": {"kind": "steps", "warm": 1}}, "schedule.steps.warm: unknown key 'warm'"),
        ({"size": {"policy": "crop", "side": [17, 20], "multiple": 8}}, "holds no multiple of 8"),
        ({"size": {"policy": "crop", "side": [32, 16]}}, "lower end first"),
        ({"size": {"policy": "crop", "side": [8, 8], "scales": [0.5, 2]}}, r"scales are in \(0, 1\]"),
        ({"augment": {"transpose": 0.5}, "size": {"policy": "stretch"}}, "needs square crops"),
        ({"augment": {"flip": 1.5}}, "augment.flip: .*less than or equal to 1"),
        ({"augment": {"jpeg": {"quality": [50, 101]}}}, "qualities are 1 to 100"),
        ({"augment": {"colour": {"hue": [-0.6, 0]}}}, "hue is within half a turn"),
        ({"augment": {"noise": {"quanta": [0, 10]}}}, "quanta are above 0"),
        ({"augment": {"blur": {"scale": [0.5, 1.5]}}}, r"scales are in \(0, 1\]"),
        ({"data": {"train": "x", "validation": {}}}, "give `share` or `count`"),
        ({"data": {"train": "x", "validation": {"source": "y", "share": 0.5}}}, "`share` splits the training source"),
        ({"optimiser": {"betas": [0.9, 1.0]}}, "below 1"),
        ({"optimiser": {"group_lr": {"a": -1}}}, "at least 0"),
        ({"precision": "64-true"}, "precision: "),
        ({"batch": 0}, "batch: "),
    ],
)
def test_faults_are_named(configure, settings, change, message):
    with pytest.raises(TrainingError, match=message) as caught:
        configure(settings | change)
    assert "train.yaml" in str(caught.value)


def test_a_key_given_twice_is_an_error(folder):
    (folder / "t.yaml").write_text("method: learner\nmethod: other\n")
    with pytest.raises(TrainingError, match="'method' is given twice"):
        load_config(folder / "t.yaml")
    with pytest.raises(TrainingError, match=r"cannot read the training file .*none\.yaml"):
        load_config(folder / "none.yaml")


def test_changes_lead_into_sections(folder, configure, settings):
    configure(settings)
    config = load_config(
        folder / "train.yaml", ["optimiser.group_lr.a=1e-5", "iterations=3", "data.cache_mb=7", "ema=0.5"]
    )
    assert config.optimiser.group_lr == {"a": 1e-5}
    assert config.optimiser.lr == 0.002  # the rest of the section stays
    assert (config.iterations, config.data.cache_mb, config.ema) == (3, 7, 0.5)
    for change, message in [("iterations", "KEY=VALUE"), ("batch.x=1", "not a section"), ("ema=[", "not YAML")]:
        with pytest.raises(TrainingError, match=message):
            load_config(folder / "train.yaml", [change])


def test_the_short_form_is_what_air_does(configure, settings):
    rules = configure(settings | {"augment": "air"}).augment
    assert (rules.flip, rules.flip_vertical, rules.transpose) == (0.5, 0, 0)
    assert rules.colour is not None and rules.colour.p == 1 and rules.colour.hue == (-0.1, 0.1)
    assert rules.noise is not None and (rules.noise.p, rules.noise.quanta) == (0.5, (100, 10000))
    assert rules.jpeg is not None and (rules.jpeg.p, rules.jpeg.quality) == (0.5, (20, 99))
    assert rules.blur is not None and (rules.blur.p, rules.blur.scale) == (0.5, (0.25, 1))


def test_plain_values_give_the_same_settings(configure, settings):
    config = configure(settings | {"augment": "air", "init": "somewhere/export"})
    assert configure(config.plain()) == config


def test_what_decides_the_result_is_compared(configure, settings):
    old = configure(settings).plain()
    free = {"log_every": 3, "checkpoint_every": 9, "keep_checkpoints": 5, "tensorboard": True, "iterations": 99}
    assert differences(old, configure(settings | free)) == []
    assert differences(old, configure(settings | {"batch": 3})) == ["batch: 2 -> 3"]
    changed = configure(settings | {"optimiser": {"lr": 0.1}, "augment": {"flip": 0.5, "jpeg": {}}})
    assert differences(old, changed) == [
        "augment.jpeg.p: None -> 0.5",
        "augment.jpeg.quality: None -> [20, 99]",
        "optimiser.lr: 0.002 -> 0.1",
    ]


def test_the_length_decides_where_the_schedule_depends_on_it(configure, settings):
    cosine = settings | {"schedule": {"kind": "cosine"}}
    changed = configure(cosine | {"iterations": 9})
    assert differences(configure(cosine).plain(), changed) == ["iterations: 8 -> 9"]


def test_settings_of_other_versions(configure, settings):
    config = configure(settings)
    older = config.plain()
    del older["ema"], older["optimiser"]["momentum"]
    assert differences(older, config) == []
    with pytest.raises(TrainingError, match="stored by another version: optimizer: unknown key"):
        differences(older | {"optimizer": {}}, config)
