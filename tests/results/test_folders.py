"""Merging folders of results: whole encodings, the rules of records, nothing done again and nothing replaced."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import yaml

from splatbench.record import read_records
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
    b.encode(FIRST).made(time=LATE)
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
    c.encode(FIRST).made(time=EARLY)
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
    b.encode(FIRST)
    (b.root / "records.jsonl").write_text('{"experiment": "another"}\n')
    with pytest.raises(MergeError, match="'another' .*, 'tiny'"):
        merge_folders([a.root, b.root], c.root)


def test_a_run_in_the_output_is_not_disturbed(machines):
    a, _, c = machines
    a.encode(FIRST)
    lock = lock_run(c.root)
    try:
        with pytest.raises(Busy, match="another run is working"):
            merge_folders([a.root], c.root)
    finally:
        lock.release()


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
