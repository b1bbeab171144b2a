"""Merging folders of results: whole encodings, the rules of records, nothing done again and nothing replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.record import WarmStart, read_records
from splatbench.results import folders
from splatbench.results.folders import merge_folders
from splatbench.results.rules import MergeError
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.locks import Busy, lock_run
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter
from splatbench.runner.results import EncodeResult, EvaluateResult, read_result, write_document, write_result
from tests.workflow.conftest import Project

EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


class Machine:
    """Runs parts of one tiny experiment into a results folder of its own."""

    def __init__(self, project, name):
        self.project, self.results = project, project.folder / name
        self.root = self.results / "tiny"

    @property
    def plan(self):
        return Plan.load(self.project.file, self.results)

    def encode(self, *shards):
        plan = self.plan
        for name in shards or plan.shards:
            encode_shard(plan, plan.shard(name), Reporter("test"))
        return self

    def evaluate(self, *shards):
        plan = self.plan
        for name in shards or plan.shards:
            evaluate_shard(plan, plan.shard(name), Reporter("test"))
        return self

    def encodings(self):
        return sorted((self.root / "encodings").glob("*/*/*/*.json"))

    def to_other_files(self):
        """Changes all files, as if another version of a library had written them."""
        for path in self.encodings():
            result = read_result(EncodeResult, path)
            for file in result.files:
                data = (path.parent / file.file).read_bytes() + b"other"
                (path.parent / file.file).write_bytes(data)
                file.bytes, file.sha256 = len(data), hashlib.sha256(data).hexdigest()
            write_result(path, result)
        return self

    def made(self, **changes):
        """Changes all encodings, as if another machine had made them so."""
        for path in self.encodings():
            result = read_result(EncodeResult, path)
            provenance = result.provenance.model_copy(update={k: v for k, v in changes.items() if k != "status"})
            update = {"provenance": provenance}
            if changes.get("status", "ok") != "ok":
                update |= {"status": changes["status"], "reason": "it broke", "files": []}
            write_result(path, result.model_copy(update=update))
        return self


@pytest.fixture
def project(tmp_path, photograph, monkeypatch):
    project = Project(tmp_path, photograph)
    for name in ("SPLATBENCH_METHODS", "SPLATBENCH_CACHE", "ENCODE_LOG"):
        monkeypatch.setenv(name, project.environment[name])
    entry = project.settings()["entries"][0] | {"snapshots": [2]}
    project.write(project.settings(shard_size=2, entries=[entry]))
    return project


@pytest.fixture
def machines(project):
    return Machine(project, "a"), Machine(project, "b"), Machine(project, "c")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


FIRST, SECOND = "slow/pictures-000", "slow/pictures-001"


def test_two_halves_become_one_and_nothing_is_encoded_again(project, machines):
    a, b, c = machines
    a.encode(FIRST).evaluate(FIRST)
    b.encode(SECOND)
    collect(a.plan)
    collect(b.plan)
    before = project.encodes()
    merged = merge_folders([a.root, b.root], c.root)
    assert (merged.copied, merged.kept, merged.evaluated, merged.conflicts, merged.damaged) == (3, 0, 2, [], [])
    c.encode().evaluate()
    assert project.encodes() == before and len(before) == 3
    rows = collect(c.plan)
    assert [(row.image, row.snapshot, row.status) for row in rows] == [
        (f"w{width}", snapshot, "ok") for width in (32, 40, 48) for snapshot in ("2", "final")
    ]
    of_a = {row.key: row for row in read_records(a.root / "records.jsonl")}
    assert [row for row in rows if row.image != "w48"] == [of_a[row.key] for row in rows if row.image != "w48"]


def test_again_after_the_machines_did_more(machines):
    a, b, c = machines
    a.encode(FIRST)
    b.encode(FIRST).made(time=LATE).to_other_files()
    a.made(time=EARLY)
    with pytest.raises(MergeError, match="2 results stand in the folders with different content; nothing was written"):
        merge_folders([a.root, b.root], c.root)
    assert not c.encodings()
    first = merge_folders([a.root, b.root], c.root, "newest")
    assert (first.copied, first.kept, len(first.conflicts)) == (2, 0, 2)
    again = merge_folders([b.root, a.root], c.root, "newest")
    assert (again.copied, again.kept, again.evaluated) == (0, 2, 0)
    b.encode(SECOND)
    more = merge_folders([a.root, b.root], c.root, "newest")
    assert (more.copied, more.kept) == (1, 2)


@pytest.mark.parametrize(("rule", "expected"), [("newest", "failed"), ("ok-first", "ok")])
def test_rules(machines, rule, expected):
    a, b, c = machines
    a.encode(FIRST).made(time=EARLY)
    b.encode(FIRST).made(time=LATE, status="failed")
    for order in ([a.root, b.root], [b.root, a.root]):
        shutil.rmtree(c.root, ignore_errors=True)
        merged = merge_folders(order, c.root, rule)
        assert {read_result(EncodeResult, path).status for path in c.encodings()} == {expected}
        assert all("stays instead of" in text for text in merged.conflicts)


def test_the_same_files_from_two_machines_are_no_conflict(machines):
    """Whatever the rule: the output's stays, else that of the folder that was named first."""
    a, b, c = machines
    a.encode(FIRST).made(time=EARLY, cpu="One")
    b.encode(FIRST).made(time=LATE, cpu="Two")
    for rule in ("fail", "newest", "ok-first"):
        for sources, cpu in (([a.root, b.root], "One"), ([b.root, a.root], "Two")):
            shutil.rmtree(c.root, ignore_errors=True)
            merged = merge_folders(sources, c.root, rule)
            assert (merged.copied, merged.repeated, merged.conflicts) == (2, 2, [])
            assert {read_result(EncodeResult, path).provenance.cpu for path in c.encodings()} == {cpu}
    merged = merge_folders([a.root], c.root)
    assert (merged.copied, merged.kept, merged.repeated) == (0, 2, 2)
    assert merge_folders([b.root], c.root).repeated == 0, "that it has already is no second measurement"


