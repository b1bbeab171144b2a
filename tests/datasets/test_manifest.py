"""The manifests of this project, and what a wrong one is told."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest
import yaml

from splatbench.datasets import DatasetError, available_datasets, get_dataset
from splatbench.datasets.manifest import load_manifest, manifest_folders

OURS = ["div16k", "div2k_valid_hr", "div2k_valid_x2", "div8k", "kodak", "kodak_512", "sample", "synthetic",
        "synthetic_16k", "uhr"]  # fmt: skip
SMALLEST = {
    "name": "mine",
    "title": "Mine",
    "licence": "CC0-1.0",
    "homepage": "https://example.org/",
    "citation": "none",
    "base_url": "https://example.org/d/",
    "images": [{"name": "a.png"}],
}


@pytest.fixture
def own_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_DATASETS", str(tmp_path))

    def write(changes: dict, name: str = "mine") -> None:
        content = {key: value for key, value in (SMALLEST | changes).items() if value is not None}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))

    return write


def test_all_of_ours_are_found_and_weights_are_no_data_set():
    assert set(OURS) <= set(available_datasets()) and "weights" not in available_datasets()


@pytest.mark.parametrize("name", OURS)
def test_ours_are_complete(name):
    manifest = load_manifest(name)
    assert manifest.title and manifest.licence and manifest.notes
    assert re.match(r"@\w+\{[\w]+,\s", manifest.citation) and manifest.citation.count("{") == manifest.citation.count(
        "}"
    )
    for archive in manifest.archives:
        assert all(url.startswith("https://") for url in archive.urls)


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("kodak", 24, "kodim01.png", "kodim24.png"),
        ("kodak_512", 24, "kodim01.png", "kodim24.png"),
        ("div2k_valid_x2", 100, "0801x2.png", "0900x2.png"),
        ("div2k_valid_hr", 100, "0801.png", "0900.png"),
        ("div8k", 16, "0001.png", "1454.png"),
        ("div16k", 8, "0810_moreDetail_x8_16320x12288.png", "0896_moreDetail_x8_16320x10848.png"),
        ("sample", 4, "astronaut.png", "rocket.jpg"),
    ],
)
def test_images_of_ours(name, count, first, last):
    images = [entry.name for entry in get_dataset(name).images]
    assert (len(images), images[0], images[-1]) == (count, first, last)
    assert images == sorted(images)


def test_kodak_agrees_with_the_published_list_digest():
    """SHA-256 of the output of `sha256sum kodim*.png`, as two independent public lists give it."""
    lines = "".join(f"{entry.sha256}  {entry.name}\n" for entry in get_dataset("kodak").images)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert digest == "3eaa5bd52eb8c894d351cf607028f5d3d80e778fd0267eeff8c73d66539a25d5"


def test_smartsplat_sizes_have_the_published_means():
    """DIV8K: mean area 31.86 Mpx. DIV16K: mean sides 12684 x 15898 (the authors' logs)."""
    areas = [entry.width * entry.height for entry in get_dataset("div8k").images]
    assert sum(areas) / len(areas) == pytest.approx(31.86e6, rel=2e-4)
    images = get_dataset("div16k").images
    assert sum(entry.height for entry in images) // 8 == 12684 and sum(entry.width for entry in images) // 8 == 15898
    assert sorted(entry.name[:4] for entry in images if entry.width == 16312) == ["0873", "0896"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"title": None}, "title: Field required"),
        ({"images": [{"name": "../a.png"}]}, "not a plain file name"),
        ({"images": [{"name": "/etc/passwd"}]}, "not a plain file name"),
        ({"images": [{"name": ".hidden.png"}]}, "not a plain file name"),
        ({"images": [{"name": "a.png"}, {"name": "a.png"}]}, "listed twice"),
        ({"images": [{"name": "a.png", "sha256": "12"}]}, "images.0.sha256"),
        ({"images": [{"name": "a.png", "width": 0}]}, "images.0.width"),
        ({"images": []}, "no images"),
        ({"homepage": None}, "homepage: needed unless"),
        ({"base_url": None}, "where the images come from"),
        ({"base_url": "file:///etc/"}, "base_url"),
        ({"numbered": {"pattern": "{:04d}.png", "first": 1, "last": 3}}, "outside of `numbered`: a.png"),
        ({"numbered": {"pattern": "{0.__class__}", "first": 1, "last": 3}}, "numbered.pattern"),
        ({"source": "kodak"}, "the two belong together"),
        ({"name": "other"}, "must be the file's name"),
    ],
)
def test_wrong_manifests_are_told_what_is_wrong(own_manifest, changes, problem):
    own_manifest(changes)
    with pytest.raises(DatasetError, match=re.escape(problem)) as caught:
        load_manifest("mine")
    assert "mine.yaml" in str(caught.value)


def test_unreadable_manifests_are_named(tmp_path, own_manifest):
    for content in ("a: [1", "- 1\n", "!!python/object/apply:os.system ['true']"):
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(DatasetError, match=r"bad\.yaml"):
            available_datasets()


def test_own_manifests_come_first(own_manifest):
    own_manifest({"name": "kodak", "title": "Another Kodak"}, name="kodak")
    assert get_dataset("kodak").title == "Another Kodak" and len(manifest_folders()) == 2


def test_unknown_names_get_the_nearest():
    with pytest.raises(DatasetError, match="unknown data set 'kodac'; did you mean 'kodak'"):
        get_dataset("kodac")
    with pytest.raises(DatasetError, match="no such folder"):
        get_dataset("./kodac")
    with pytest.raises(DatasetError, match=r"no image 'kodim25.png'; did you mean"):
        get_dataset("kodak").entry("kodim25.png")
    assert get_dataset("kodak").entry("kodim07").name == "kodim07.png"


def test_import_is_cheap():
    """The CLI imports this package: none of the slow libraries may come along."""
    heavy = ("torch", "skimage", "httpx", "pandas", "matplotlib")
    code = f"import sys, splatbench.datasets; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
