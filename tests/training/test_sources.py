"""Folders, shards, and the split by photograph."""

from __future__ import annotations

import io
import json
import logging
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from splatbench.datasets.images import ImageError
from splatbench.training.errors import TrainingError
from splatbench.training.picture_rules import Data, Validation
from splatbench.training.pictures import Pictures, open_material
from splatbench.training.sources import FolderSource, ShardSource, Source, open_source, photograph_of, split


class Names(Source):
    """Names alone."""

    place = "names"

    def __init__(self, names):
        self.names = list(names)
        self.photographs = [photograph_of(name) for name in self.names]

    def read(self, index):
        raise ImageError(f"{self.names[index]}: broken")


@pytest.mark.parametrize(
    ("name", "photograph"),
    [
        ("a.jpg", "a"),
        ("a_c0.jpg", "a"),
        ("set/a_c12.png", "set/a"),
        ("a_c.jpg", "a_c"),
        ("a_cx1.jpg", "a_cx1"),
        ("a_c1_c2.jpg", "a_c1"),
        ("v1.2_c3.jpg", "v1.2"),
    ],
)
def test_cut_outs_are_of_their_photograph(name, photograph):
    assert photograph_of(name) == photograph


def test_a_folder_and_all_below(folder):
    (folder / "pictures" / ".hidden").mkdir()
    (folder / "pictures" / ".hidden" / "x.png").write_bytes(b"")
    (folder / "pictures" / "notes.txt").write_text("no picture")
    source = FolderSource(folder / "pictures")
    assert source.names == sorted(source.names)
    assert len(source.names) == 10
    assert "below/a.png" in source.names
    assert source.photographs[source.names.index("a_c1.png")] == "a"
    assert source.photographs[source.names.index("below/a.png")] == "below/a"  # another photograph than `a`
    index = source.names.index("c.png")
    assert np.array_equal(source.read(index), np.asarray(Image.open(folder / "pictures" / "c.png")))


def test_a_manifest_names_photographs(folder):
    images = [{"file": "b.png", "photograph": "twin"}, {"file": "c.png", "photograph": "twin"}, {"file": "d.png"}]
    (folder / "pictures" / "manifest.json").write_text(json.dumps({"images": images}))
    source = FolderSource(folder / "pictures")
    named = dict(zip(source.names, source.photographs, strict=True))
    assert named["b.png"] == named["c.png"] == "twin"
    assert named["d.png"] == "d"
    (folder / "pictures" / "manifest.json").write_text('{"images": [3]}')
    with pytest.raises(TrainingError, match=r"manifest\.json: expected an object with `images`"):
        FolderSource(folder / "pictures")


names = st.lists(
    st.tuples(st.text("abcdef", min_size=1, max_size=3), st.integers(-1, 3)), min_size=8, max_size=60, unique=True
)


@given(names=names, seed=st.integers(0, 5), rule=st.sampled_from([{"share": 0.3}, {"count": 2}]))
def test_a_split_never_parts_a_photograph(names, seed, rule):
    source = Names(f"{stem}.jpg" if cut < 0 else f"{stem}_c{cut}.jpg" for stem, cut in names)
    try:
        training, validation = split(source, Validation(split_seed=seed, **rule))
    except TrainingError:
        return  # too few photographs
    assert sorted(training + validation) == list(range(len(source.names)))
    of = [{source.photographs[i] for i in side} for side in (training, validation)]
    assert not of[0] & of[1]
    if "count" in rule:
        assert len(of[1]) == rule["count"]


def test_a_share_keeps_its_sides_when_pictures_are_added():
    some, more = Names(f"{i}.jpg" for i in range(200)), Names(f"{i}.jpg" for i in range(400))
    rule = Validation(share=0.2)
    held = [{source.names[i] for i in split(source, rule)[1]} for source in (some, more)]
    assert held[1] & set(some.names) == held[0]
    assert 0.1 < len(held[1]) / 400 < 0.3
    other = {more.names[i] for i in split(more, Validation(share=0.2, split_seed=1))[1]}
    assert other != held[1]


def test_a_split_that_empties_a_side(folder):
    with pytest.raises(TrainingError, match="none is left for training"):
        split(Names(["a.jpg", "b.jpg"]), Validation(count=2))
    with pytest.raises(TrainingError, match="none is left for validation"):
        split(Names(["a.jpg", "b.jpg"]), Validation(share=1e-9))


def test_where_pictures_are_looked_for(folder, tmp_path_factory, monkeypatch):
    assert open_source("pictures").place == str(folder / "pictures")
    elsewhere = tmp_path_factory.mktemp("data")
    (elsewhere / "pictures").mkdir()
    Image.new("RGB", (20, 20)).save(elsewhere / "pictures" / "only.png")
    monkeypatch.setenv("SPLATBENCH_DATA", str(elsewhere))
    assert open_source("pictures").names == ["only.png"]  # before the current folder
    assert len(open_source(str(folder / "pictures")).names) == 10
    with pytest.raises(TrainingError, match="no pictures at nowhere: looked at .*nowhere") as caught:
        open_source("nowhere")
    assert str(elsewhere / "nowhere") in str(caught.value)
    (folder / "empty").mkdir()
    with pytest.raises(TrainingError, match="holds no picture"):
        open_source(str(folder / "empty"))


