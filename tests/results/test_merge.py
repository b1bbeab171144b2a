"""Merging: union by key, rules for conflicts, nothing lost without a word."""

from __future__ import annotations

import itertools
import json

import pytest

from splatbench.record import read_records, to_line, write_records
from splatbench.results.merge import MergeError, merge
from splatbench.results.order import key_order, natural
from tests.results.changes import changed

EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-01-01T01:30:00+02:00"  # the second is half an hour before the first


def keys(path):
    return [record.key for record in read_records(path)]


def test_union_whatever_the_order(good, write, tmp_path):
    parts = [write(good[:200], "a"), write(good[150:300], "b"), write(good[300:], "c")]
    contents = set()
    for number, order in enumerate(itertools.permutations(parts)):
        merged = merge(order, out := tmp_path / f"out{number}.jsonl")
        assert (merged.files, merged.read, merged.written, merged.equal) == (3, 450, 400, 50)
        contents.add(out.read_bytes())
    assert len(contents) == 1
    assert set(keys(out)) == {record.key for record in good}
    assert sorted(map(to_line, read_records(out))) == sorted(map(to_line, good))


def test_order_is_that_of_a_person(good, write, tmp_path):
    rows = [
        changed(good[0], image=image, snapshot=snapshot)
        for image in ("p10", "p9", "p" + "9" * 5000)
        for snapshot in ("final", "1000", "200", "init")
    ]
    merge([write(rows)], out := tmp_path / "out.jsonl")
    found = [(record.image[:3], record.snapshot) for record in read_records(out)]
    assert found == [(i, s) for i in ("p9", "p10", "p99") for s in ("init", "200", "1000", "final")]
    assert sorted(["n28000", "n9000", "cr50", "cr500", "²", "n٣"], key=natural)[:2] == ["cr50", "cr500"]


@pytest.fixture
def conflicting(good, write):
    """The same rows from two machines: a success and a later failure; two successes; a row that one never ran."""
    first, second, third = good[:3]
    here = [
        changed(first, provenance__time=EARLY),
        changed(second, provenance__time=EARLY, notes=["here"]),
        changed(third, status="not_run", reason="not encoded yet", provenance={}),
    ]
    there = [
        changed(first, status="failed", reason="it broke", provenance__time="2026-01-02T00:00:00+00:00"),
        changed(second, provenance__time=LATE, notes=["there"]),
        changed(third, status="failed", reason="it broke"),
    ]
    return write(here, "here"), write(there, "there")


def test_conflicts_are_refused_by_default(conflicting, tmp_path):
    with pytest.raises(
        MergeError, match="2 results stand in the files with different content; nothing was written"
    ) as error:
        merge(conflicting, tmp_path / "out.jsonl")
    assert f"{conflicting[0]}:1" in str(error.value)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("rule", "statuses", "notes"),
    [("newest", ["failed", "ok", "failed"], ["here"]), ("ok-first", ["ok", "ok", "failed"], ["here"])],
)
def test_rules(conflicting, good, tmp_path, rule, statuses, notes):
    contents = set()
    for number, order in enumerate((conflicting, conflicting[::-1])):
        merged = merge(order, out := tmp_path / f"{rule}{number}.jsonl", rule)
        assert (len(merged.conflicts), merged.yielded) == (2, 1)
        contents.add(out.read_bytes())
    assert len(contents) == 1
    rows = {record.key: record for record in read_records(out)}
    assert [rows[record.key].status for record in good[:3]] == statuses
    assert rows[good[1].key].notes == notes
    assert "stays instead of" in str(merged.conflicts[0])


@pytest.fixture
def halves(good, write):
    """Two machines, each of which ran one half of an experiment: the other half stands in its file as not run."""
    rows = [row for row in good[:20] if row.status == "ok"]
    missing = [changed(r, status="not_run", reason="not encoded yet", provenance={}, metrics={}) for r in rows]
    middle = len(rows) // 2
    paths = write([*rows[:middle], *missing[middle:]], "a"), write([*missing[:middle], *rows[middle:]], "b")
    return paths, rows


def test_two_halves_of_an_experiment_need_no_rule(halves, tmp_path):
    paths, rows = halves
    merged = merge(paths, out := tmp_path / "out.jsonl")
    assert (merged.written, merged.yielded, merged.conflicts) == (len(rows), len(rows), [])
    assert sorted(map(to_line, read_records(out))) == sorted(map(to_line, rows))


def test_a_file_of_rows_never_run_may_be_the_output(halves):
    (a, b), rows = halves
    assert merge([a, b], a).written == len(rows)
    assert {record.status for record in read_records(a)} == {"ok"}


@pytest.mark.parametrize("rule", ["newest", "ok-first"])
def test_a_result_and_its_snapshots_are_of_one_machine(good, write, tmp_path, rule):
    """Seconds of a curve whose points are of two machines would mean nothing."""

    def encoding(machine, time, **snapshots):
        return [
            changed(good[0], snapshot=name, provenance__cpu=machine, provenance__time=time, status=status)
            for name, status in snapshots.items()
        ]

    names = {"s100": "ok", "s200": "ok", "final": "ok"}
    early, late = encoding("A", EARLY, **names), encoding("B", "2026-03-01T00:00:00+00:00", s100="ok", final="ok")
    merged = merge([write(early, "early"), write(late, "late")], out := tmp_path / "out.jsonl", rule)
    assert [(r.provenance.cpu, r.snapshot) for r in read_records(out)] == [("B", "s100"), ("B", "final")]
    assert len(merged.conflicts) == 1 and len(merged.conflicts[0].dropped) == 3
    assert "early.jsonl:1 and 2 more" in str(merged.conflicts[0])


