"""Archives that somebody sent. Nothing in them decides where a file is written; single members alone are taken.

Names that lead out, links, devices, bombs, wrong checksums and encryption are in tests/datasets/test_unpack.py.
"""

from __future__ import annotations

import io
import stat
import tarfile
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from splatbench.datasets.unpack import UnpackError, extract_member, find_member
from splatbench.training.config import TrainingError
from splatbench.training.sources import ShardSource


def zipped(names, content=b"x"):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, content)
        return zipfile.ZipFile(io.BytesIO(file.getvalue()))


def picture(size=(9, 7)):
    with io.BytesIO() as file:
        Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(file, "PNG")
        return file.getvalue()


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_hundred_thousand_members_are_read_in_seconds(tmp_path):
    archive = zipped([f"a/{i:06d}.png" for i in range(100_000)])
    begin = time.process_time()
    assert find_member(archive.namelist(), "a/", "099999.png") == "a/099999.png"
    extract_member(archive, "a/099999.png", tmp_path / "x.png", 1)
    assert time.process_time() - begin < 5
    assert below(tmp_path) == ["x.png"]


@pytest.mark.parametrize(
    "name", ["a\nb.png", "a\x1b[2J.png", "x" * 5000 + ".png", "con.png", "a;rm -rf.png", "\u202egnp.x"]
)
def test_strange_names_do_not_reach_the_disk(tmp_path, name):
    archive = zipped([name])
    extract_member(archive, archive.namelist()[0], tmp_path / "mine.png", 1)
    assert below(tmp_path) == ["mine.png"]


def test_names_in_messages_are_one_line(tmp_path):
    archive = zipped(["a\nforged line\x1b[2J.png"])
    with pytest.raises(UnpackError) as caught:
        extract_member(archive, archive.namelist()[0], tmp_path / "x.png", size=2)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_members_that_differ_in_case_are_two(tmp_path):
    archive = zipped(["A/x.png"], b"upper")
    with pytest.raises(UnpackError, match="no such member"):
        extract_member(archive, "a/x.png", tmp_path / "x.png")


def test_a_member_that_stands_twice_is_the_last_one_or_refused(tmp_path):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.png", b"one")
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("x.png", b"two")
        archive = zipfile.ZipFile(io.BytesIO(file.getvalue()))
    assert find_member(archive.namelist(), "", "x.png") == "x.png"
    extract_member(archive, "x.png", tmp_path / "x.png", 3)
    assert (tmp_path / "x.png").read_bytes() == b"two"


def test_a_link_at_the_destination_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "x.png").symlink_to(victim)
    extract_member(zipped(["x.png"]), "x.png", tmp_path / "x.png", 1)
    assert victim.read_bytes() == b"precious" and not (tmp_path / "x.png").is_symlink()


# -- tar files of training pictures: read where they lie, never unpacked ---------------------------------------------


def tarred(path, members):
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]


def test_only_plain_files_of_a_tar_are_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = [(member(f"link{i}.png", kind, "/etc/passwd"), b"") for i, kind in enumerate(KINDS)]
    outside = [(member(name), picture()) for name in ("../out.png", "/abs.png", "a\nb.png")]
    shard = tarred(tmp_path / "s.tar", hostile + outside)
    source = ShardSource([shard])
    assert len(source.names) == 3
    assert all(source.read(i).shape == (9, 7, 3) for i in range(3))
    assert below(tmp_path) == ["s.tar"]


@pytest.mark.parametrize("damage", ["cut", "compressed", "text"])
def test_damaged_tars_are_one_sentence(tmp_path, damage):
    shard = tarred(tmp_path / "s.tar", [(member("a.png"), picture())])
    content = shard.read_bytes()
    if damage == "cut":
        shard.write_bytes(content[:300])
    elif damage == "compressed":
        import gzip

        shard.write_bytes(gzip.compress(content))
    else:
        shard.write_bytes(b"no tar\n" * 200)
    with pytest.raises(TrainingError, match=r"s\.tar"):
        ShardSource([shard])


def test_modes_of_members_are_not_taken_over(tmp_path):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            info = zipfile.ZipInfo("x.png")
            info.create_system, info.external_attr = 3, (stat.S_IFREG | stat.S_ISUID | 0o777) << 16
            archive.writestr(info, b"x")
        extract_member(zipfile.ZipFile(file), "x.png", tmp_path / "x.png", 1)
    assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o644
