"""The builder: what it reads, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from splatbench.record import Record, write_records
from splatbench.site.build import MANIFEST, build, gather
from splatbench.site.page import script
from tests.site.synthetic import synthetic_records

HOSTILE = "<script>alert(1)</script>\"'--><img src=x onerror=alert(2)>&amp;../../x"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def few() -> list[Record]:
    return synthetic_records(400)


def test_equal_records_give_equal_bytes(few, tmp_path):
    build(few, tmp_path / "a")
    build(few, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_second_build_removes_what_it_does_not_write_again(few, tmp_path):
    out = tmp_path / "site"
    build(few, out)
    before = contents(out)
    dataset = few[0].dataset
    left = [record for record in few if record.dataset != dataset]
    build(left, out)
    after = contents(out)
    assert len(after) < len(before)
    build(left, tmp_path / "fresh")
    assert after == contents(tmp_path / "fresh")
    assert not [folder for folder in out.rglob("*") if folder.is_dir() and not any(folder.iterdir())]


def test_a_folder_with_other_things_is_not_touched(few, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="not empty and not a site"):
        build(few, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_manifest_that_points_outside_removes_nothing_there(few, tmp_path):
    out, precious = tmp_path / "site", tmp_path / "precious.txt"
    precious.write_text("keep me")
    build(few, out)
    with open(out / MANIFEST, "a") as file:
        file.write("../precious.txt\n")
    build(few, out)
    assert precious.read_text() == "keep me"


def test_hostile_names_are_text_everywhere(few, tmp_path):
    changes = {"image": HOSTILE, "dataset": HOSTILE, "entry": HOSTILE, "family": HOSTILE, "title": HOSTILE,
               "experiment": HOSTILE, "method": HOSTILE, "reason": HOSTILE, "notes": [HOSTILE]}  # fmt: skip
    hostile = [record.model_copy(update=changes) for record in few if record.dataset == few[0].dataset][:6]
    hostile += [hostile[0].model_copy(update={"status": "failed", "snapshot": HOSTILE})]
    build([*few, *hostile], tmp_path / "site")
    for name, content in contents(tmp_path / "site").items():
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", name), name
        if name.endswith((".html", ".js")) and not name.startswith("assets/"):
            text = content.decode()
            assert "<script>alert" not in text, name
            assert "<img src=x" not in text, name


@pytest.mark.parametrize("status", ["failed", "diverged", "out_of_memory", "not_run"])
def test_records_of_failures_alone_make_a_site(few, tmp_path, status):
    blank = {"status": status, "reason": "it had to be", "metrics": {}, "bytes": None, "bpp": None, "n_actual": None,
             "encode_seconds": None, "decode_seconds": None, "curve": [], "stage_seconds": {}}  # fmt: skip
    build([record.model_copy(update=blank) for record in few[:20]], tmp_path / "site")
    assert "it had to be" in "".join(c.decode() for n, c in contents(tmp_path / "site").items() if n.endswith(".html"))


def test_one_record_makes_a_site(few, tmp_path):
    assert build(few[:1], tmp_path / "site").index.is_file()


def test_nothing_to_show(tmp_path):
    with pytest.raises(ValueError, match="no records"):
        build([], tmp_path / "site")
    with pytest.raises(ValueError, match="holds no records"):
        gather([tmp_path])
    with pytest.raises(ValueError, match="nowhere: no such file or folder"):
        gather([tmp_path / "nowhere"])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="nothing to show"):
        gather([tmp_path])
    assert not (tmp_path / "site").exists()


def test_a_broken_line_is_named(few, tmp_path):
    write_records(tmp_path / "good.jsonl", few[:3])
    (tmp_path / "bad.jsonl").write_text((tmp_path / "good.jsonl").read_text() + '{"experiment": "x"}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl:4: does not fit the schema"):
        gather([tmp_path])


def test_a_file_that_is_not_utf8_is_named_with_its_line(few, tmp_path):
    write_records(tmp_path / "bad.jsonl", few[:1])
    with open(tmp_path / "bad.jsonl", "ab") as file:
        file.write(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl:2: not UTF-8: .* at byte 0; save the file as UTF-8"):
        gather([tmp_path])


def test_the_same_row_twice_counts_once_and_a_conflict_is_refused(few, tmp_path):
    write_records(tmp_path / "a.jsonl", few[:3])
    write_records(tmp_path / "b.jsonl", few[:3])
    assert gather([tmp_path]) == few[:3]
    write_records(tmp_path / "b.jsonl", [few[0].model_copy(update={"encode_seconds": 1e6})])
    with pytest.raises(ValueError, match=r"b\.jsonl:1: a second, different row for"):
        gather([tmp_path])


def test_command(few, tmp_path):
    from splatbench.cli.leaderboard import app

    write_records(tmp_path / "a.jsonl", few[:30])
    done = CliRunner().invoke(app, ["build", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "site")])
    assert done.exit_code == 0, done.output
    assert "index.html: " in done.stdout
    assert (tmp_path / "site" / "index.html").is_file()


def test_command_says_what_is_wrong_with_the_records_and_strict_refuses_them(few, tmp_path):
    from splatbench.cli.leaderboard import app

    write_records(tmp_path / "a.jsonl", [few[0].model_copy(update={"bpp": 99.0, "method": "gone"}), *few[1:30]])
    arguments = ["build", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "site")]
    refused = CliRunner().invoke(app, [*arguments, "--strict"])
    assert refused.exit_code == 1
    assert "no site was written" in refused.stderr
    assert not (tmp_path / "site").exists()
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert re.search(r"1 errors, \d+ warnings in the records: `splatbench results validate .*a\.jsonl`", done.stderr)
    assert (tmp_path / "site" / "index.html").is_file()


def test_data_scripts_are_plain_ascii_and_close_no_element():
    made = script("x", {"name": "</script>", "ü": [1.5, None, True]}).decode()
    assert made.isascii()
    assert "<" not in made
    assert json.loads(made.removeprefix('splatbench.data("x",').removesuffix(");\n")) == {
        "name": "</script>",
        "ü": [1.5, None, True],
    }


def test_data_scripts_refuse_what_json_has_not():
    with pytest.raises(ValueError):
        script("x", float("nan"))


@pytest.mark.slow
def test_fifty_thousand_records_in_under_a_minute(tmp_path):
    records = synthetic_records(50_000)
    begin = time.perf_counter()
    built = build(records, tmp_path / "site")
    assert time.perf_counter() - begin < 60
    assert built.bytes < 60e6
