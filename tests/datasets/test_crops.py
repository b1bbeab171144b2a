"""Data sets that are cut out of others."""

from __future__ import annotations

import re

import numpy as np
import pytest

from splatbench.datasets import DatasetError, ImageError, get_dataset, load_image, pixel_sha256
from splatbench.datasets.download import RetryPolicy
from splatbench.datasets.fetch import fetch_dataset
from splatbench.datasets.images import central_crop

QUICK = RetryPolicy(attempts=1, first_wait=0.01, longest_wait=0.02, timeout=5.0)


def test_the_middle_of_even_and_odd_sizes():
    pixels = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)
    np.testing.assert_array_equal(central_crop(pixels, 2, 5), pixels[2:4, 2:7])
    np.testing.assert_array_equal(central_crop(pixels, 3, 4), pixels[1:4, 2:6])
    np.testing.assert_array_equal(central_crop(pixels, 6, 9), pixels)
    assert central_crop(pixels, 6, 5).flags.c_contiguous
    with pytest.raises(ImageError, match="of 9x6 pixels has no crop of 9x7"):
        central_crop(pixels, 7, 9)


@pytest.fixture
def crops(manifest, pictures, server, reply):
    """`whole` at a server, and `middle`, its central 5 x 4 pixels."""
    for picture in pictures:
        server.route(f"/d/{picture.name}", reply(picture.content))
    manifest("whole", base_url=server.url + "/d/", images=[p.entry for p in pictures])
    images = []
    for p in pictures:
        digest = pixel_sha256(central_crop(p.pixels, 4, 5))
        images.append({"name": p.name, "width": 5, "height": 4, "pixel_sha256": digest})
    manifest("middle", generator="central_crop", source="whole", images=images)
    return pictures


def test_crops_are_made_and_their_originals_fetched(crops):
    results = fetch_dataset(get_dataset("middle"), policy=QUICK)
    assert [r.status for r in results] == ["fetched"] * len(crops)
    for result, picture in zip(results, crops, strict=True):
        located = get_dataset("middle").locate(picture.name)
        assert located.verified and located.path == result.path and not located.notes
        np.testing.assert_array_equal(load_image(located.path).pixels, central_crop(picture.pixels, 4, 5))
        assert get_dataset("whole").locate(picture.name).verified
    again = fetch_dataset(get_dataset("middle"), policy=QUICK)
    assert [r.status for r in again] == ["present"] * len(crops)


def test_without_the_original_the_reason_says_so(crops, server, manifest, pictures, unused_url):
    manifest("whole", base_url=unused_url.removesuffix("a.bin"), images=[p.entry for p in pictures])
    (result, *_) = fetch_dataset(get_dataset("middle"), [crops[0].name], policy=QUICK)
    assert result.status == "failed" and result.message.startswith("it is cut from whole: ")


def test_crops_of_other_pixels_are_not_kept(crops, manifest):
    image = {"name": crops[0].name, "width": 5, "height": 4, "pixel_sha256": "0" * 64}
    manifest("middle", generator="central_crop", source="whole", images=[image])
    (result,) = fetch_dataset(get_dataset("middle"), policy=QUICK)
    assert result.status == "failed" and "the pixels differ" in result.message
    manifest("middle", generator="central_crop", source="whole", images=[image | {"width": 4000}])
    (result,) = fetch_dataset(get_dataset("middle"), policy=QUICK)
    assert result.status == "failed" and re.search(r"has no crop of 4000x4", result.message)


def test_a_crop_needs_its_source(manifest):
    manifest("middle", generator="central_crop", images=[{"name": "a.png", "width": 5, "height": 4}])
    with pytest.raises(DatasetError, match="the two belong together"):
        get_dataset("middle")


def test_kodak_512_is_cut_from_kodak(kodak):
    for name in ("kodim01", "kodim04"):  # landscape, portrait
        middle = central_crop(load_image(kodak / f"{name}.png").pixels, 512, 512)
        assert pixel_sha256(middle) == get_dataset("kodak_512").entry(name).pixel_sha256
