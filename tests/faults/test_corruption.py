"""Whatever becomes of files of results and caches: the rerun repairs or reports, and no wrong number gets through."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.runner.collect import collect, is_collected
from splatbench.runner.encode import encode_shard
from splatbench.runner.progress import Reporter
from splatbench.runner.repair import open_files
from splatbench.runner.results import EncodeResult, Summary, read_result, write_result
from tests.faults.conftest import Project, Table
from tests.faults.corruption import REPAIRED, REPORTED, Damage


def _check(project: Project, undisturbed: Table, seeds: range, at_once: int, *below: str) -> None:
    """Damages and runs in turn, all in one folder: each run gives the undisturbed table."""
    for first in seeds[::at_once]:
        what = [_damage(project, REPAIRED, seed, below) for seed in range(first, first + at_once)]
        rows = project.run()
        assert not project.errors, what
        assert rows == undisturbed, what
    encodes = project.encodes()
    assert project.run() == undisturbed and project.encodes() == encodes, "the last run left something to be made"


def _damage(project: Project, kinds: tuple[Damage, ...], seed: int, below: tuple[str, ...]) -> str:
    chance = random.Random(seed)
    found = project.files(*below)
    if not found:
        return f"seed {seed}: an earlier damage has left nothing"
    path = chance.choice(found)
    return f"seed {seed}: {path}: {kinds[seed % len(kinds)](path, found, chance)}"


def test_random_damage_to_results(project: Project, undisturbed: Table) -> None:
    _check(project, undisturbed, range(80), 2)


def test_random_damage_to_caches(project: Project, undisturbed: Table) -> None:
    _check(project, undisturbed, range(20), 2, "cache")


@pytest.mark.slow
def test_a_thousand_damages(project: Project, undisturbed: Table) -> None:
    _check(project, undisturbed, range(1_000, 2_000), 4, "results", "cache")


def test_a_changed_value_is_measured_again(project: Project, undisturbed: Table) -> None:
    """The worst of all damages: another number, as valid as the right one."""
    path = project.result("jpeg", "w32", "evaluations")
    text = path.read_text()
    (value,) = re.findall(r'"psnr": \{[^}]*"value": ([\d.]+)', text)
    path.write_text(text.replace(value, str(float(value) + 10)))
    assert project.run() == undisturbed
    assert f"{path.relative_to(project.folder)}: its digest belongs to another content or place" in project.said


def test_a_whole_run_in_the_place_of_another_is_found(project: Project, undisturbed: Table) -> None:
    """Results and files fit each other, and the pictures are the right ones: only the place is wrong."""
    one = project.result("copy", "w32", budget="n20-s1").parent
    two = project.result("copy", "w32", budget="n30-s1").parent
    shutil.rmtree(one)
    shutil.copytree(two, one)
    assert project.run() == undisturbed
    assert project.said.count("its digest belongs to another content or place") == 3  # pictures


def test_results_of_before_there_were_digests_are_read(project: Project, undisturbed: Table) -> None:
    encodes = project.encodes()
    for path in project.files():
        if path.suffix == ".json":
            document = json.loads(path.read_text())
            del document["digest"]
            document["layout"] = 1
            path.write_text(json.dumps(document))
    assert project.run() == undisturbed and project.encodes() == encodes


@pytest.mark.parametrize("stage", ["encodings", "evaluations"])
@pytest.mark.parametrize("change", ["removed", "null", "layout lowered", "layout removed"])
def test_no_digest_is_switched_off(project: Project, undisturbed: Table, change: str, stage: str) -> None:
    path = project.result("jpeg", "w32", stage)
    document = json.loads(path.read_text())
    if change.startswith("layout"):
        document["layout"] = 1
    if change == "null":
        document["digest"] = None
    elif change != "layout lowered":
        del document["digest"]
    if change == "layout removed":
        del document["layout"]
    path.write_text(json.dumps(document))
    assert project.run() == undisturbed
    fault = "its digest is missing" if change.endswith("removed") else "its digest belongs to another content or place"
    assert f"{path.relative_to(project.folder)}: {fault}" in project.said


def test_a_file_under_the_name_of_another_row_is_made_again(project: Project, undisturbed: Table) -> None:
    """Whole, with the right hash and digest: but the other row would be encoded over it."""
    path = project.result("own", "w32")
    result = read_result(EncodeResult, path)
    assert result is not None and result.final is not None
    other = path.with_name("w40.s2d")
    other.write_bytes((path.parent / result.final.file).read_bytes())
    result.final.file = other.name
    write_result(path, result)
    assert project.run() == undisturbed
    assert f"{path.relative_to(project.folder)}: it names the file w40.s2d, which is not its own" in project.said


def test_a_length_that_is_not_the_file_s_is_made_again(project: Project, undisturbed: Table) -> None:
    """It becomes the row's rate."""
    path = project.result("own", "w32")
    result = read_result(EncodeResult, path)
    assert result is not None and result.final is not None
    result.final.bytes //= 2
    write_result(path, result)
    assert project.run() == undisturbed
    assert f"{path.relative_to(project.folder)}: its files are not what was encoded" in project.said


