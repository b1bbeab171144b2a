"""`splatbench import | export`: what a user sees, writes and may merge."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from splatbench.codec import decode, peek_method
from splatbench.exchange import read_arrays, to_gaussians, write_npz
from splatbench.gaussians import Gaussians2D
from splatbench.metrics import evaluate
from splatbench.record import Record, read_records
from splatbench.render import render
from splatbench.results import identity, plausible
from splatbench.results.stale import staleness
from splatbench.runner.imported import add_record, entry_of
from splatbench.site.build import build as build_site

HEIGHT, WIDTH = 24, 40


def made(seed: int = 1) -> Gaussians2D:
    rng = np.random.default_rng(seed)
    tensor = lambda values: torch.from_numpy(values.astype(np.float32))  # noqa: E731
    return Gaussians2D(
        means=tensor(rng.random((30, 2)) * [WIDTH, HEIGHT]),
        colors=tensor(rng.random((30, 3))),
        cholesky=tensor(rng.uniform(1, 4, (30, 3))),
        size=(HEIGHT, WIDTH),
    )


@pytest.fixture
def folder(tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: shots/photo.png and photo.npz of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "shots").mkdir()
    Image.fromarray(np.ascontiguousarray(photograph[100:124, 100:140])).save(tmp_path / "shots" / "photo.png")
    told = {"method": "Splat Lab", "source": "v2", "nominal_bits": 9600, "encode_seconds": 7.5, "notes": "hello"}
    write_npz(tmp_path / "photo.npz", made(), **told)
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys):
    """`main` in this process: (exit code, stdout, stderr)."""
    from splatbench.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["splatbench", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return int(str(code or 0)), out, err

    return run


IMPORT = ("import", "photo.npz", "--image", "shots/photo.png", "-o", "out.s2d", "--metrics", "psnr")


def test_a_file_is_converted_measured_and_filed(folder, call):
    """One walk through the door: file, numbers, record, site; and what makes the row a good one."""
    code, out, err = call(*IMPORT, "--record", "mine.jsonl", "--json", "--gaussians", "30")
    assert (code, err) == (0, "")
    facts, data = json.loads(out), (folder / "out.s2d").read_bytes()
    decoded = decode(data)
    assert peek_method(data) == "external" and torch.equal(decoded.cholesky, made().cholesky)
    pixels = np.asarray(Image.open("shots/photo.png"))
    values, _ = evaluate(["psnr"], render(made()).clamp(0, 1).numpy(), pixels)
    assert facts["metrics"]["psnr"] == pytest.approx(values["psnr"], abs=1e-6)
    assert (facts["implementation"], facts["gaussians"], facts["bytes"]) == ("external", 30, len(data))
    assert facts["nominal_bpp"] == 9600 / (HEIGHT * WIDTH) and facts["encode_seconds"] is None
    (row,) = read_records(folder / "mine.jsonl")
    assert (row.experiment, row.dataset, row.image) == ("imported", "shots", "photo")
    assert (row.title, row.entry, row.implementation, row.column) == (
        "Splat Lab (v2)",
        "splat-lab-v2",
        *["external"] * 2,
    )
    assert (row.n_target, row.n_actual, row.budget) == (30, 30, {"gaussians": 30})
    assert row.encode_seconds is None and row.metrics == facts["metrics"]
    assert "encode time as told by the file, not measured here: 7.5 s" in row.notes and "hello" in row.notes
    committed = row.model_copy(update={"provenance": row.provenance.model_copy(update={"dirty": False})})
    assert [*identity.of_record(committed), *plausible.of_record(row), *staleness(row)] == []
    build_site([row], folder / "site")
    assert "Splat Lab (v2)" in (folder / "site" / "data" / "board.js").read_text()


def test_the_table_names_the_implementation(folder, call, monkeypatch):
    measured = {"image": "shots/photo.png", "width": WIDTH, "height": HEIGHT, "gaussians": 30, "bytes": 9, "bpp": 1.0,
                "metrics": {"psnr": 20.0}, "not_run": {}, "decode_seconds": 0.1}  # fmt: skip
    monkeypatch.setattr("splatbench.cli.fit.evaluate_elsewhere", lambda *arguments: measured)
    code, out, _ = call(*IMPORT, "--implementation", "official", "--name", "Theirs")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "shots/photo.png, 40x24 pixels" in lines and "Implementation official" in lines and "Gaussians 30" in lines
    assert "Nominal rate [bit/pixel] ↓ 10.0000" in lines and "Encode [s] -" in lines
    assert "note: made elsewhere by Splat Lab (v2)" in lines
    assert sorted(path.name for path in folder.iterdir()) == ["out.s2d", "photo.npz", "shots"]


@pytest.mark.parametrize(
    ("change", "code", "match"),
    [
        (("photo.npz", "none.npz"), 1, "none.npz: No such file"),
        (("photo.npz", "bad.npz"), 1, "bad.npz: not a readable .npz file"),
        (("photo.npz", "other.npz"), 1, "other.npz: the file is for a picture of 9x9 pixels"),
        (("photo.npz", "photo.pt"), 1, "the name must end in"),
        (("photo.npz", "pixels.s2d"), 1, "not a .s2d file"),
        (("out.s2d", "out.npz"), 2, "the name must end in .s2d"),
        (("out.s2d", "folder.s2d"), 2, "folder.s2d is a folder"),
        (("shots/photo.png", "photo.npz"), 1, "photo.npz"),
        (("psnr", "snr"), 1, "unknown metric"),
    ],
)
def test_what_cannot_be_taken_leaves_nothing(folder, call, change, code, match):
    (folder / "bad.npz").write_bytes(b"PK")
    (folder / "photo.pt").write_bytes(b"x")
    (folder / "pixels.s2d").write_bytes(b"x")
    (folder / "folder.s2d").mkdir()
    write_npz(folder / "other.npz", Gaussians2D(**made().tensors(), size=(9, 9)))
    before = sorted(path.name for path in folder.iterdir())
    arguments = [change[1] if word == change[0] else word for word in IMPORT]
    ended, out, err = call(*arguments, "--record", "mine.jsonl")
    assert ended == code and match in err.replace("\n", " ") and "Traceback" not in err and out == ""
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("budget", "match"),
    [
        (("--gaussians", "5"), "photo.npz: it holds 30 Gaussians, the budget allows 5"),
        (("--bpp", "0.5"), "bits per pixel, the budget allows 0.5"),
    ],
)
def test_what_is_beyond_its_budget_leaves_nothing(folder, call, budget, match):
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = call(*IMPORT, "--record", "mine.jsonl", *budget)
    assert (code, out) == (1, "") and match in err.replace("\n", " ") and "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_cannot_be_measured_leaves_nothing(folder, call, monkeypatch):
    """The file gets its name last: there is no output without a row, and an older one stays."""
    seen = []

    def fail(file: Path, *rest: object) -> None:
        seen.append((file.name, decode(file.read_bytes()).size, sorted(path.name for path in file.parent.iterdir())))
        raise typer.Exit(3)

    monkeypatch.setattr("splatbench.cli.fit.evaluate_elsewhere", fail)
    (folder / "out.s2d").write_bytes(b"older")
    before = sorted(path.name for path in folder.iterdir())
    code, _, _ = call(*IMPORT, "--record", "mine.jsonl")
    assert code == 3 and seen == [("out.s2d", (HEIGHT, WIDTH), ["out.s2d"])]
    assert (folder / "out.s2d").read_bytes() == b"older"
    assert sorted(path.name for path in folder.iterdir()) == before


def test_two_names_are_not_one_entry(folder, call, monkeypatch):
    """Also where they differ in punctuation alone, which entries do not have."""
    measured = {"image": "shots/photo.png", "width": WIDTH, "height": HEIGHT, "gaussians": 30, "bytes": 9, "bpp": 1.0,
                "metrics": {"psnr": 20.0}, "not_run": {}, "decode_seconds": 0.1}  # fmt: skip
    monkeypatch.setattr("splatbench.cli.fit.evaluate_elsewhere", lambda *arguments: dict(measured))
    first, other = [*IMPORT, "--record", "mine.jsonl"], [*IMPORT, "--record", "mine.jsonl"]
    first[5] = "first.s2d"
    assert call(*first, "--name", "My method (a)")[0] == 0
    before = (folder / "mine.jsonl").read_bytes()
    code, _, err = call(*other, "--name", "My method-a!")
    said = " ".join(err.split())
    assert code == 1 and "the entry 'my-method-a' is 'My method (a)' there, not 'My method-a!'" in said
    assert (folder / "mine.jsonl").read_bytes() == before and not (folder / "out.s2d").exists()
    assert call(*other, "--name", "My method (a)")[0] == 0
    assert call(*other, "--name", "My method-a!", "--experiment", "other")[0] == 0
    assert len(list(read_records(folder / "mine.jsonl"))) == 2


def row(**changes: object) -> Record:
    usual = {"experiment": "imported", "dataset": "d", "image": "i", "entry": "e", "method": "external"}
    return Record(**(usual | changes))  # type: ignore[arg-type]


def test_a_row_takes_the_place_of_its_equal(tmp_path):
    path = tmp_path / "mine.jsonl"
    assert not add_record(path, row(image="a"))
    assert not add_record(path, row(image="b"))
    assert add_record(path, row(image="a", n_actual=7))
    assert [(r.image, r.n_actual) for r in read_records(path)] == [("b", None), ("a", 7)]
    path.write_text(path.read_text() + "garbage\n")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="line 3"):
        add_record(path, row(image="c"))
    assert path.read_bytes() == before


def test_names_become_ids():
    assert entry_of("Image-GS (v1.0, ä)") == "image-gs-v1-0"
    assert entry_of("…") == "external" and len(entry_of("x" * 500)) == 80


def test_export_is_the_way_back(folder, call):
    from splatbench.method import get_method

    kind = get_method("random_gaussians")
    (folder / "ours.s2d").write_bytes(kind(kind.make_config({})).to_bytes(made()))
    code, out, _ = call("export", "ours.s2d", "-o", "ours.npz")
    assert (code, out) == (0, "ours.npz: 30 Gaussians\n")
    named = read_arrays("ours.npz")
    assert named.facts.method == "random_gaussians"
    assert torch.equal(to_gaussians(named, (HEIGHT, WIDTH)).colors, made().colors)


def test_a_picture_without_gaussians_is_not_exported(folder, call):
    from splatbench.codec import Attribute, write

    pixels = Attribute("pixels", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (folder / "p.s2d").write_bytes(write("downsample", (HEIGHT, WIDTH), "", (), [pixels]))
    code, _, err = call("export", "p.s2d", "-o", "p.npz")
    assert code == 1 and err and "Traceback" not in err and not (folder / "p.npz").exists()
    code, _, err = call("export", "p.s2d", "-o", "p.txt")
    assert code == 2 and "must end in .npz" in err
