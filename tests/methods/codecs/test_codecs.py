"""The codecs: quality and rate, lossless, limits, refusals, and files that are not what they say."""

from __future__ import annotations

import io
import math

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from splatbench.budget import Budget
from splatbench.codec import BitstreamError, Limits, decode
from splatbench.codec.picture_headers import jxl_size, picture_format, webp_size
from splatbench.codec.pictures import decode_picture
from splatbench.method import Method, MethodError, get_method
from splatbench.trace import Trace

LOSSY = ("jpeg", "webp", "avif", "jxl")
LOSSLESS = ("webp", "jxl", "png")
NAMES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL", "png": "PNG"}


def make(**settings: object) -> Method:
    kind = get_method("codecs")
    return kind(kind.make_config(settings))


def encode(image: np.ndarray, budget: Budget, **settings: object) -> bytes:
    method = make(**settings)
    return method.to_bytes(method.encode(image, budget, Trace()))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return 10 * math.log10(255**2 / error) if error else math.inf


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def picture(photograph: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photograph[60:252, 80:280])


# -- what comes out ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("codec", LOSSY)
def test_more_quality_is_more_bytes_and_less_error(codec: str, picture: np.ndarray) -> None:
    files = [encode(picture, Budget(quality=q), codec=codec) for q in (5, 30, 60, 90)]
    values = [psnr(decode(data, make(codec=codec).suffix), picture) for data in files]
    assert sorted(map(len, files)) == list(map(len, files)) and sorted(values) == values
    assert values[0] > 22 and values[-1] > 36


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("end", [0, 1])
def test_both_ends_of_the_scale(codec: str, end: int, picture: np.ndarray) -> None:
    quality = make(codec=codec).config.format.qualities[end]
    decoded = decode_picture(encode(picture, Budget(quality=quality), codec=codec))
    assert psnr(decoded, picture) > (18 if end == 0 else 40)


@pytest.mark.parametrize("codec", LOSSLESS)
def test_lossless_is_exact(codec: str, picture: np.ndarray) -> None:
    data = encode(picture, Budget(native=True), codec=codec, lossless=True)
    assert np.array_equal(decode_picture(data), picture)
    assert len(data) < picture.size