# -- shards --------------------------------------------------------------------------------------------------------


def write_shard(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def encoded(picture, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def test_shards_of_the_webdataset_layout(folder, rng):
    pictures = [rng.integers(0, 256, (16 + i, 20, 3), np.uint8) for i in range(4)]
    write_shard(
        folder / "s-0.tar",
        [("k1.cls", b"7"), ("k1.png", encoded(pictures[0])), ("k2_c0.png", encoded(pictures[1]))],
    )
    write_shard(
        folder / "s-1.tar",
        [("k2_c1.png", encoded(pictures[2])), ("d/k3.png", encoded(pictures[3])), ("k3.json", b"{}")],
    )
    source = open_source("s-*.tar")
    assert source.names == ["s-0.tar/k1.png", "s-0.tar/k2_c0.png", "s-1.tar/k2_c1.png", "s-1.tar/d/k3.png"]
    assert source.photographs == ["k1", "k2", "k2", "d/k3"]  # cut-outs in two shards are of one photograph
    for i in (3, 0, 2, 1):
        assert np.array_equal(source.read(i), pictures[i])
    assert len(open_source("s-0.tar").names) == 2


def test_damaged_shards(folder, rng):
    picture = encoded(rng.integers(0, 256, (64, 64, 3), np.uint8))
    write_shard(folder / "s.tar", [("a.png", picture), ("b.png", picture)])
    whole = (folder / "s.tar").read_bytes()
    (folder / "s.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(TrainingError, match=r"s\.tar: not an uncompressed tar file, or a damaged one"):
        open_source("s.tar")
    (folder / "s.tar").write_bytes(whole[: len(whole) // 2])  # inside the second picture
    with pytest.raises(TrainingError, match=r"s\.tar: .* damaged"):
        open_source("s.tar")
    write_shard(folder / "s.tar", [("a.png", picture[:-100]), ("b.png", picture)])
    source = ShardSource([folder / "s.tar"])
    with pytest.raises(ImageError, match=r"s\.tar/a\.png: the PNG file is damaged"):
        source.read(0)
    assert source.read(1).shape == (64, 64, 3)
    write_shard(folder / "s.tar", [("a.txt", b"x")])
    with pytest.raises(TrainingError, match="holds no picture"):
        open_source("s.tar")


# -- broken pictures -----------------------------------------------------------------------------------------------


def test_a_broken_picture_is_named_and_the_next_stands_in(folder, caplog):
    (folder / "pictures" / "c.png").write_bytes(b"not a picture")
    pictures = Pictures(FolderSource(folder / "pictures"), range(10), 10**9)
    at = pictures.source.names.index("c.png")
    with caplog.at_level(logging.WARNING):
        name, picture = pictures.get(at)
        pictures.get(at)
    assert name == "d.png"
    assert np.array_equal(picture, np.asarray(Image.open(folder / "pictures" / "d.png")))
    assert pictures.broken == ["c.png"]
    assert len(caplog.records) == 1
    assert "left out (1 so far)" in caplog.text and "c.png: is not an image" in caplog.text
    assert len(pictures.readable()) == 9


def test_nothing_but_broken_pictures():
    pictures = Pictures(Names(["a.jpg", "b.jpg"]), [0, 1], 0)
    with pytest.raises(TrainingError, match="names: not one of 2 pictures can be read"):
        pictures.get(1)
    with pytest.raises(TrainingError, match="not one of 2"):
        pictures.readable()


def test_memory_is_bounded(folder):
    source = FolderSource(folder / "pictures")
    sizes = [source.read(i).nbytes for i in range(10)]
    reads = []

    class Counting(Names):
        def read(self, index):
            reads.append(index)
            return source.read(index)

    pictures = Pictures(Counting(source.names), range(10), sum(sizes[:3]))
    for _ in range(3):
        for i in range(10):
            pictures.get(i)
    kept = {i for i in range(10) if reads.count(i) == 1}
    assert sum(sizes[i] for i in kept) <= sum(sizes[:3])
    assert {0, 1, 2} <= kept and all(reads.count(i) == 3 for i in set(range(10)) - kept)


def test_material(folder):
    data = Data(train="pictures", validation=Validation(count=2))
    material = open_material(data)
    assert len(material.training) + len(material.validation) == 10
    (folder / "other").mkdir()
    for i in range(3):
        Image.new("RGB", (20, 20)).save(folder / "other" / f"{i}.png")
    apart = open_material(Data(train="pictures", validation=Validation(source="other", count=2)))
    assert (len(apart.training), len(apart.validation)) == (10, 2)
    assert apart.fingerprint != material.fingerprint
    assert len(open_material(Data(train="pictures")).validation) == 0