@pytest.mark.parametrize(
    "change",
    [
        {"pixel_sha256": "0" * 64},
        {"n_target": 7},
        {"snapshots_wanted": ["2", "3"]},
        {"encode_seconds_all": [1.0, 2.0]},
        {"start": WarmStart(entry="other", file_sha256="0" * 64, seconds=1.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_files_of_something_else_are_a_conflict(machines, change):
    a, b, c = machines
    a.encode(FIRST)
    b.encode(FIRST)
    path = b.encodings()[0]
    write_result(path, read_result(EncodeResult, path).model_copy(update=change))
    with pytest.raises(MergeError, match="1 results stand in the folders with different content"):
        merge_folders([a.root, b.root], c.root)


def test_newest_looks_at_the_newest_of_equal_ones(machines):
    a, b, c = machines
    a.encode(FIRST).made(time=EARLY)
    b.encode(FIRST).made(time="2026-01-01T12:00:00+00:00", status="failed")
    c.encode(FIRST).made(time=LATE)
    out = a.results.parent / "d" / "tiny"
    merge_folders([a.root, b.root, c.root], out, "newest")
    found = [read_result(EncodeResult, path) for path in (out / "encodings").glob("*/*/*/*.json")]
    assert [(result.status, result.provenance.time) for result in found] == [("ok", EARLY)] * 2


def test_two_machines_with_the_controls_of_an_experiment(project, machines):
    """As docs/clusters.md has it: each runs other entries of one experiment, and by default the controls, too."""
    a, b, c = machines
    settings = yaml.safe_load(project.file.read_text())
    del settings["controls"]
    (entry,) = settings["entries"]
    other = entry | {"id": "other", "budgets": [{"gaussians": 50}]}
    for machine, entries in ((a, [entry]), (b, [other])):
        project.write(settings | {"entries": entries})
        assert [shard for shard in machine.plan.shards if shard.startswith("controls/")]
        machine.encode().evaluate()
    project.write(settings | {"entries": [entry, other]})
    c.results.mkdir()
    done = CliRunner().invoke(app, ["results", "merge", "--folders", str(a.root), str(b.root), "-o", str(c.root)])
    assert done.exit_code == 0, done.output
    plan, before = c.plan, project.encodes()
    twice = [path for path in a.encodings() if (b.root / path.relative_to(a.root)).exists()]
    assert len(twice) >= 15 and f"({len(twice)} measured twice, with the same files)" in done.output
    summaries = [encode_shard(plan, plan.shard(name), Reporter("test")) for name in plan.shards]
    assert sum(summary.done for summary in summaries) == 0 and project.encodes() == before


def test_what_never_ran_is_left_to_be_made(machines):
    a, b, c = machines
    a.encode(FIRST, SECOND).made(status="not_run")
    b.encode(FIRST)
    merged = merge_folders([a.root, b.root], c.root)
    assert (merged.copied, merged.yielded, merged.conflicts) == (2, 3, [])
    assert len(c.encodings()) == 2


def test_nothing_finished_in_the_output_is_replaced(machines):
    a, b, c = machines
    a.encode(FIRST).made(time=LATE)
    c.encode(FIRST).made(time=EARLY).to_other_files()
    before = contents(c.root)
    with pytest.raises(MergeError, match="holds 2 results that would be replaced"):
        merge_folders([a.root], c.root, "newest")
    assert contents(c.root) == before
    b.encode(SECOND)
    assert merge_folders([b.root, c.root], c.root).copied == 1


def test_markers_of_jobs_are_taken_back_when_results_came(machines):
    a, _, c = machines
    a.encode(SECOND)
    c.encode(FIRST)
    assert list((c.root / "shards" / "encode").rglob("*.json"))
    merge_folders([a.root], c.root)
    assert not (c.root / "shards" / "encode").exists()
    c.encode()
    merge_folders([a.root], c.root)
    assert len(list((c.root / "shards" / "encode").rglob("*.json"))) == 2


def test_damaged_results_are_left_out_by_name(machines):
    a, _, c = machines
    a.encode()
    one, two, three = a.encodings()
    one.write_bytes(one.read_bytes()[:100])
    two.with_suffix(".png").write_bytes(b"another picture")
    three.with_suffix(".png").unlink()
    fifo = one.with_name("pipe.json")
    os.mkfifo(fifo)  # opening it would wait for ever
    merged = merge_folders([a.root], c.root)
    assert merged.copied == 0 and not c.encodings()
    assert sorted(merged.damaged) == sorted(
        [
            f"{one}: it is not JSON",
            f"{two}: a file of it is not what was written",
            f"{three}: a file of it is missing",
            f"{fifo}: it is not a file",
        ]
    )


def test_a_damaged_result_loses_against_a_whole_one(machines):
    a, b, c = machines
    a.encode(FIRST)
    shutil.copytree(a.results, b.results)
    b.encodings()[0].with_suffix(".png").write_bytes(b"")
    merged = merge_folders([a.root, b.root], c.root)
    assert (merged.copied, len(merged.damaged), merged.conflicts) == (2, 1, [])


@pytest.mark.parametrize("name", ["../../../../stolen", "..", "/etc/hostname", "a/b"])
def test_names_of_files_that_lead_out_are_refused(machines, name):
    a, _, c = machines
    a.encode(FIRST)
    path = a.encodings()[0]
    document = json.loads(path.read_text())
    del document["digest"]
    document["files"][0]["file"] = name
    write_document(path, document)
    merged = merge_folders([a.root], c.root)
    assert merged.copied == 1 and len(merged.damaged) == 1
    assert not list(c.results.rglob("*stolen*")) + list(c.results.parent.glob("stolen*"))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("zzz", "w40.png"),
        ("zzz", "w40.json"),
        ("zzz", "w40@2.png"),
        ("w32", "w32@2.png"),
        ("w32", "w32.x.png"),
        ("w32", "w32.JSON"),
        ("w32", "w32"),
    ],
)
def test_a_result_vouches_for_files_of_its_own_name_alone(machines, row, name):
    """With the right place, size, hash and digest: what it names would replace a file of another row."""
    a, b, c = machines
    a.encode(FIRST)
    merge_folders([a.root], c.root)
    before = contents(c.root)
    path = b.root / a.encodings()[0].relative_to(a.root).with_name(f"{row}.json")
    result = read_result(EncodeResult, a.encodings()[0])
    data = b"another file"
    file = result.final.model_copy(
        update={"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    )
    write_result(path, result.model_copy(update={"image": row, "files": [file]}))
    path.with_name(name).write_bytes(data)
    merged = merge_folders([b.root], c.root)
    assert f"{path}: it names the file {name}, which is not its own" in merged.damaged
    assert merged.copied == 0 and contents(c.root) == before


def test_lengths_are_looked_at_before_contents(machines, monkeypatch):
    """A file of any length may lie where a small one belongs, and costs no space as long as nobody reads it."""
    a, _, c = machines
    a.encode()
    one, two, three = a.encodings()
    with open(one, "r+b") as file:
        file.truncate(400 * 2**20)
    with open(two.with_suffix(".png"), "r+b") as file:
        file.truncate(2**40)
    result = read_result(EncodeResult, three)
    result.final.bytes -= 1  # becomes the row's rate
    write_result(three, result)
    merged = merge_folders([a.root], c.root)
    assert merged.copied == 0 and merged.damaged == [
        f"{one}: it is longer than any result: 400 MiB",
        f"{two}: a file of it is not what was written",
        f"{three}: a file of it is not what was written",
    ]


def test_a_file_that_changes_while_it_is_copied_is_not_kept(machines, monkeypatch):
    a, _, c = machines
    a.encode(FIRST)
    copy = folders._copy

    def changed(found, out):
        found.path.with_suffix(".png").write_bytes(b"another")
        copy(found, out)

    monkeypatch.setattr(folders, "_copy", changed)
    with pytest.raises(MergeError, match="w32.png was changed meanwhile; repeat the command"):
        merge_folders([a.root], c.root)
    assert [path.name for path in (c.root / "encodings").rglob("*") if path.is_file()] == ["w32@2.png"]


def test_a_result_in_another_s_place_is_refused(machines):
    a, _, c = machines
    a.encode(FIRST)
    one, two = a.encodings()
    two.write_bytes(one.read_bytes())
    assert merge_folders([a.root], c.root).copied == 1


def test_measured_values_of_the_same_file_are_united(project, machines):
    a, b, c = machines
    a.encode(FIRST)
    shutil.copytree(a.results, b.results)
    a.evaluate(FIRST)
    settings = yaml.safe_load(project.file.read_text())
    project.write(settings | {"metrics": ["ssim"]})
    b.evaluate(FIRST)
    for order in ([a.root, b.root], [b.root, a.root]):
        shutil.rmtree(c.root, ignore_errors=True)
        merged = merge_folders(order, c.root)
        assert (merged.copied, merged.evaluated, merged.warnings) == (2, 2, [])
        for path in (c.root / "evaluations").glob("*/*/*/*.json"):
            for evaluation in read_result(EvaluateResult, path).snapshots.values():
                assert set(evaluation.metrics) == {"psnr", "ssim"}


def test_values_of_another_file_are_not_taken(machines):
    a, _, c = machines
    a.encode(FIRST).evaluate(FIRST)
    for path in (a.root / "evaluations").glob("*/*/*/*.json"):
        result = read_result(EvaluateResult, path)
        for evaluation in result.snapshots.values():
            evaluation.file_sha256 = "0" * 64
        write_result(path, result)
    assert merge_folders([a.root], c.root).evaluated == 0


def test_values_that_disagree_are_warned_of(machines):
    a, b, c = machines
    a.encode(FIRST).evaluate(FIRST)
    shutil.copytree(a.results, b.results)
    path = next((b.root / "evaluations").glob("*/*/*/w32.json"))
    result = read_result(EvaluateResult, path)
    result.snapshots["2"].metrics["psnr"].value += 0.5
    write_result(path, result)
    (warning,) = merge_folders([a.root, b.root], c.root).warnings
    assert warning.startswith("1 values of the same file and metric differ") and "w32, 2" in warning


def test_mixtures_are_named(machines):
    a, b, c = machines
    a.encode(FIRST).made(cpu="One", commit="a" * 40)
    b.encode(SECOND).made(cpu="Two", commit="b" * 40, time="2099-01-01T00:00:00+00:00")
    warnings = "\n".join(merge_folders([a.root, b.root], c.root).warnings)
    for part in ("2 commits", "2 machines", "in slow", "after now"):
        assert part in warnings


def test_wrong_folders_are_told_apart(machines, tmp_path):
    a, b, c = machines
    a.encode(FIRST)
    collect(a.plan)
    (tmp_path / "empty").mkdir()
    for sources, out, reason in (
        ([tmp_path / "absent"], c.root, "no such folder"),
        ([a.results], c.root, f"name one, e.g. {a.root}"),
        ([tmp_path / "empty"], c.root, "was anything encoded?"),
        ([a.root], c.results / "other", f"write to {c.results / 'tiny'}"),
    ):
        with pytest.raises(MergeError, match=reason):
            merge_folders(sources, out)
    renamed = shutil.copytree(b.encode(FIRST).root, tmp_path / "another")
    for sources in ([a.root, renamed], [renamed, a.root]):
        with pytest.raises(MergeError, match="'another' .*, 'tiny' .*has to be named like its experiment"):
            merge_folders(sources, c.root)
    (b.root / "records.jsonl").write_text('{"experiment": "another"}\n')
    with pytest.raises(MergeError, match="'another' .*, 'tiny'"):
        merge_folders([a.root, b.root], c.root)


def test_a_run_in_the_output_is_not_disturbed(machines):
    a, _, c = machines
    a.encode(FIRST)
    with lock_run(c.root), pytest.raises(Busy, match="another run is working"):
        merge_folders([a.root], c.root)


def test_a_full_disk_keeps_what_came_and_a_repetition_ends_it(machines, monkeypatch):
    a, _, c = machines
    a.encode()
    real, calls = write_result, []

    def full(path, result):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "cannot write: No space left on device")
        real(path, result)

    monkeypatch.setattr("splatbench.results.folders.write_result", full)
    with pytest.raises(OSError, match="No space"):
        merge_folders([a.root], c.root)
    assert len(c.encodings()) == 1
    monkeypatch.undo()
    merged = merge_folders([a.root], c.root)
    assert (merged.copied, merged.kept) == (2, 1)
