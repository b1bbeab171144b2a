"""Experiment files: what is valid, and what a person reads when one is not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from splatbench.experiment import JPEG_QUALITIES, Experiment, ExperimentError, load_experiment

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_experiments_are_valid_and_named_like_their_files(path):
    assert load_experiment(path).name == path.stem


def test_kodak_experiment_is_the_one_of_the_table():
    experiment = load_experiment(CONFIG / "kodak_gaussianimage.yaml")
    assert {(e.config["variant"], e.config["preset"]) for e in experiment.entries} == {
        (variant, preset) for variant in ("cholesky", "rs") for preset in ("published", "corrected")
    }
    for entry in experiment.entries:
        assert [(b.gaussians, b.iterations) for b in entry.budgets] == [(n, 800) for n in (28000, 37000, 52000)]


def _change(settings, path, value):
    changed = copy.deepcopy(settings)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["metrix"], [], ["metrix: unknown key 'metrix'", "did you mean 'metrics'"]),
        (["entries", 0, "budget"], [], ["entries[0].budget: unknown key", "did you mean 'budgets'"]),
        (["entries", 0, "method"], "gausianimage", ["entries[0]: unknown method", "did you mean 'gaussianimage'"]),
        (["entries", 0, "config"], {"secnds": 1}, ["entries[0]", "unknown setting 'secnds'", "'seconds'"]),
        (["entries", 0, "config"], {"seconds": "long"}, ["entries[0]", "seconds"]),
        (["entries", 0, "budgets"], [{"gausians": 9}], ["entries[0].budgets[0]", "did you mean 'gaussians'"]),
        (["entries", 0, "budgets"], [{"gaussians": 9, "bpp": 1}], ["exactly one of", "gaussians", "bpp"]),
        (["entries", 0, "budgets"], [{"gaussians": -9}], ["gaussians must be positive"]),
        (["entries", 0, "budgets"], [{"native": True}], ["'slow'", "'native'", "gaussians, compression_ratio"]),
        (["entries", 0, "budgets"], [{"gaussians": 9}] * 2, ["n9 is listed twice"]),
        (["entries", 0, "budgets"], [], ["entries[0].budgets"]),
        (["entries", 0, "column"], "publishd", ["entries[0].column", "published"]),
        (["entries", 0, "id"], "../up", ["entries[0].id"]),
        (["metrics"], ["psnrr"], ["metrics", "did you mean 'psnr'"]),
        (["datasets"], [{"nam": "kodak"}], ["datasets[0].nam", "did you mean 'name'"]),
        (["datasets"], [{"name": "kodak", "images": {"frist": 2}}], ["datasets[0].images", "frist"]),
        (["datasets"], [{"name": "kodak", "images": "some"}], ["datasets[0].images", "all"]),
        (["datasets"], [{"name": "kodak", "folder": "x"}], ["datasets[0]", "either"]),
        (["seeds"], [1, 1], ["seeds", "twice"]),
        (["report"], {"tabels": []}, ["report", "tabels"]),
        (["entries", 0, "budgets"], [{"matched_to": "slwo"}], ["unknown entry 'slwo'", "did you mean 'slow'"]),
        (
            ["entries", 0, "budgets"],
            [{"matched_to": "x", "warm": True}],
            ["'slow' cannot begin from another", "(warm)"],
        ),
        (["entries", 0, "budgets"], [{"gaussians": 9, "warm": True}], ["name it in matched_to"]),
        (["entries", 0, "budgets"], [{"matched_to": "slow"}], ["matched to itself"]),
        (["entries", 0, "budgets"], {"gaussians": [5, 5]}, ["entries[0]: budget n5 is listed twice"]),
        (["entries", 0, "budgets"], {"gaussians": []}, ["entries[0].budgets: "]),
        (
            ["entries", 0, "budgets"],
            {"gaussians": [5, 6], "iterations": [1, 2]},
            ["lists for gaussians and iterations"],
        ),
    ],
)
def test_mistakes_are_named_with_file_place_and_nearest(settings, write_experiment, path, value, words):
    file = write_experiment(_change(settings, path, value))
    with pytest.raises(ExperimentError) as caught:
        load_experiment(file)
    message = str(caught.value)
    for word in [str(file), *words]:
        assert word in message, message


def test_missing_key_file_and_yaml(settings, write_experiment, project):
    with pytest.raises(ExperimentError, match="entries: this key is missing"):
        load_experiment(write_experiment({k: v for k, v in settings.items() if k != "entries"}))
    with pytest.raises(ExperimentError, match=r"cannot read .*none\.yaml"):
        load_experiment(project / "none.yaml")
    (project / "bad.yaml").write_text("name: [")
    with pytest.raises(ExperimentError, match=r"bad\.yaml is not valid YAML"):
        load_experiment(project / "bad.yaml")
    (project / "twice.yaml").write_text("name: a\nname: b\n")
    with pytest.raises(ExperimentError, match="'name' is given twice"):
        load_experiment(project / "twice.yaml")


def test_longer_circle_of_matches_is_refused(settings, write_experiment):
    first = settings["entries"][0]
    settings["entries"] = [
        first | {"id": name, "budgets": [{"matched_to": target}]}
        for name, target in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    with pytest.raises(ExperimentError, match="matched to itself, directly or through others"):
        load_experiment(write_experiment(settings))


def test_target_of_a_match_has_one_budget(settings, write_experiment):
    first = settings["entries"][0]
    settings["entries"] = [
        first | {"budgets": [{"gaussians": 8}, {"gaussians": 9}]},
        first | {"id": "b", "budgets": [{"matched_to": "slow"}]},
    ]
    with pytest.raises(ExperimentError, match="has 2 budgets"):
        load_experiment(write_experiment(settings))


def test_controls_stand_beside_the_entries_at_the_first_count(settings, project):
    experiment = Experiment.model_validate(settings | {"controls": True})
    controls = {e.id: e for e in experiment.all_entries if e.column == "control"}
    assert set(controls) == {"identity", "jpeg", "downsample", "random_gaussians"}
    assert [b.quality for b in controls["jpeg"].budgets] == list(JPEG_QUALITIES)
    assert controls["random_gaussians"].budgets[0].gaussians == 100


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"gaussians": 5}, [{"gaussians": 5}]),
        ({"compression_ratio": [20, 50], "iterations": 9}, [{"compression_ratio": 20, "iterations": 9},
                                                            {"compression_ratio": 50, "iterations": 9}]),
        ({"gaussians": 5, "iterations": [1, 2]}, [{"gaussians": 5, "iterations": 1},
                                                  {"gaussians": 5, "iterations": 2}]),
    ],
)  # fmt: skip
def test_short_forms_of_budgets(settings, project, short, long):
    made = [
        Experiment.model_validate(_change(settings, ["entries", 0, "budgets"], form)).entries[0].budgets
        for form in (short, long)
    ]
    assert made[0] == made[1] and len(made[0]) == len(long)


def test_sweeps_of_codecs_and_rates(settings, project):
    entries = [
        {"id": "webp", "title": "", "family": "", "column": "control", "method": "codecs",
         "config": {"codec": "webp"}, "budgets": {"quality": [0, 50, 100]}},
        {"id": "gi", "title": "", "family": "", "method": "gaussianimage", "budgets": {"bpp": 0.5}},
    ]  # fmt: skip
    experiment = Experiment.model_validate(settings | {"controls": True, "entries": entries})
    assert [b.slug for b in experiment.entry("webp").budgets] == ["q0", "q50", "q100"]
    assert experiment.entry("gi").budgets[0].bpp == 0.5
    assert experiment.entry("downsample").budgets[0].matched_to == "gi", "a codec has no count to lend"


def test_controls_follow_a_method_that_counts_itself(settings, project):
    entry = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    experiment = Experiment.model_validate(settings | {"controls": True, "entries": [entry]})
    assert experiment.entry("random_gaussians").budgets[0].matched_to == "own"
