"""`splatbench labels`: made once, gone on with, never mixed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from splatbench.cli import main
from splatbench.method import get_method
from splatbench.trace import Diverged
from splatbench.training.errors import TrainingError
from splatbench.training.label_files import LabelFolder
from splatbench.training.labels import encoded, write_labels
from splatbench.training.sources import FolderSource


def make(folder, settings=None, out="labels", say=lambda line: None):
    learner = get_method("learner")
    return write_labels(learner, learner.make_labels(settings or {}), "pictures", folder / out, say)


def test_every_picture_gets_the_label_that_the_method_makes(folder):
    assert make(folder, {"gain": 0.5}) == 10
    source, labels = FolderSource(folder / "pictures"), LabelFolder("labels")
    for i, name in enumerate(source.names):
        picture = source.read(i)
        expected = np.rint(0.5 * picture.astype(np.float64).mean(2))
        assert np.abs(labels.read(name, picture.shape[:2]) - expected).max() <= 1  # ties after other roundings
    manifest = json.loads((folder / "labels" / "manifest.json").read_text())
    assert manifest["method"] == "learner" and manifest["settings"] == {"gain": 0.5}
    assert manifest["version"] == 1 and manifest["splatbench"]


def test_finished_labels_are_left_alone(folder):
    make(folder)
    kept, gone = folder / "labels" / "a.png", folder / "labels" / "below" / "a.png"
    kept.write_bytes(b"finished")
    content = gone.read_bytes()
    gone.unlink()
    said = []
    assert make(folder, say=said.append) == 1
    assert kept.read_bytes() == b"finished" and gone.read_bytes() == content
    assert said == [f"10 labels in {folder / 'labels'}, 1 of them new"]


def test_labels_of_other_settings_are_not_mixed(folder, monkeypatch):
    make(folder)
    with pytest.raises(TrainingError, match=r"made in another way \(gain: 1\.0 there, 0\.5 here\); name another --out"):
        make(folder, {"gain": 0.5})
    monkeypatch.setattr(get_method("learner"), "version", 2)
    with pytest.raises(TrainingError, match="version: 1 there, 2 here"):
        make(folder)
    (folder / "labels" / "manifest.json").write_text("[]")
    with pytest.raises(TrainingError, match=r"manifest\.json: not a manifest of labels"):
        make(folder)
    with pytest.raises(TrainingError, match="holds pictures that are no labels"):
        make(folder, out="pictures")


def test_pictures_without_a_label_are_named_at_the_end(folder):
    (folder / "pictures" / "c.png").write_bytes(b"no picture")
    Image.new("RGB", (4, 4)).save(folder / "pictures" / "small.png")
    said = []
    with pytest.raises(TrainingError, match=r"2 of 11 pictures can have no label.*: c\.png, small\.png"):
        make(folder, say=said.append)
    assert [line.split(":")[0] for line in said] == ["c.png", "small.png"]
    assert "too small" in said[1]
    assert len(list((folder / "labels").rglob("*.png"))) == 9  # all others are there


def test_a_fit_that_diverges_costs_one_label_and_not_the_others(folder):
    learner = get_method("learner")
    source, maker = FolderSource(folder / "pictures"), learner.make_labels({})
    fatal = source.read(source.names.index("b.png"))

    def diverging(picture):
        if np.array_equal(picture, fatal):
            raise Diverged("loss became nan at step 7 of 50")
        return maker.make(picture)

    said = []
    with pytest.raises(TrainingError, match=r"1 of 10 pictures can have no label.*: b\.png"):
        write_labels(learner, replace(maker, make=diverging), "pictures", folder / "labels", said.append)
    assert said == ["b.png: no label: loss became nan at step 7 of 50"]
    assert len(list((folder / "labels").rglob("*.png"))) == 9


@pytest.mark.parametrize("label", [np.full((3, 3), 1.01), np.full((3, 3), np.nan), np.zeros((3, 3, 1))])
def test_what_is_no_label_is_refused(label):
    with pytest.raises(ValueError, match=r"a label is \[H, W\] in \[0, 1\]"):
        encoded(label)


def test_the_command(folder, monkeypatch, capsys):
    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["splatbench", "labels", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    code, out, err = called("learner", "--data", "pictures", "--out", "l", "--set", "gain=0.25")
    assert code == 0, err
    assert "10 labels in l, 10 of them new" in out
    assert json.loads((folder / "l" / "manifest.json").read_text())["settings"] == {"gain": 0.25}
    assert called("learner", "--data", "pictures", "--out", "l")[0] == 1
    code, _, err = called("learner", "--data", "pictures", "--out", "m", "--set", "gian=1")
    assert code == 1 and "did you mean 'gain'" in err
    code, _, err = called("identity", "--data", "pictures", "--out", "m")
    assert code == 1 and "needs no labels" in err
    assert called("learner", "--data", "pictures", "--out", "m", "--set", "gain")[0] == 2
    assert called("learner", "--data", "pictures", "--out", "m", "--set", "gain=[")[0] == 2
    assert not (folder / "m").exists()
