"""A user's own folder as a data set."""

from __future__ import annotations

import pytest
from PIL import Image

from splatbench.datasets import DataMissing, DatasetError, FolderDataset, ImageError, get_dataset, load_image


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for name in ("b.png", "a.JPG", "c d.webp", "Z.bmp"):
        Image.new("RGB", (5, 4), (1, 2, 3)).save(folder / name)
    (folder / "readme.txt").write_text("hello")
    (folder / "broken.png").write_text("not a picture")
    (folder / ".thumbs.png").write_text("hidden")
    (folder / "more").mkdir()
    return folder


def test_pictures_in_order_and_the_rest_reported(folder):
    dataset = get_dataset(folder)
    assert isinstance(dataset, FolderDataset) and dataset.name == "my pictures"
    assert [entry.name for entry in dataset.images] == ["Z.bmp", "a.JPG", "b.png", "broken.png", "c d.webp"]
    assert dataset.skipped == ["more/", "readme.txt"]
    assert dataset.notes == ("not pictures, left out: more/, readme.txt",)
    assert load_image(dataset.path("c d.webp")).pixels.shape == (4, 5, 3)


def test_broken_picture_stays_and_fails_by_name(folder):
    with pytest.raises(ImageError, match=r"broken\.png: is not an image"):
        load_image(get_dataset(folder).path("broken.png"))


def test_picture_that_vanishes(folder):
    dataset = get_dataset(str(folder))
    (folder / "b.png").unlink()
    with pytest.raises(DataMissing, match=r"no longer there: b\.png"):
        dataset.path("b.png")
    with pytest.raises(DatasetError, match="no image 'x.png'"):
        dataset.path("x.png")


def test_folders_that_will_not_do(tmp_path):
    with pytest.raises(DatasetError, match="holds no picture"):
        get_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        get_dataset(tmp_path / "none")


def test_a_known_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "sample").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "sample" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert len(get_dataset("sample").images) == 4
    assert len(get_dataset("./sample").images) == 1
