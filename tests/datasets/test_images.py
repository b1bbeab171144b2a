"""Odd pictures: what every kind becomes, what is noted, what is refused and how it is said."""

from __future__ import annotations

import hashlib
import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from splatbench.datasets import ImageError, load_image, pixel_sha256
from splatbench.datasets import images as images_module
from splatbench.datasets.images import image_size

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (7, 11, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (7, 11), dtype=np.uint8)


def saved(path: Path, pixels, mode=None, **options) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    image.save(path, **options)
    return path


def png16(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG by the PNG specification (Pillow cannot write colour with 16 bits); uint16 [H, W, C], C = 1..4."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp", ".qoi"])
def test_rgb_in_any_lossless_format_is_the_same_picture(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    loaded = load_image(saved(tmp_path / f"a{suffix}", RGB, **options))
    np.testing.assert_array_equal(loaded.pixels, RGB)
    assert loaded.pixels.dtype == np.uint8 and loaded.pixels.flags.c_contiguous and loaded.notes == []
    assert pixel_sha256(loaded.pixels) == hashlib.sha256(RGB.tobytes()).hexdigest()


def test_grey_is_replicated(tmp_path):
    loaded = load_image(saved(tmp_path / "g.png", GREY))
    np.testing.assert_array_equal(loaded.pixels, np.stack([GREY] * 3, axis=2))
    assert loaded.notes == []


def test_black_and_white(tmp_path):
    bits = GREY > 127
    loaded = load_image(saved(tmp_path / "b.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(loaded.pixels, np.repeat(bits[..., None] * np.uint8(255), 3, axis=2))


def test_palette_is_looked_up(tmp_path):
    palette = RNG.integers(0, 256, (5, 3), dtype=np.uint8)
    index = RNG.integers(0, 5, (6, 4), dtype=np.uint8)
    image = Image.fromarray(index, "L").convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(load_image(saved(tmp_path / "p.png", image)).pixels, palette[index])
    np.testing.assert_array_equal(load_image(saved(tmp_path / "p.gif", image)).pixels, palette[index])


def test_palette_with_a_transparent_entry_lies_over_white(tmp_path):
    image = Image.new("P", (3, 2), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    loaded = load_image(saved(tmp_path / "pt.png", image, transparency=1))
    expected = np.full((2, 3, 3), (10, 20, 30), np.uint8)
    expected[0, 1] = 255
    np.testing.assert_array_equal(loaded.pixels, expected)
    assert loaded.notes == ["transparency laid over white"]


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, (4, 5, 4)))
def test_alpha_lies_over_white_as_the_arithmetic_says(rgba):
    with io.BytesIO() as file:
        Image.fromarray(rgba, "RGBA").save(file, "PNG")
        content = file.getvalue()
    loaded = _load_bytes(content)
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:].astype(float) / 255
    exact = colour * alpha + 255 * (1 - alpha)
    assert np.abs(loaded.pixels - exact).max() <= 1.0
    opaque = rgba[..., 3] == 255
    np.testing.assert_array_equal(loaded.pixels[opaque], rgba[opaque][:, :3])
    assert bool(loaded.notes) == (not opaque.all())


def _load_bytes(content: bytes):
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(content)
        file.flush()
        return load_image(file.name)


def test_opaque_alpha_is_dropped_without_a_note(tmp_path):
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    loaded = load_image(saved(tmp_path / "o.png", rgba))
    np.testing.assert_array_equal(loaded.pixels, RGB)
    assert loaded.notes == []


def test_grey_with_alpha(tmp_path):
    la = np.dstack([GREY, np.full(GREY.shape, 255, np.uint8)])
    la[0, 0] = (0, 0)
    loaded = load_image(saved(tmp_path / "la.png", Image.fromarray(la, "LA")))
    assert loaded.pixels[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(loaded.pixels[1:], np.repeat(GREY[1:, :, None], 3, axis=2))
    assert loaded.notes == ["transparency laid over white"]


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_the_high_eight_whatever_the_channels(tmp_path, channels):
    deep = RNG.integers(0, 65536, (6, 5, channels), dtype=np.uint16)
    (tmp_path / "d.png").write_bytes(png16(deep))
    loaded = load_image(tmp_path / "d.png")
    np.testing.assert_array_equal(loaded.pixels, np.broadcast_to(deep >> 8, (6, 5, 3)))
    assert loaded.notes == ["16 bits per channel reduced to the high 8 bits"]


def test_sixteen_bits_are_the_inverse_of_widening(tmp_path):
    (tmp_path / "w.png").write_bytes(png16(RGB.astype(np.uint16) * 257))
    np.testing.assert_array_equal(load_image(tmp_path / "w.png").pixels, RGB)


def test_sixteen_bit_colour_with_alpha(tmp_path):
    deep = np.concatenate([RGB.astype(np.uint16) * 257, np.full((7, 11, 1), 65535, np.uint16)], axis=2)
    (tmp_path / "da.png").write_bytes(png16(deep))
    np.testing.assert_array_equal(load_image(tmp_path / "da.png").pixels, RGB)


def test_sixteen_bit_tiff(tmp_path):
    import tifffile

    for name, pixels in (("grey", GREY), ("rgb", RGB)):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels.astype(np.uint16) * 257)
        loaded = load_image(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(loaded.pixels, RGB if name == "rgb" else np.stack([GREY] * 3, axis=2))
        assert loaded.notes == ["16 bits per channel reduced to the high 8 bits"]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_samples_without_an_eight_bit_value_are_refused(tmp_path, kind):
    saved(tmp_path / "f.tif", Image.fromarray(GREY.astype(kind)))
    with pytest.raises(ImageError, match=r"f\.tif: 32-bit samples"):
        load_image(tmp_path / "f.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_converted_with_a_note(tmp_path, suffix):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    loaded = load_image(saved(tmp_path / f"c{suffix}", image))
    assert np.abs(loaded.pixels.astype(int) - (255, 0, 0)).max() <= 3
    assert loaded.notes == ["converted from CMYK to RGB without a colour profile"]


def test_orientation_and_profile_are_noted_and_not_applied(tmp_path):
    from PIL import ImageCms

    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    loaded = load_image(saved(tmp_path / "e.png", RGB, exif=exif, icc_profile=profile))
    np.testing.assert_array_equal(loaded.pixels, RGB)
    assert len(loaded.notes) == 2 and "colour profile" in loaded.notes[0] and "orientation 6" in loaded.notes[1]


@pytest.mark.parametrize("shape", [(1, 1), (2000, 3), (3, 2000), (1, 17)])
def test_extreme_shapes(tmp_path, shape):
    pixels = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(load_image(saved(tmp_path / "s.png", pixels)).pixels, pixels)
    assert image_size(tmp_path / "s.png") == shape[::-1]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_several_frames_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (0, 120, 255)]
    frames[0].save(tmp_path / f"m{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=rf"m\{suffix}: has 3 frames"):
        load_image(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm", ".gif"])
@pytest.mark.parametrize("keep", [0.97, 0.5, 0.1])
def test_truncated_files_are_refused_by_name(tmp_path, suffix, keep):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path / f"whole{suffix}", noise).read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ImageError, match=rf"cut\{suffix}: "):
        load_image(tmp_path / f"cut{suffix}")


def test_every_cut_of_a_png_is_refused(tmp_path):
    whole = saved(tmp_path / "w.png", RGB).read_bytes()
    for length in range(len(whole) - 4):  # without the end mark's own CRC all pixels are still there and checked
        (tmp_path / "c.png").write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"c\.png"):
            load_image(tmp_path / "c.png")


def test_every_flipped_byte_of_a_png_gives_the_picture_or_an_error(tmp_path):
    whole = saved(tmp_path / "w.png", RGB).read_bytes()
    same = 0
    for at in range(len(whole)):
        (tmp_path / "f.png").write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            np.testing.assert_array_equal(load_image(tmp_path / "f.png").pixels, RGB)
            same += 1
        except ImageError:
            pass
    assert same <= 12  # the end mark's own bytes at most


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"P6\n", b"II*\0"]),
)
def test_arbitrary_bytes_give_a_picture_or_an_image_error(content, magic):
    try:
        loaded = _load_bytes(magic + content)
    except ImageError:
        return
    assert loaded.pixels.dtype == np.uint8 and loaded.pixels.shape[2] == 3


