"""`splatbench data`: output, JSON and exit codes."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from splatbench.datasets import cache_folder, get_dataset

DATA = os.environ.get("SPLATBENCH_DATA", "")


@pytest.fixture
def run(monkeypatch):
    from splatbench.cli.data import app

    def call(*arguments: object, code: int = 0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


@pytest.fixture
def shelf(server, reply, manifest, pictures, tmp_path, monkeypatch):
    """A data set of four: p0 is here, p1 is here and wrong, p2 can be fetched, p3 cannot."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "p0.png").write_bytes(pictures[0].content)
    Image.fromarray(np.zeros((24, 36, 3), np.uint8)).save(here / "p1.png")
    server.route("/d/p1.png", reply(pictures[1].content))
    server.route("/d/p2.png", reply(pictures[2].content))
    manifest("shelf", base_url=server.url + "/d/", images=[p.entry for p in pictures])
    monkeypatch.setenv("SPLATBENCH_DATA", str(here))
    return here


def test_list(run, shelf):
    text = run("list").stdout
    assert "shelf               2 of 4    " + str(shelf) in text
    assert "sample              4 of 4 " in text and "missing: splatbench data fetch div16k" in text
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows["shelf"]["present"] == 2 and rows["shelf"]["folders"] == [str(shelf)]
    assert rows["kodak"]["images"] == 24 and rows["kodak"]["licence"]


def test_list_warns_of_folders_that_are_not_there(run, shelf, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_DATA", f"/no/such/folder{os.pathsep}{shelf}")
    assert "SPLATBENCH_DATA names /no/such/folder, which is not a folder" in run("list").stderr


def test_verify(run, shelf):
    result = run("verify", "shelf", code=1)
    assert "shelf: 4 images: 1 verified, 2 missing, 1 wrong" in result.stdout
    assert f"refused {shelf / 'p1.png'}: the pixels differ" in result.stderr
    assert "3 of 4 images missing: p1.png, p2.png, p3.png" in result.stderr and "SPLATBENCH_DATA" in result.stderr
    assert "1 verified" in run("verify", "shelf", "--images", "p0").stdout
    rows = json.loads(run("verify", "shelf", "--json", code=1).stdout)["shelf"]
    assert [row["status"] for row in rows] == ["verified", "wrong", "missing", "missing"]
    assert rows[1]["refused"][0]["path"] == str(shelf / "p1.png")


def test_fetch_then_path(run, shelf):
    result = run("fetch", "shelf", code=1)
    assert "shelf: 4 images: 1 present, 2 fetched, 1 failed" in result.stdout
    assert "404" in result.stderr and "p3.png" in result.stderr
    rows = json.loads(run("fetch", "shelf", "--json", code=1).stdout)["shelf"]
    assert [row["status"] for row in rows] == ["present", "present", "present", "failed"]
    run("fetch", "shelf", "--images", "p0,p1.png", "--jobs", 1)
    home = cache_folder() / "data" / "shelf"
    assert run("path", "shelf", "p1").stdout.strip() == str(home / "p1.png")
    assert run("path", "shelf", code=1).stdout.split() == sorted([str(shelf), str(home)])
    assert json.loads(run("path", "shelf", "p0", "--json").stdout) == {"p0.png": str(shelf / "p0.png")}


def test_path_of_what_is_not_here_prints_where_to_put_it(run, monkeypatch):
    monkeypatch.delenv("SPLATBENCH_DATA", raising=False)
    result = run("path", "div16k", code=1)
    assert result.stdout.strip() == str(cache_folder() / "data" / "div16k")
    assert "8 of 8 images missing" in result.stderr and "SmartSplat-DIV16K" in result.stderr
    assert "1 of 24 images missing: kodim03.png" in run("path", "kodak", "kodim03", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["verify", "kodac"], "did you mean 'kodak'"),
        (["path", "kodak", "kodim99"], "no image 'kodim99'"),
        (["fetch", "sample", "--images", "x"], "no image 'x'"),
        (["fetch"], "Missing argument"),
        (["fetch", "kodak", "--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_usage_is_exit_code_2(run, arguments, reason):
    assert reason in run(*arguments, code=2).stderr


def test_verify_a_folder_reads_every_picture(run, tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    assert "1 unverified" in run("verify", tmp_path).stdout
    (tmp_path / "b.png").write_text("Hello")
    (tmp_path / "notes.txt").write_text("Hello")
    result = run("verify", tmp_path, code=1)
    assert "1 wrong" in result.stdout and "b.png: is not an image" in result.stdout and "notes.txt" in result.stdout


@pytest.mark.parametrize("command", ["list", "fetch", "verify", "path"])
def test_help_has_an_example(run, command):
    assert f"splatbench data {command}" in " ".join(run(command, "--help").stdout.split())


@pytest.mark.skipif(not DATA, reason="SPLATBENCH_DATA is not set")
def test_verify_kodak(run):
    if get_dataset("kodak").glance("kodim01") is None:
        pytest.skip("SPLATBENCH_DATA does not hold kodak")
    assert "kodak: 24 images: 24 verified" in run("verify", "kodak").stdout
