"""Which files are accepted as a data set's pictures, which are refused, and what is said about it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from splatbench.datasets import DataMissing, data_roots, facts, get_dataset, load_image, pixel_sha256

DATA = os.environ.get("SPLATBENCH_DATA", "")


@pytest.fixture
def coffee() -> Path:
    return get_dataset("sample").path("coffee.png")


@pytest.fixture
def shop(tmp_path, monkeypatch, coffee):
    """A data set with one picture of known hashes, one of known size, one of which only a size rule is known."""
    pixels = load_image(coffee).pixels
    manifest = {
        "name": "shop",
        "title": "Shop",
        "licence": "CC0-1.0",
        "homepage": "https://example.org/",
        "citation": "none",
        "base_url": "http://127.0.0.1:9/",
        "folders": ["the shop"],
        "long_side": 60,
        "multiple_of": 4,
        "images": [
            {"name": "cup.png", "width": 600, "height": 400, "pixel_sha256": pixel_sha256(pixels), "sha256": "0" * 64},
            {"name": "plate.png", "width": 20, "height": 10},
            {"name": "spoon.png"},
        ],
    }
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "shop.yaml").write_text(yaml.safe_dump(manifest))
    monkeypatch.setenv("SPLATBENCH_DATASETS", str(tmp_path / "manifests"))
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("SPLATBENCH_DATA", str(root))
    return root


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_sample_needs_nothing_and_is_verified(monkeypatch):
    monkeypatch.delenv("SPLATBENCH_DATA", raising=False)
    dataset = get_dataset("sample")
    for entry in dataset.images:
        located = dataset.locate(entry.name)
        loaded = load_image(located.path)
        assert located.verified and located.notes == ()
        assert loaded.pixels.shape == (entry.height, entry.width, 3)
        if entry.name.endswith(".png"):  # a JPEG's pixels depend on the decoder
            assert pixel_sha256(loaded.pixels) == entry.pixel_sha256


def test_reencoded_copy_is_accepted_with_a_note(shop, coffee):
    copy = save(shop / "x" / "cup.png", load_image(coffee).pixels, compress_level=1)
    assert copy.read_bytes() != coffee.read_bytes()
    located = get_dataset("shop").locate("cup.png")
    assert located.path == copy and located.verified
    assert located.notes == ("cup.png: re-encoded copy, accepted because its pixels agree",)


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif"])
def test_lossless_copy_in_another_format_is_accepted(shop, coffee, suffix):
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    copy = save(shop / f"cup{suffix}", load_image(coffee).pixels, **options)
    assert get_dataset("shop").path("cup.png") == copy


def test_one_changed_pixel_is_refused_and_named(shop, coffee):
    pixels = load_image(coffee).pixels.copy()
    pixels[17, 42, 1] ^= 1
    copy = save(shop / "cup.png", pixels)
    with pytest.raises(DataMissing) as caught:
        get_dataset("shop").path("cup.png")
    message = str(caught.value)
    assert f"{copy}: the pixels differ from the published picture" in message and "1 of 3 images missing" in message


def test_right_copy_is_found_behind_a_wrong_one(shop, coffee):
    save(shop / "shop" / "cup.png", np.zeros((400, 600, 3), np.uint8))
    right = save(shop / "elsewhere" / "cup.png", load_image(coffee).pixels)
    located, refused = get_dataset("shop").find("cup.png")
    assert located.path == right and [r.path for r in refused] == [shop / "shop" / "cup.png"]


def test_unknown_hash_needs_the_right_size_and_is_noted(shop):
    save(shop / "plate.png", np.zeros((10, 20, 3), np.uint8))
    located = get_dataset("shop").locate("plate.png")
    assert not located.verified and "not verified by hash" in located.notes[0]
    save(shop / "plate.png", np.zeros((10, 21, 3), np.uint8))
    with pytest.raises(DataMissing, match="21x10 pixels, expected 20x10"):
        get_dataset("shop").path("plate.png")


def test_size_rule(shop):
    for shape, fault in (
        ((40, 60), None),
        ((60, 8), None),
        ((40, 64), "long side of 60"),
        ((42, 60), "multiples of 4"),
    ):
        save(shop / "spoon.png", np.zeros((*shape, 3), np.uint8))
        located, refused = get_dataset("shop").find("spoon.png")
        assert (located is not None) == (fault is None)
        assert fault is None or fault in refused[0].reason


def test_broken_file_is_refused_with_its_reason(shop, coffee):
    (shop / "cup.png").write_bytes(coffee.read_bytes()[:-5000])
    (shop / "plate.png").write_text("no picture")
    for name, reason in (("cup.png", "damaged or cut off"), ("plate.png", "not an image")):
        with pytest.raises(DataMissing, match=reason):
            get_dataset("shop").path(name)


def test_search_goes_two_levels_deep_and_prefers_named_folders(shop):
    picture = np.zeros((10, 20, 3), np.uint8)
    dataset = get_dataset("shop")
    save(shop / "a" / "b" / "c" / "plate.png", picture)
    save(shop / ".hidden" / "plate.png", picture)
    assert dataset.find("plate.png") == (None, [])
    places = [shop / "zoo" / "deep", shop / "b", shop / "The Shop", shop / "shop", Path(data_roots()[-1]) / "shop"]
    for folder in places:  # each is preferred to those before it
        expected = save(folder / "plate.png", picture)
        dataset.forget()
        assert dataset.path("plate.png") == expected


def test_several_roots_and_one_that_is_not_there(shop, tmp_path, monkeypatch):
    second = tmp_path / "second"
    save(second / "plate.png", np.zeros((10, 20, 3), np.uint8))
    monkeypatch.setenv("SPLATBENCH_DATA", os.pathsep.join([str(tmp_path / "gone"), str(shop), str(second)]))
    dataset = get_dataset("shop")
    assert dataset.path("plate.png") == second / "plate.png"
    with pytest.raises(DataMissing, match=f"No such folder:  {tmp_path / 'gone'}"):
        dataset.path("spoon.png")


def test_message_says_how_to_get_it_and_where_to_put_it(shop, monkeypatch):
    with pytest.raises(DataMissing) as caught:
        get_dataset("shop").path("spoon")
    message = str(caught.value)
    for part in (
        "spoon.png",
        "splatbench data fetch shop",
        str(data_roots()[-1] / "shop"),
        "SPLATBENCH_DATA",
        str(shop),
    ):
        assert part in message
    monkeypatch.delenv("SPLATBENCH_DATA")
    assert "now it is not set" in get_dataset("shop").explain(["spoon.png"])
    by_hand = get_dataset("div16k").explain(["x"])
    assert "pan.baidu.com" in by_hand and "splatbench data fetch div16k" not in by_hand


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(facts, "_SETTLED_NS", -(10**12))  # files of this test count as settled


def test_second_look_does_not_decode_again(shop, coffee, settled, monkeypatch):
    save(shop / "cup.png", load_image(coffee).pixels)
    assert get_dataset("shop").locate("cup.png").verified
    monkeypatch.setattr(facts, "load_image", lambda path: pytest.fail(f"decoded {path} again"))
    monkeypatch.setattr(facts, "sha256_file", lambda path: pytest.fail(f"read {path} again"))
    assert get_dataset("shop").locate("cup.png").verified


def test_changed_file_is_never_trusted(shop, coffee, settled):
    """Same name, length and modification time: the change time still tells."""
    pixels = load_image(coffee).pixels.copy()
    path = save(shop / "cup.bmp", pixels)
    assert get_dataset("shop").locate("cup.png").verified
    before = path.stat()
    pixels[0, 0, 0] ^= 1
    save(path, pixels)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert get_dataset("shop").find("cup.png")[0] is None


def test_fresh_files_are_not_remembered(shop, coffee):
    """A file could change twice within one tick of its time stamps."""
    save(shop / "cup.png", load_image(coffee).pixels)
    before = sorted((facts.cache_folder() / "facts").glob("*"))
    assert get_dataset("shop").locate("cup.png").verified
    assert sorted((facts.cache_folder() / "facts").glob("*")) == before


def test_damaged_memory_is_ignored(shop, coffee, settled):
    save(shop / "cup.png", load_image(coffee).pixels)
    assert get_dataset("shop").locate("cup.png").verified
    for memory in (facts.cache_folder() / "facts").iterdir():
        memory.write_text("{" if memory.stat().st_size % 2 else json.dumps({"stamp": [0, 0, 0, 0], "sha256": "x"}))
    assert get_dataset("shop").locate("cup.png").verified


def test_glance_reads_headers_alone(shop):
    (shop / "cup.png").write_bytes(get_dataset("sample").path("coffee.png").read_bytes()[:2000])
    dataset = get_dataset("shop")
    assert dataset.glance("cup.png") == shop / "cup.png" and dataset.find("cup.png")[0] is None


@pytest.mark.skipif(not DATA, reason="SPLATBENCH_DATA is not set")
def test_all_of_kodak_by_file_and_by_pixels(tmp_path):
    dataset = get_dataset("kodak")
    if dataset.find("kodim01.png")[0] is None:
        pytest.skip("SPLATBENCH_DATA does not hold kodak")
    for entry in dataset.images:
        located = dataset.locate(entry.name)
        loaded = load_image(located.path)
        assert located.verified and loaded.notes == []
        assert pixel_sha256(loaded.pixels) == entry.pixel_sha256
        assert loaded.pixels.shape == (entry.height, entry.width, 3)
        if located.notes == ():
            assert located.path.stat().st_size == entry.bytes


@pytest.mark.skipif(not DATA, reason="SPLATBENCH_DATA is not set")
def test_kodak_copy_with_one_changed_pixel_is_refused(tmp_path, monkeypatch):
    original = get_dataset("kodak").find("kodim05.png")[0]
    if original is None:
        pytest.skip("SPLATBENCH_DATA does not hold kodak")
    monkeypatch.setenv("SPLATBENCH_DATA", str(tmp_path))
    pixels = load_image(original.path).pixels.copy()
    save(tmp_path / "kodim05.png", pixels)
    assert get_dataset("kodak").locate("kodim05.png").notes != ()
    pixels[511, 767, 2] ^= 1
    save(tmp_path / "kodim05.png", pixels)
    with pytest.raises(DataMissing, match="pixels differ"):
        get_dataset("kodak").path("kodim05.png")
    shutil.copy(original.path, tmp_path / "kodim05.png")
    assert get_dataset("kodak").locate("kodim05.png").notes == ()


@pytest.mark.skipif(not DATA, reason="SPLATBENCH_DATA is not set")
@pytest.mark.parametrize("name", ["0829x2.png", "0844x2.png"])
def test_div2k_x2_images_are_found_whatever_their_folder_is_called(name):
    located, _ = get_dataset("div2k_valid_x2").find(name)
    if located is None:
        pytest.skip(f"SPLATBENCH_DATA does not hold {name}")
    assert located.verified
