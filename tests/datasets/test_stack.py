"""Texture stacks: the order of the files, what becomes channels, what is refused and how it is said."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from splatbench.datasets import ImageError, load_picture, load_stack

RNG = np.random.default_rng(8)
RGB = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (9, 7), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (9, 7, 1), dtype=np.uint8)


def save(folder, name, pixels):
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


def test_channels_in_the_order_of_names_without_regard_to_case(tmp_path):
    save(tmp_path / "wood", "Beta.png", RGB)
    save(tmp_path / "wood", "alpha.png", GREY)
    save(tmp_path / "wood", "gamma.png", 255 - RGB)
    stack = load_stack(tmp_path / "wood")
    np.testing.assert_array_equal(stack.pixels, np.concatenate([GREY[..., None], RGB, 255 - RGB], 2))
    assert (stack.groups, stack.notes) == ((1, 3, 3), [])
    assert stack.pixels.flags.c_contiguous and stack.pixels.dtype == np.uint8


def test_alpha_is_dropped_and_not_laid_over_anything(tmp_path):
    save(tmp_path / "wood", "a.png", np.concatenate([RGB, ALPHA], 2))
    save(tmp_path / "wood", "b.png", np.concatenate([GREY[..., None], ALPHA], 2))
    stack = load_stack(tmp_path / "wood")
    np.testing.assert_array_equal(stack.pixels, np.concatenate([RGB, GREY[..., None]], 2))
    assert stack.notes == ["a.png: alpha dropped", "b.png: alpha dropped"]


def test_other_files_are_left_out_and_said(tmp_path):
    save(tmp_path / "wood", "a.png", GREY)
    (tmp_path / "wood" / "licence.txt").write_text("free")
    (tmp_path / "wood" / ".hidden").write_text("")
    (tmp_path / "wood" / "more.png").mkdir()
    stack = load_stack(tmp_path / "wood")
    assert stack.groups == (1,)
    assert stack.notes == [f"{name}: not a picture, left out of the stack" for name in ("licence.txt", "more.png")]


def test_a_folder_or_a_file(tmp_path):
    save(tmp_path / "wood", "a.png", GREY)
    assert load_picture(tmp_path / "wood").pixels.shape == (9, 7, 1)
    picture = load_picture(tmp_path / "wood" / "a.png")
    assert (picture.pixels.shape, picture.groups) == ((9, 7, 3), (3,))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("b.png", lambda p: Image.fromarray(RGB[:, :5]).save(p), "b.png: 5x9 pixels, but a.png has 7x9"),
        ("b.png", lambda p: Image.fromarray(RGB).quantize(8).save(p), "b.png: .* not colour mode P; save it"),
        ("b.png", lambda p: Image.fromarray(GREY.astype(np.uint16) * 257).save(p), "b.png: .* not 16 bits per channel"),
        ("b.tif", lambda p: Image.fromarray(np.zeros((9, 7, 4), np.uint8), "CMYK").save(p), "b.tif: .* mode CMYK"),
        ("b.png", lambda p: p.write_bytes(b"nothing"), "b.png: is not an image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path, name, write, message):
    save(tmp_path / "wood", "a.png", RGB)
    write(tmp_path / "wood" / name)
    with pytest.raises(ImageError, match=message):
        load_stack(tmp_path / "wood")


def test_an_empty_folder(tmp_path):
    with pytest.raises(ImageError, match="holds no pictures to stack"):
        load_stack(tmp_path)