@pytest.mark.parametrize("codec", ["jpeg", "webp", "avif"])
def test_another_decoder_sees_the_same_picture(codec: str, picture: np.ndarray) -> None:
    data = encode(picture, Budget(quality=60), codec=codec)
    other = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_picture(data), other)


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (17, 23), (64, 64), (256, 384)])
def test_odd_sizes(codec: str, shape: tuple[int, int]) -> None:
    """The size in the header, which is read before anything is decoded, is that of the picture."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    lossless = [encode(image, Budget(native=True), codec=codec, lossless=True)] if codec in LOSSLESS else []
    for data in (encode(image, Budget(quality=75), codec=codec), *lossless):
        assert decode_picture(data, NAMES[codec]).shape == image.shape
        size = {"webp": webp_size, "jxl": jxl_size}.get(codec)
        assert size is None or size(data) == shape


@pytest.mark.parametrize("height", [1, 8, 255, 256, 257, 511, 512, 513, 8191, 8193])
def test_every_form_of_jpeg_xls_size(height: int) -> None:
    for width in (1, 8, height, height * 3 // 2, height * 16 // 9, height * 2, 264):
        image = np.zeros((height, max(width, 1), 3), np.uint8)
        assert jxl_size(imagecodecs.jpegxl_encode(image, effort=1, usecontainer=False)) == image.shape[:2]


@pytest.mark.parametrize(
    ("codec", "settings"),
    [
        ("jpeg", {"subsampling": "4:4:4"}),
        ("avif", {"subsampling": "4:4:4"}),
        ("webp", {"effort": 6}),
        ("avif", {"effort": 9}),
        ("jxl", {"effort": 4}),
        ("png", {"effort": 0}),
    ],
)
def test_settings_reach_the_encoder(codec: str, settings: dict[str, object], picture: np.ndarray) -> None:
    budget = Budget(native=True) if codec == "png" else Budget(quality=80)
    usual, other = encode(picture, budget, codec=codec), encode(picture, budget, codec=codec, **settings)
    assert usual != other
    if "subsampling" in settings:
        assert psnr(decode_picture(other), picture) > psnr(decode_picture(usual), picture)
    if codec in ("webp", "png"):  # most effort, none
        assert (len(other) < len(usual)) == (codec == "webp")


@pytest.mark.parametrize("codec", LOSSY)
def test_same_picture_same_bytes(codec: str, picture: np.ndarray) -> None:
    assert len({encode(picture, Budget(quality=50), codec=codec) for _ in range(3)}) == 1


# -- rates ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("bpp", [0.5, 2.0])
def test_the_nearest_file_is_found(codec: str, bpp: float, picture: np.ndarray) -> None:
    target = bpp * picture.shape[0] * picture.shape[1] / 8
    file = make(codec=codec).encode(picture, Budget(bpp=bpp), Trace())
    lowest, highest = make(codec=codec).config.format.qualities
    around = range(max(lowest, file.quality - 3), min(highest, file.quality + 3) + 1)
    sizes = [len(encode(picture, Budget(quality=q), codec=codec)) for q in around]
    assert abs(len(file.data) - target) == min(abs(size - target) for size in sizes)
    assert len(file.data) == pytest.approx(target, rel=0.05)


@pytest.mark.parametrize("codec", LOSSY)
def test_rates_out_of_reach_are_refused(codec: str, picture: np.ndarray) -> None:
    for bpp, end in ((1e-4, "smallest"), (99.0, "largest")):
        with pytest.raises(MethodError, match=f"the {end} file of"):
            encode(picture, Budget(bpp=bpp), codec=codec)


def test_the_record_says_how_far_off_a_rate_is(picture: np.ndarray) -> None:
    method, trace = make(codec="jpeg"), Trace()
    file = method.encode(picture, Budget(bpp=1.0), trace)
    off = 8 * len(file.data) / (picture.shape[0] * picture.shape[1]) - 1
    assert trace.notes == [f"quality {file.quality}: {100 * off:+.1f} % of the rate asked for"]
    assert set(trace.stages) == {"search", "encode"}


# -- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("budget", "settings", "sentence"),
    [
        (Budget(gaussians=5), {}, "JPEG takes a quality or a bit rate"),
        (Budget(native=True), {"codec": "avif"}, "AVIF takes a quality or a bit rate"),
        (Budget(quality=5), {"codec": "png"}, "lossless PNG takes the native budget"),
        (Budget(bpp=1.0), {"codec": "jxl", "lossless": True}, "lossless JPEG XL takes the native budget"),
        (Budget(quality=0), {}, "JPEG quality must be 1 to 100, got 0"),
        (Budget(quality=100), {"codec": "jxl"}, "JPEG XL quality must be 0 to 99, got 100"),
        (Budget(quality=-1), {"codec": "webp"}, "WebP quality must be 0 to 100, got -1"),
    ],
)
def test_budgets_that_do_not_fit(budget: Budget, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(MethodError) as caught:
        encode(np.zeros((4, 4, 3), np.uint8), budget, **settings)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"codec": "gif"}, "codec"),
        ({"effort": 3}, "effort of JPEG cannot be chosen"),
        ({"codec": "webp", "effort": 7}, "effort of WebP must be 0 to 6"),
        ({"codec": "webp", "subsampling": "4:4:4"}, "WebP is always 4:2:0"),
        ({"codec": "avif", "lossless": True}, "AVIF is not written lossless"),
    ],
)
def test_settings_that_a_format_does_not_have(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        make(**settings)


@pytest.mark.parametrize(
    ("codec", "shape", "sentence"),
    [
        ("jpeg", (1, 65536), "JPEG holds sides of up to 65535 pixels, the picture has 65536x1"),
        ("webp", (16384, 1), "WebP holds sides of up to 16383 pixels, the picture has 1x16384"),
        ("avif", (16385, 16384), "AVIF holds up to 268435456 pixels, the picture has 16384x16385"),
    ],
)
def test_pictures_that_a_format_cannot_hold(codec: str, shape: tuple[int, int], sentence: str) -> None:
    image = np.broadcast_to(np.zeros(3, np.uint8), (*shape, 3))  # takes no memory
    with pytest.raises(MethodError, match=sentence):
        encode(image, Budget(quality=5), codec=codec)


@pytest.mark.parametrize("codec", ["webp", "avif"])
def test_a_library_without_the_format_is_named(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(codec=codec).prepare()
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != codec)
    make(codec="jpeg").prepare()
    with pytest.raises(MethodError, match=f"{NAMES[codec]} cannot be written: this pillow was built without it"):
        make(codec=codec).prepare()


@pytest.mark.parametrize("codec", NAMES)
def test_other_files_are_refused(codec: str, picture: np.ndarray) -> None:
    budget = Budget(native=True) if codec == "png" else Budget(quality=60)
    good = encode(picture, budget, codec=codec)
    for data in (b"", b"text", good[:4], good[: len(good) // 2], good[100:], saved("BMP")):
        with pytest.raises(BitstreamError):
            decode_picture(data)
    with pytest.raises(BitstreamError, match=f"expected a {NAMES[codec]} file"):
        decode_picture(saved("PNG" if codec != "png" else "JPEG"), NAMES[codec])
    with pytest.raises(BitstreamError, match="beyond the limits"):
        decode_picture(good, limits=Limits(pixels=picture.shape[0] * picture.shape[1] - 1))


@pytest.mark.parametrize(
    "data",
    [
        saved("JPEG", "L"),
        saved("PNG", "RGBA"),
        saved("WEBP", "RGBA"),
        saved("WEBP", "RGBA", lossless=True),
        saved("AVIF", "RGBA"),
        saved("WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
        saved("AVIF", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
        bytes(imagecodecs.jpegxl_encode(np.zeros((8, 8, 4), np.uint8), usecontainer=False)),
        bytes(imagecodecs.jpegxl_encode(np.zeros((8, 8, 3), np.uint16), usecontainer=False)),
        bytes(imagecodecs.jpegxl_encode(np.zeros((8, 8), np.uint8), usecontainer=False)),
        bytes(imagecodecs.jpegxl_encode(np.zeros((3, 8, 8, 3), np.uint8), usecontainer=False)),
    ],
)
def test_only_still_pictures_of_three_channels_of_8_bits(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        decode_picture(data)


# -- small files that declare huge pictures ---------------------------------------------------------------------------
def huge(codec: str) -> bytes:
    """A small file whose header says 16000 or more pixels a side."""
    if codec == "jpeg":
        data = bytearray(saved("JPEG"))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = (30000).to_bytes(2, "big") * 2
    elif codec == "webp":
        data = bytearray(saved("WEBP"))
        data[26:30] = (16000).to_bytes(2, "little") * 2
    elif codec == "avif":
        data = bytearray(saved("AVIF"))
        at = data.index(b"ispe") + 8
        data[at : at + 8] = (16000).to_bytes(4, "big") * 2
    else:
        # Not of the small form; height: choice 2 (18 bits), 29999; ratio 1:1; all metadata at their defaults.
        bits = 0 | 2 << 1 | 29999 << 3 | 1 << 21 | 1 << 24
        data = bytearray(b"\xff\x0a" + bits.to_bytes(4, "little") + bytes(20))
    return bytes(data)


@pytest.mark.parametrize("codec", LOSSY)
def test_a_small_file_cannot_declare_a_huge_picture(codec: str) -> None:
    """Refused by its header, before memory is allocated for it."""
    assert picture_format(huge(codec)) == NAMES[codec]
    with pytest.raises(BitstreamError, match="pixels cannot come from a file"):
        decode_picture(huge(codec))


@pytest.mark.parametrize("codec", LOSSY)
def test_a_flat_picture_can_be_decoded(codec: str) -> None:
    """The most redundant picture there is does not meet that bound."""
    image = np.full((1024, 1024, 3), 77, np.uint8)
    lowest = make(codec=codec).config.format.qualities[0]
    effort = {"avif": 10, "jxl": 1}.get(codec)
    assert np.ptp(decode_picture(encode(image, Budget(quality=lowest), codec=codec, effort=effort))) <= 8