def test_text_named_png_says_what_it_is(tmp_path):
    (tmp_path / "notes.png").write_text("Hello, I am a text.\n")
    with pytest.raises(ImageError, match=r"notes\.png: is not an image.*Hello, I am.*Replace it or take it out"):
        load_image(tmp_path / "notes.png")


def test_empty_missing_folder_and_unreadable(tmp_path):
    (tmp_path / "zero.png").touch()
    for name, reason in (("zero.png", "empty"), ("none.png", "no such file"), (".", "folder")):
        with pytest.raises(ImageError, match=reason):
            load_image(tmp_path / name)


def test_postscript_is_never_opened(tmp_path):
    """Pillow would call Ghostscript for it."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="not an image"):
        load_image(tmp_path / "x.png")


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims width x height pixels and holds next to none."""
    tiny = png16(np.zeros((1, 1, 3), np.uint16))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return tiny[:16] + header + crc + tiny[33:]


def test_decompression_bomb_is_refused_by_its_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb(100_000, 100_000))
    with pytest.raises(ImageError, match=r"bomb\.png: claims 100000x100000 pixels, more than the limit"):
        load_image(tmp_path / "bomb.png")


def test_largest_benchmark_picture_is_within_the_limit_and_pillows_own_is_restored(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    assert 2 * before < 16320 * 16320 < images_module.MAX_PIXELS  # Pillow alone would refuse it
    (tmp_path / "div16k.png").write_bytes(bomb(16320, 16320))
    assert image_size(tmp_path / "div16k.png") == (16320, 16320)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.slow
def test_16320_by_16320_loads(tmp_path):
    rows = np.arange(16320, dtype=np.uint32)[:, None]
    pixels = np.empty((16320, 16320, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = (rows * (channel + 1) + rows.T // 7) & 0xFF
    Image.fromarray(pixels).save(tmp_path / "big.png", compress_level=1)
    expected = pixel_sha256(pixels)
    del pixels
    assert pixel_sha256(load_image(tmp_path / "big.png").pixels) == expected


def test_strips_do_not_change_the_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(images_module, "_STRIP", 23)
    np.testing.assert_array_equal(load_image(saved(tmp_path / "a.png", RGB)).pixels, RGB)


@pytest.mark.parametrize("wrong", [RGB.astype(float), GREY, np.dstack([RGB, GREY])])
def test_pixel_hash_is_of_rgb8_alone(wrong):
    with pytest.raises(ValueError, match="uint8"):
        pixel_sha256(wrong)


def test_pixel_hash_of_a_view(tmp_path):
    assert pixel_sha256(RGB[::2, ::-1]) == hashlib.sha256(np.ascontiguousarray(RGB[::2, ::-1]).tobytes()).hexdigest()
