"""What a path and a job's marker depend on, and what they must not depend on."""

from __future__ import annotations

import copy

import pytest
from PIL import Image

from splatbench.experiment import ExperimentError
from splatbench.runner.plan import Plan, safe_name


def _paths(plan: Plan) -> set[str]:
    return {str(plan.encoding(run, image)) for run in plan.runs for image in plan.images[run.dataset]}


def _encode_markers(plan: Plan) -> list[str]:
    return [str(plan.encode_marker(shard)) for shard in plan.shards.values()]


def _evaluate_markers(plan: Plan) -> list[str]:
    return [str(plan.evaluate_marker(shard)) for shard in plan.shards.values()]


def test_layout(settings, make_plan):
    plan = make_plan(settings)
    (run,) = plan.runs
    path = plan.encoding(run, "w32")
    assert path.parts[:3] == ("results", "tiny", "encodings")
    assert path.parts[3] == f"slow-{run.config_hash}" and len(run.config_hash) == 8
    assert path.parts[4:] == ("pictures", "n100-s1", "w32.json")
    assert plan.evaluation(run, "w32").parts[3:] == path.parts[3:]


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Another"},
        {"metrics": ["psnr", "ssim"]},
        {"report": {"title": "x"}},
        {"controls": True},
    ],
)
def test_what_is_only_shown_or_measured_changes_no_encoding(settings, make_plan, change):
    before, after = make_plan(settings), make_plan(settings | change)
    assert _paths(before) <= _paths(after)
    assert set(_encode_markers(before)) <= set(_encode_markers(after))


def test_entry_titles_change_no_encoding_but_metrics_change_the_evaluation(settings, make_plan):
    before = make_plan(settings)
    changed = copy.deepcopy(settings)
    changed["entries"][0] |= {"title": "T", "family": "F", "column": "corrected"}
    after = make_plan(changed)
    assert (_paths(before), _evaluate_markers(before)) == (_paths(after), _evaluate_markers(after))
    after = make_plan(settings | {"metrics": ["psnr", "ssim"]})
    assert _encode_markers(before) == _encode_markers(after)
    assert not set(_evaluate_markers(before)) & set(_evaluate_markers(after))


def test_weights_that_arrive_make_only_evaluation_run_again(settings, make_plan, project, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(project / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    settings = settings | {"metrics": ["lpips_squeeze"]}
    before = make_plan(settings)
    markers = _encode_markers(before), _evaluate_markers(before)
    from splatbench.metrics.weights import get_weights

    wanted = get_weights("lpips_squeeze").files[0]
    (project / "weights").mkdir()
    with open(project / "weights" / wanted.file, "wb") as file:
        file.truncate(wanted.bytes)
    after = make_plan(settings)
    assert _encode_markers(after) == markers[0]
    assert _evaluate_markers(after) != markers[1]


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"seconds": 0.25}},
        {"method": "codecs", "budgets": [{"quality": 5}]},
        {"budgets": [{"gaussians": 101}]},
    ],
)
def test_what_changes_the_result_changes_the_path(settings, make_plan, change):
    changed = copy.deepcopy(settings)
    changed["entries"][0] |= change
    assert not _paths(make_plan(settings)) & _paths(make_plan(changed))


def test_defaults_written_out_are_the_same_result(settings, make_plan):
    changed = copy.deepcopy(settings)
    changed["entries"][0]["config"] = {"seconds": 0.0}
    assert _paths(make_plan(settings)) == _paths(make_plan(changed))


def test_seeds_are_results_of_their_own(settings, make_plan):
    one, two = _paths(make_plan(settings)), _paths(make_plan(settings | {"seeds": [1, 2]}))
    assert one < two and len(two) == 2 * len(one)


def test_version_of_a_method_changes_the_path(settings, make_plan, monkeypatch):
    from splatbench.method import get_method

    before = _paths(make_plan(settings))
    monkeypatch.setattr(get_method("slow"), "version", 2)
    assert not before & _paths(make_plan(settings))


def test_shards_cut_the_images_and_cover_all(settings, make_plan):
    plan = make_plan(settings | {"shard_size": 2})
    assert [shard.name for shard in plan.shards.values()] == ["slow/pictures-000", "slow/pictures-001"]
    assert [shard.images for shard in plan.shards.values()] == [("w32", "w40"), ("w48",)]


def test_a_changed_picture_of_a_folder_makes_a_new_job(settings, make_plan, project, crop):
    before = make_plan(settings)
    Image.fromarray(crop).save(project / "pictures" / "w40.png")
    assert _encode_markers(before) != _encode_markers(make_plan(settings))


def test_pictures_with_one_stem_keep_their_endings(settings, make_plan, project):
    Image.open(project / "pictures" / "w32.png").save(project / "pictures" / "w32.bmp")
    assert make_plan(settings).images["pictures"] == ("w32.bmp", "w32.png", "w40", "w48")


def test_choosing_images(settings, make_plan):
    chosen = [{"folder": "pictures", "images": ["w48", "w32.png"]}]
    assert make_plan(settings | {"datasets": chosen}).images["pictures"] == ("w32", "w48")
    chosen = [{"folder": "pictures", "images": {"first": 2}}]
    assert make_plan(settings | {"datasets": chosen}).images["pictures"] == ("w32", "w40")


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        (["kodax"], ["datasets[0]", "kodax", "did you mean 'kodak'"]),
        ([{"folder": "nowhere"}], ["datasets[0]", "nowhere"]),
        ([{"folder": "pictures", "images": ["w32.pgn"]}], ["datasets[0]", "w32.pgn", "did you mean"]),
        ([{"folder": "pictures"}, {"folder": "pictures"}], ["datasets[1]", "twice"]),
    ],
)
def test_unknown_data_is_named_with_the_nearest(settings, make_plan, project, datasets, words):
    with pytest.raises(ExperimentError) as caught:
        make_plan(settings | {"datasets": datasets})
    for word in ["tiny.yaml", *words]:
        assert word in str(caught.value)


def test_matched_entries_come_after_their_targets(settings, make_plan):
    own = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    matched = settings["entries"][0] | {"budgets": [{"matched_to": "own"}]}
    plan = make_plan(settings | {"entries": [matched, own], "shard_size": 2})
    names = [shard.name for shard in plan.ordered_shards()]
    for number in ("000", "001"):
        assert names.index(f"own/pictures-{number}") < names.index(f"slow/pictures-{number}")
    assert plan.shard("slow/pictures-000").needs == ("own",)
    assert plan.matched_run(next(run for run in plan.runs if run.entry.id == "slow")).entry.id == "own"


def test_another_target_is_another_result(settings, make_plan):
    own = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    matched = settings["entries"][0] | {"budgets": [{"matched_to": "own"}]}
    plans = [
        make_plan(settings | {"entries": [matched, own | {"config": {"pixels": pixels}}]}) for pixels in (100, 200)
    ]
    assert not _paths(plans[0]) & _paths(plans[1])
    assert not set(_encode_markers(plans[0])) & set(_encode_markers(plans[1]))


def test_names_in_paths_are_safe_and_distinct():
    names = ["a b", "a/b", "a@200", "a%40200", "{a}", "ä", ".."]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert not any(set("/@{} ") & set(name) for name in safe)
