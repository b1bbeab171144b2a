"""The encode stage: what is written, what is resumed, what becomes a row and what stops the job."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import time

import pytest
from PIL import Image

from splatbench.datasets import load_image
from splatbench.fitting import psnr
from splatbench.record import Provenance
from splatbench.runner.encode import Task, encode_shard, is_finished
from splatbench.runner.results import EncodeResult, Summary, read_result, write_result


@pytest.fixture
def encode(make_plan, reporter):
    """Encodes all shards of an experiment; returns the plan and the results by (entry, image)."""

    def run(values, **options):
        plan = make_plan(values)
        for shard in plan.ordered_shards():
            encode_shard(plan, shard, reporter, **options)
        results = {
            (run.entry.id, image): read_result(EncodeResult, plan.encoding(run, image))
            for run in plan.runs
            for image in plan.images[run.dataset]
        }
        return plan, results

    return run


def test_files_and_their_json(settings, encode, encodes, project):
    settings["entries"][0]["snapshots"] = [1, 2]
    plan, results = encode(settings)
    assert encodes() == ["32x24 n100 seed 1", "40x24 n100 seed 1", "48x24 n100 seed 1"]
    result = results["slow", "w40"]
    folder = plan.encoding(plan.runs[0], "w40").parent
    assert [file.file for file in result.files] == ["w40@1.png", "w40@2.png", "w40.png"]
    for file in result.files:
        data = (folder / file.file).read_bytes()
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert [file.iterations for file in result.files] == [1, 2, 4]
    assert (result.status, result.height, result.width, result.n_target) == ("ok", 24, 40, 100)
    assert len(result.encode_seconds_all) == 1 and result.peak_memory_mib > 10
    assert isinstance(result.provenance, Provenance) and result.provenance.cpu


def test_nothing_is_encoded_twice_and_the_marker_counts(settings, encode, encodes):
    encode(settings)
    plan, _ = encode(settings)
    assert len(encodes()) == 3
    summary = read_result(Summary, plan.encode_marker(plan.shard("slow/pictures-000")))
    assert (summary.done, summary.kept, summary.failed, summary.open) == (0, 3, 0, 0)


def test_resumes_at_the_first_image_without_a_verified_result(settings, encode, encodes):
    plan, _ = encode(settings)
    plan.encoding(plan.runs[0], "w40").unlink()
    (plan.encoding(plan.runs[0], "w48").parent / "w48.png").write_bytes(b"damaged")
    encode(settings)
    assert encodes()[3:] == ["40x24 n100 seed 1", "48x24 n100 seed 1"]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"layout": 1}', b'{"layout": 999, "image": "w40"}'])
def test_a_damaged_json_is_made_again(settings, encode, encodes, damage):
    plan, _ = encode(settings)
    plan.encoding(plan.runs[0], "w40").write_bytes(damage)
    encode(settings)
    assert encodes()[3:] == ["40x24 n100 seed 1"]


def test_a_changed_picture_is_encoded_again_a_touched_one_is_not(settings, encode, encodes, project, crop):
    encode(settings)
    os.utime(project / "pictures" / "w40.png", (1, 1))
    encode(settings)
    assert len(encodes()) == 3
    Image.fromarray(crop[:24, :40].copy()).save(project / "pictures" / "w40.png")
    encode(settings)
    assert encodes()[3:] == ["40x24 n100 seed 1"]


def test_new_snapshots_and_repeats_are_made_fewer_are_not(settings, encode, encodes):
    settings["entries"][0]["snapshots"] = [1]
    encode(settings)
    settings["entries"][0]["snapshots"] = []
    encode(settings)
    assert len(encodes()) == 3
    settings["entries"][0]["snapshots"] = [1, 2]
    encode(settings)
    assert len(encodes()) == 6
    _, results = encode(settings | {"timing_repeats": 3})
    assert len(encodes()) == 6 + 9
    result = results["slow", "w32"]
    assert len(result.encode_seconds_all) == 3
    assert result.final.seconds == sorted(result.encode_seconds_all)[1]


def test_time_is_that_of_encode_alone(settings, encode):
    settings["entries"][0] |= {"config": {"seconds": 0.2}, "snapshots": [1]}
    _, results = encode(settings)
    for result in results.values():
        assert 0.2 <= result.final.seconds < 0.3
        assert 0.05 <= result.files[0].seconds < 0.15


@pytest.mark.parametrize(
    ("fail", "status", "reason"),
    [
        ("raise", "failed", "KeyError: 'the answer'"),
        ("nan", "diverged", "loss became nan"),
        ("memory", "out_of_memory", "Unable to allocate 1.00 PiB"),
        ("torch_memory", "out_of_memory", "memory"),
        ("undecodable", "failed", "BitstreamError"),
    ],
)
def test_a_failing_image_is_a_row_and_the_others_go_on(settings, encode, fail, status, reason):
    width = 0 if fail == "undecodable" else 40
    settings["entries"][0]["config"] = {"fail": fail, "fail_width": width}
    plan, results = encode(settings)
    result = results["slow", "w40"]
    assert result.status == status and reason in result.reason
    assert not result.files and result.pixel_sha256 and result.provenance.version
    if width:
        assert results["slow", "w48"].status == "ok"
        summary = read_result(Summary, plan.encode_marker(plan.shard("slow/pictures-000")))
        assert (summary.done, summary.failed, summary.open) == (3, 1, 0)


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        ("bits", "a result cannot hold what was reported: nominal_bits: Input should be a finite number"),
        ("stage", "a result cannot hold what was reported: stage_seconds.a is inf"),
        ("curve", "TypeError: psnr must be a number, got 'thirty'"),
        ("point", "a result cannot hold what was reported: curve[0][0]: Input should be a valid integer"),
        ("note", "a result cannot hold what was reported: notes[0]: Input should be a valid string"),
        ("message", "ValueError: half \\udcff"),
        ("steps", "a result cannot hold what was reported: iterations is a number of 1329 bits"),
    ],
)
def test_what_no_row_can_hold_is_a_row(settings, encode, encodes, fail, reason):
    settings["entries"][0]["config"] = {"fail": fail, "fail_width": 40}
    plan, results = encode(settings)
    row = results["slow", "w40"]
    assert row.status == "failed" and row.reason.startswith(reason) and not row.files
    assert (results["slow", "w32"].status, results["slow", "w48"].status) == ("ok", "ok")
    summary = read_result(Summary, plan.encode_marker(plan.shard("slow/pictures-000")))
    assert (summary.done, summary.failed) == (3, 1)
    encode(settings)
    assert len(encodes()) == 3


def test_numbers_of_numpy_are_numbers(settings, encode):
    settings["entries"][0]["config"] = {"fail": "numbers", "fail_width": 40}
    row = encode(settings)[1]["slow", "w40"]
    assert row.status == "ok" and row.final.nominal_bits == 64
    ((step, _, values),) = row.curve
    assert (step, values) == (1, {"psnr": 30.5, "loss": 0.25})


def test_half_a_character_in_a_note_can_be_read(settings, encode):
    settings["entries"][0]["config"] = {"fail": "half", "fail_width": 40}
    row = encode(settings)[1]["slow", "w40"]
    assert (row.status, row.notes) == ("ok", ["half \\udcff"])


def test_infinite_parameters_are_no_result(settings, encode):
    entry = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    _, results = encode(settings | {"entries": [entry | {"config": {"infinite": True}}]})
    for result in results.values():
        assert result.status == "diverged" and "Gaussians2D.scales" in result.reason


def test_failed_rows_are_retried_only_when_asked(settings, encode, encodes):
    settings["entries"][0]["config"] = {"fail": "raise", "fail_width": 40}
    encode(settings)
    encode(settings)
    assert len(encodes()) == 3
    encode(settings, retry_before=time.time() + 1)
    assert encodes()[3:] == ["40x24 n100 seed 1"]


def test_the_traceback_goes_to_the_reader_of_the_log(settings, make_plan, project):
    from splatbench.runner.progress import Reporter

    settings["entries"][0]["config"] = {"fail": "raise", "fail_width": 40}
    plan = make_plan(settings)
    log = Reporter("encode", project / "logs" / "job.log", stream=io.StringIO())
    encode_shard(plan, plan.shard("slow/pictures-000"), log)
    log.close()
    text = (project / "logs" / "job.log").read_text()
    assert "Traceback" in text and "the answer" in text and "w48 slow n100" in text


def test_broken_pictures_are_rows(settings, encode, encodes, project):
    whole = (project / "pictures" / "w40.png").read_bytes()
    (project / "pictures" / "w40.png").write_bytes(whole[: len(whole) // 2])
    (project / "pictures" / "w48.png").write_text("not a picture")
    _, results = encode(settings)
    assert results["slow", "w32"].status == "ok"
    assert results["slow", "w40"].status == results["slow", "w48"].status == "failed"
    for name in ("w40", "w48"):
        assert f"{name}.png" in results["slow", name].reason
    encode(settings)
    assert len(encodes()) == 1
    (project / "pictures" / "w40.png").write_bytes(whole)
    _, results = encode(settings)
    assert results["slow", "w40"].status == "ok"
    assert len(encodes()) == 2


@pytest.mark.parametrize(("size", "status"), [((1, 1), "failed"), ((2000, 3), "ok"), ((3, 2000), "ok")])
def test_extreme_sizes_and_more_gaussians_than_pixels(settings, encode, project, size, status):
    for path in (project / "pictures").iterdir():
        path.unlink()
    Image.new("RGB", size, (10, 200, 30)).save(project / "pictures" / "odd.png")
    _, results = encode(settings)
    result = results["slow", "odd"]
    assert (result.status, result.width, result.height) == (status, *size)
    if status == "failed":
        assert result.reason == "100 Gaussians are more than the image has pixels (1x1 = 1); ask for fewer"


def test_missing_data_is_not_run_with_the_command_and_made_later(settings, encode, encodes, project, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_DATA", "")
    settings["datasets"] = [{"name": "kodak", "images": ["kodim01"]}]
    plan, results = encode(settings)
    result = results["slow", "kodim01"]
    assert result.status == "not_run"
    assert "splatbench data fetch kodak" in result.reason
    assert not is_finished(plan, Task(plan.runs[0], "kodim01", plan.encoding(plan.runs[0], "kodim01")))
    summary = read_result(Summary, plan.encode_marker(plan.shard("slow/kodak-000")))
    assert (summary.failed, summary.open) == (1, 1)


def test_a_missing_device_is_not_run(settings, encode, monkeypatch):
    from splatbench.method import get_method

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(get_method("slow"), "devices", ("cuda",))
    _, results = encode(settings)
    assert {r.status for r in results.values()} == {"not_run"}
    assert "CUDA" in results["slow", "w32"].reason


def test_matched_counts_are_those_of_the_target_image_by_image(settings, encode):
    own = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    settings["entries"] = [settings["entries"][0] | {"budgets": [{"matched_to": "own"}]}, own]
    _, results = encode(settings)
    for name, n in (("w32", 7), ("w40", 9), ("w48", 11)):
        assert results["own", name].final.n_actual == n
        assert (results["slow", name].status, results["slow", name].n_target) == ("ok", n)


def test_matched_to_something_that_failed_is_not_run(settings, encode):
    own = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    own["config"] = {"infinite": True}
    settings["entries"] = [settings["entries"][0] | {"budgets": [{"matched_to": "own"}]}, own]
    _, results = encode(settings)
    assert results["slow", "w32"].status == "not_run"
    assert "matched to own" in results["slow", "w32"].reason


def test_a_full_disk_stops_the_job_and_loses_nothing(settings, make_plan, reporter, encodes, monkeypatch):
    plan = make_plan(settings)
    shard = plan.shard("slow/pictures-000")
    original, left = os.replace, [3]  # the probe, then the first image's file and JSON

    def replace(source, target):
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match=r"cannot write .*w40\.png: No space left on device"):
        encode_shard(plan, shard, reporter)
    left[0] = 10**9
    assert encode_shard(plan, shard, reporter).kept == 1
    assert encodes() == ["32x24 n100 seed 1", *["40x24 n100 seed 1"] * 2, "48x24 n100 seed 1"]
    assert not list(plan.root.rglob("*.part"))


def test_a_folder_that_cannot_be_written_is_found_before_any_work(settings, make_plan, reporter, encodes, monkeypatch):
    import tempfile

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    plan = make_plan(settings)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(OSError, match=r"results/tiny.*Read-only file system"):
        encode_shard(plan, plan.shard("slow/pictures-000"), reporter)
    assert encodes() == []


# -- warm starts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def warm(settings):
    """An experiment whose second entry begins from the Gaussians of the first."""
    own = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    fit = {"id": "fit", "title": "", "family": "", "method": "gaussianimage"}
    fit["budgets"] = [{"matched_to": "own", "warm": True, "iterations": 3}, {"matched_to": "own", "iterations": 3}]
    return settings | {"entries": [fit | {"snapshots": [1]}, own]}


def results_of(plan, entry, image):
    return [read_result(EncodeResult, plan.encoding(run, image)) for run in plan.runs if run.entry.id == entry]


def test_a_warm_fit_begins_from_the_file_and_its_time(warm, encode):
    plan, _ = encode(warm)
    for name, n in (("w32", 7), ("w40", 9), ("w48", 11)):
        (target,) = results_of(plan, "own", name)
        first, cold = results_of(plan, "fit", name)
        assert first.status == "ok", first.reason
        assert (first.n_target, first.final.n_actual, first.final.iterations) == (n, n, 3)
        assert first.start.entry == "own" and first.start.file_sha256 == target.final.sha256
        before = first.start.seconds
        assert before == target.final.seconds == first.stage_seconds["start"]
        own_stages = sum(seconds for stage, seconds in first.stage_seconds.items() if stage != "start")
        assert before + own_stages <= first.final.seconds < before + own_stages + 0.1
        assert before < first.curve[0][1] < first.files[0].seconds <= first.final.seconds
        assert first.busy_seconds == pytest.approx(first.final.seconds - before)
        assert cold.start is None and "start" not in cold.stage_seconds
        assert first.files[0].sha256 != cold.files[0].sha256
        # the start is black: so is the first picture
        pixels = load_image(plan.datasets["pictures"].path(name)).pixels
        assert first.curve[0][2]["psnr"] == pytest.approx(psnr(float(((pixels / 255) ** 2).mean())), abs=1e-3)


def test_the_time_of_the_start_counts_for_the_limit(warm, encode, monkeypatch):
    from splatbench.method import get_method

    original = get_method("selfcount").encode
    monkeypatch.setattr(get_method("selfcount"), "encode", lambda *a, **k: (time.sleep(0.3), original(*a, **k))[1])
    warm["entries"][0]["budgets"] = [{"matched_to": "own", "warm": True, "iterations": 50000, "seconds": 0.2}]
    _, results = encode(warm)
    assert results["fit", "w32"].final.iterations == 1 and results["fit", "w32"].final.seconds > 0.3


def test_a_warm_fit_is_made_again_when_its_start_has_changed(warm, encode, encodes):
    plan, results = encode(warm)
    path = plan.encoding(plan.runs[0], "w40")
    assert is_finished(plan, Task(plan.runs[0], "w40", path))
    target = plan.encoding(plan.matched_run(plan.runs[0]), "w40")
    changed = results["own", "w40"].model_copy(deep=True)
    changed.final.sha256 = "0" * 64
    write_result(target, changed)
    assert not is_finished(plan, Task(plan.runs[0], "w40", path))
    assert is_finished(plan, Task(plan.runs[1], "w40", plan.encoding(plan.runs[1], "w40")))  # the count is the same
    _, results = encode(warm)  # the damaged target is made again before
    assert all(r.status == "ok" for r in results.values())
    assert is_finished(plan, Task(plan.runs[0], "w40", path))


def test_a_start_that_is_damaged_or_missing_is_not_run(warm, make_plan, reporter):
    plan = make_plan(warm)
    for shard in plan.ordered_shards():
        encode_shard(plan, shard, reporter)
        if shard.group == "own":
            (plan.encoding(plan.matched_run(plan.runs[0]), "w40").parent / "w40.s2d").write_bytes(b"damaged")
            plan.encoding(plan.matched_run(plan.runs[0]), "w48").unlink()
    first = {name: results_of(plan, "fit", name)[0] for name in ("w32", "w40", "w48")}
    assert {name: result.status for name, result in first.items()} == {"w32": "ok", "w40": "not_run", "w48": "not_run"}
    assert "damaged; run the experiment again" in first["w40"].reason
    assert "not encoded yet" in first["w48"].reason


def test_layers_are_no_start(warm, encode):
    warm["entries"][1] |= {"method": "lig", "budgets": [{"gaussians": 40, "iterations": 2}]}
    warm["entries"][1]["config"] = {"levels": 2}
    plan, results = encode(warm)
    assert results["own", "w32"].status == "ok", results["own", "w32"].reason
    first = results_of(plan, "fit", "w32")[0]
    assert first.status == "failed" and "not drawn from one set of Gaussians" in first.reason


def test_collected_records_name_the_start(warm, encode):
    from splatbench.runner.collect import collect

    plan, _ = encode(warm)
    records = [r for r in collect(plan) if r.entry == "fit"]
    starts = {(r.budget_slug, r.start is not None) for r in records}
    assert starts == {("match-own-warm-i3", True), ("match-own-i3", False)}
    assert all(r.stage_seconds["start"] == r.start.seconds for r in records if r.start and r.snapshot == "final")