def test_a_picture_that_changed_is_measured_again_though_the_same_file_comes_out(
    project: Project, undisturbed: Table
) -> None:
    """The encoder draws all pictures black. Until it is measured, the record has no values of the old picture."""
    picture = project.folder / "pictures" / "w32.png"
    before = project.result("own", "w32", "evaluations").read_bytes()
    Image.new("RGB", (32, 24), "white").save(picture)
    with project.here():
        plan = project.plan()
        (shard,) = [shard for shard in plan.shards.values() if shard.group == "own" and "w32" in shard.images]
        encode_shard(plan, shard, Reporter("test"), 1)
        result, evaluated = project.result("own", "w32"), project.result("own", "w32", "evaluations")
        assert evaluated.read_bytes() == before
        marker = plan.evaluate_marker(shard)
        write_result(marker, Summary(stage="evaluate"))
        assert marker in open_files(plan)
        (row,) = [row for row in collect(plan) if (row.entry, row.image) == ("own", "w32")]
        assert (row.status, row.metrics) == ("not_run", {})
        old = {key: row for key, row in undisturbed.items() if key[2:4] == ("w32", "own")}
        assert [row["file_sha256"] for row in old.values()] == [read_result(EncodeResult, result).final.sha256]
    (row,) = [row for key, row in project.run().items() if key[2:4] == ("w32", "own")]
    assert row["status"] == "ok" and row["metrics"]["psnr"] < 1e-4


@pytest.mark.parametrize("damage", REPORTED)
@pytest.mark.parametrize("stage", ["encodings", "evaluations"])
def test_what_is_in_the_way_is_named_and_stays(
    project: Project, undisturbed: Table, damage: Damage, stage: str
) -> None:
    path = project.result("own", "w32", stage)
    damage(path, [], random.Random(0))
    rows = project.run()
    assert project.errors
    place = str(path.parent.relative_to(project.folder))
    assert all("cannot write" in sentence and place in sentence for sentence in project.errors)
    lost = {key for key in rows if key[3] == "own" and key[1] == "pictures"}
    if stage == "encodings":
        lost |= {key for key in rows if key[3] == "matched" and key[1] == "pictures"}
    assert all(rows[key] == undisturbed[key] for key in undisturbed.keys() - lost)
    assert rows.keys() == undisturbed.keys()
    assert all(rows[key]["metrics"] in ({}, undisturbed[key]["metrics"]) for key in lost)
    blocked = path if path.is_dir() else path.parent
    assert blocked.exists()
    shutil.rmtree(blocked) if blocked.is_dir() else blocked.unlink()
    assert project.run() == undisturbed and not project.errors


def test_unreadable_results_are_made_again(
    project: Project, undisturbed: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sector of the disk that has gone, or rights that somebody took away (root may read everything)."""
    bad = {project.result("own", "w32"), project.result("fit", "w32", "evaluations")}
    old = {(path.stat().st_ino, path.stat().st_mtime_ns) for path in bad}
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.exists() and (path.stat().st_ino, path.stat().st_mtime_ns) in old:
            raise OSError(5, "Input/output error", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert project.run() == undisturbed
    assert project.said.count("it cannot be read: Input/output error") == 2


def test_records_are_collected_anew(project: Project, undisturbed: Table) -> None:
    records = project.root / "records.jsonl"
    content = records.read_bytes()
    for damage in (content[: len(content) // 2], b"", content.replace(b'"psnr": 2', b'"psnr": 3'), b"\xff\xfe"):
        records.write_bytes(damage)
        with project.here():
            assert not is_collected(project.plan())
        assert project.run() == undisturbed
        with project.here():
            assert is_collected(project.plan())


def test_a_report_of_cut_records_names_the_line(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """`collect` would make them again; who calls `report build` alone gets a sentence."""
    records = project.root / "records.jsonl"
    lines = records.read_text().splitlines()
    records.write_text("\n".join([*lines[:2], lines[2][:100]]))
    with project.here():
        result = CliRunner().invoke(app, ["report", "build", "-e", "tiny.yaml"])
    assert result.exit_code != 0
    assert "records.jsonl, line 3" in str(result.exception) + result.output
