"""Pages of data sets."""

from __future__ import annotations

import pytest

from splatbench.datasets.manifest import Manifest, available_datasets, load_manifest
from splatbench.site import datasets
from splatbench.site.build import make_environment, render
from splatbench.site.page import Site
from splatbench.site.rows import site_rows
from tests.site.test_verdicts import IMAGES, published, run

NAMES = [f"image{i}" for i in range(9)]


def made(source) -> tuple[Site, dict[str, str]]:
    site = source if isinstance(source, Site) else Site(source, site_rows(source))
    environment = make_environment()
    return site, {page.path: render(environment, site, page) for page in datasets.pages(site)}


def entry(records, name: str) -> datasets.Entry:
    site = Site(records, site_rows(records))
    found = next(page for page in datasets.pages(site) if page.path == datasets.dataset_address(site, name))
    return found.context["entry"]


def test_every_manifest_and_every_paper_s_data_set_has_a_page():
    site, pages = made(published())
    assert {f"datasets/{name.replace('_', '-')}.html" for name in available_datasets()} <= pages.keys()
    assert "no manifest" in pages["datasets/image-gs-45.html"]
    kodak = pages["datasets/kodak.html"]
    assert "splatbench data fetch kodak" in kodak and "768×512 (18)" in kodak and "a hash of every picture" in kodak
    assert all(site.image_page("kodak", image) in kodak for image in site.images["kodak"])
    assert "verdicts/air-table1.html" in kodak and "leaderboard.html#dataset=kodak&amp;track=gaussians" in kodak
    assert "Nothing was measured" in pages["datasets/div8k.html"]


def test_hard_and_easy_images_by_the_rows_that_have_all():
    def of(values, **changes):
        return [r for name, v in zip(NAMES, values, strict=False) for r in run(v, images=(name,), **changes)]

    records = [
        *of(range(20, 29)),
        *of(range(30, 39), config_hash="b"),
        *of((90.0,), config_hash="c"),  # one image alone: says nothing
        *of([99.0] * 9, config_hash="d", column="control"),
    ]
    found = entry(records, "kodak")
    assert found.complete == 2
    assert [image.mean for image in found.images] == pytest.approx(range(25, 34))
    assert [image.place for image in found.images] == ["hardest"] * 3 + [""] * 3 + ["easiest"] * 3
    assert found.images[0].results == 4


def test_few_images_are_neither_hard_nor_easy():
    found = entry(run(), "kodak")
    assert len(found.images) == len(IMAGES) and {image.place for image in found.images} == {""}


def test_without_a_complete_row_nothing_is_said():
    records = [*run(images=IMAGES[:2]), *run(images=IMAGES[2:], config_hash="b")]
    found = entry(records, "kodak")
    assert found.complete == 0 and {image.mean for image in found.images} == {None}
    _, pages = made(records)
    assert "No row has every image" in pages["datasets/kodak.html"]


def test_a_folder_with_a_hostile_name():
    bad = '"><script>alert(1)</script>/../&target=x'
    site, pages = made(run(dataset=bad))
    page = pages[site.dataset_page(bad)]
    assert "no manifest" in page and "<script>alert" not in page
    (target,) = entry(run(dataset=bad), bad).targets
    assert "&target=x" not in target.address.replace("&target=N", "") and "<" not in target.address


def test_a_manifest_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("name: mine\ntitle: Mine\n")
    monkeypatch.setenv("SPLATBENCH_DATASETS", str(tmp_path))
    site, pages = made(run(dataset="mine"))
    assert "cannot be read" in pages["datasets/mine.html"] and str(tmp_path) not in pages["datasets/mine.html"]
    assert any("data set mine" in problem for problem in site.problems)


@pytest.mark.parametrize(
    ("name", "checks", "source"),
    [
        ("div8k", "the size alone", "downloaded"),
        ("div2k_valid_hr", "the archive's hash when downloaded, else the size", "downloaded"),
        ("div2k_valid_x2", "a hash of 2 pictures, the others by the archive's hash when downloaded", "downloaded"),
        ("kodak_512", "a hash of every picture", "central crops of kodak"),
        ("sample", "a hash of every picture", "inside an installed package"),
        ("div16k", "the size alone", "a person has to get them"),
    ],
)
def test_facts_of_manifests(name, checks, source):
    facts = datasets.facts_of(load_manifest(name))
    assert facts["Checked by"].startswith(checks) and facts["Source"].startswith(source)


def test_sizes_that_are_not_known():
    images = [{"name": "a.png", "width": 4, "height": 3}, {"name": "b.png"}]
    manifest = Manifest.model_validate(
        {"name": "x", "title": "X", "licence": "-", "citation": "-", "homepage": "https://example.org",
         "base_url": "https://example.org/", "images": images}
    )  # fmt: skip
    assert datasets.facts_of(manifest)["Size"] == "4×3 (1), not known beforehand (1)"