def test_what_was_measured_later_of_the_same_file_wins(good, write, tmp_path):
    """Two machines that share encodings may have measured other metrics of them."""
    few = changed(good[0], metrics={"psnr": good[0].metrics["psnr"]})
    assert len(good[0].metrics) > 1
    for number, order in enumerate(((few, good[0]), (good[0], few))):
        files = [write([row], f"file{number}{i}") for i, row in enumerate(order)]
        merge(files, out := tmp_path / f"out{number}.jsonl", "newest")
        assert [to_line(record) for record in read_records(out)] == [to_line(good[0])]


def test_mixtures_are_named(good, write, tmp_path):
    rows = [row for row in good if row.entry == "cholesky" and row.status == "ok"][:2]
    same = {"commit": "a" * 40, "dirty": False, "cpu": "One", "threads": 2, "device": "cpu"}
    here = changed(rows[0], provenance={**rows[0].provenance.model_dump(), **same})
    there = changed(rows[1], provenance={**rows[1].provenance.model_dump(), **same})
    assert merge([write([here, there], "same")], tmp_path / "same_out.jsonl").warnings == []
    other = changed(
        there,
        provenance__commit="b" * 40,
        provenance__cpu="Two",
        config_hash="01234567",
        container={"name": "x", "digest": "sha256:" + "1" * 64},
    )
    warnings = merge([write([here], "here"), write([other], "there")], tmp_path / "out.jsonl").warnings
    for part in (
        "2 commits",
        "aaaaaaaaaaaa",
        "2 machines",
        "One, 2 threads",
        "2 containers",
        "sha256:11111",
        "01234567",
    ):
        assert any(part in text and text.endswith("in cholesky") for text in warnings), (part, warnings)


def test_a_clock_that_was_ahead_is_warned_of(good, write, tmp_path):
    path = write([changed(good[0], provenance__time="2099-01-01T00:00:00+00:00"), good[1]])
    (warning,) = [w for w in merge([path], tmp_path / "out.jsonl").warnings if "clock" in w]
    assert "1 rows were measured after now" in warning and f"{path}:1" in warning


def test_another_schema_is_refused_by_name(good, write, tmp_path):
    path = write(good[:2])
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2', 1))
    with pytest.raises(MergeError, match=f"{path}:1: schema version 2; this splatbench reads 1"):
        merge([path], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_that_changes_meanwhile_is_noticed(good, write, tmp_path, monkeypatch):
    path = write(good[:3])

    def overwritten(key):
        path.write_bytes(path.read_bytes().replace(b"Example CPU", b"Another CPU"))
        return key_order(key)

    monkeypatch.setattr("splatbench.results.merge.key_order", overwritten)
    with pytest.raises(MergeError, match="was changed while it was merged"):
        merge([path], tmp_path / "out.jsonl")


def test_names_in_messages_are_plain(good, write, tmp_path):
    name = "a\x1b[2J\nforged: line"
    files = [write([changed(good[0], image=name, notes=[note])], note) for note in ("a", "b")]
    with pytest.raises(MergeError) as error:
        merge(files, tmp_path / "out.jsonl")
    assert "\\x1b[2J\\x0aforged" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_equal_times_are_settled_by_content(good, write, tmp_path):
    a, b = (write([changed(good[0], notes=[note])], note) for note in ("a", "b"))
    merge([a, b], tmp_path / "ab.jsonl", "newest")
    merge([b, a], tmp_path / "ba.jsonl", "newest")
    assert (tmp_path / "ab.jsonl").read_bytes() == (tmp_path / "ba.jsonl").read_bytes()


def test_the_output_loses_nothing(good, write, tmp_path, conflicting):
    a, b = write(good[:5], "a"), write(good[3:9], "b")
    with pytest.raises(MergeError, match="exists and is not among the files to merge"):
        merge([a], b)
    assert merge([a, b], b).written == 9
    assert len(keys(b)) == 9
    here, there = conflicting
    before = here.read_bytes()
    with pytest.raises(MergeError, match="1 of its rows would be replaced"):
        merge([here, there], here, "newest")
    assert here.read_bytes() == before
    with pytest.raises(MergeError, match="ends in .jsonl"):
        merge([a], tmp_path / "out.json")


def test_broken_files_are_named(good, write, tmp_path):
    path = write(good[:2])
    path.write_text(path.read_text() + '{"experiment": \n')
    with pytest.raises(MergeError, match=f"{path}:3: not JSON"):
        merge([path], tmp_path / "out.jsonl")
    row = json.loads(path.read_text().splitlines()[0])
    row["provenance"]["time"] = "yesterday"
    path.write_text(json.dumps(row))
    with pytest.raises(MergeError, match="'yesterday' is no time"):
        merge([path], tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match="no such file"):
        merge([tmp_path / "absent.jsonl"], tmp_path / "out.jsonl")


def test_merging_a_merged_file_changes_nothing(good, tmp_path):
    write_records(tmp_path / "a.jsonl", reversed(good))
    merge([tmp_path / "a.jsonl"], tmp_path / "b.jsonl")
    merge([tmp_path / "b.jsonl"], tmp_path / "c.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "c.jsonl").read_bytes()
