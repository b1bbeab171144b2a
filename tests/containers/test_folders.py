"""Folders that a hostile program filled."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from splatbench.containers.folders import exceeds, remove_tree


def test_lengths_are_summed(tmp_path):
    (tmp_path / "a").write_bytes(bytes(6000))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(bytes(6000))
    assert exceeds([tmp_path], 12_000)
    assert not exceeds([tmp_path], 40_000)
    assert exceeds([tmp_path, tmp_path], 40_000)


def test_a_file_as_a_mount(tmp_path):
    (tmp_path / "a").write_bytes(bytes(6000))
    assert exceeds([tmp_path / "a"], 5999) and not exceeds([tmp_path / "a"], 6000)


def test_a_sparse_file_counts_its_length(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10 << 30)
    assert exceeds([tmp_path], 1 << 30)


def test_empty_files_count(tmp_path):
    for i in range(300):
        (tmp_path / str(i)).touch()
    assert exceeds([tmp_path], 1 << 20)


def test_links_are_not_followed(tmp_path):
    (tmp_path / "root").symlink_to("/")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to("/nowhere")
    assert not exceeds([tmp_path], 1 << 20)


def test_a_missing_folder_is_empty(tmp_path):
    assert not exceeds([tmp_path / "never"], 0)


def deep(folder: Path, depth: int) -> None:
    """Deeper than any path may be long."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(depth):
            os.mkdir("d" * 100)  # noqa: PTH102 - a Path would be too long
            os.chdir("d" * 100)
    finally:
        os.chdir(before)


def test_too_deep_to_look_at_is_too_much_and_goes_away(tmp_path):
    (tmp_path / "out").mkdir()
    deep(tmp_path / "out", 1100)
    assert exceeds([tmp_path / "out"], 1 << 30)
    remove_tree(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def ordinary_folder() -> Iterator[Path]:
    """A folder of an ordinary user, who this process is meanwhile: root may look into everything."""
    with tempfile.TemporaryDirectory() as name:
        if os.getuid() == 0:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(os.getuid())


def test_a_closed_folder_is_too_much_and_goes_away(ordinary_folder):
    out = ordinary_folder / "out"
    (out / "closed").mkdir(parents=True)
    (out / "closed" / "x").touch()
    (out / "closed").chmod(0)
    assert exceeds([out], 1 << 30)
    remove_tree(out)
    assert not out.exists()


def test_removal_does_not_follow_links(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "kept")
    deep(tmp_path / "out", 1100)
    remove_tree(tmp_path / "out")
    assert (tmp_path / "kept" / "x").is_file()
