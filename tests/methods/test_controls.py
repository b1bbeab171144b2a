"""The controls: exactness, order of quality, budgets, odd sizes, damaged files."""

from __future__ import annotations

import io
import math
import zlib

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from splatbench.budget import Budget
from splatbench.codec import Attribute, BitstreamError, decode, read, write
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method, MethodError, get_method
from splatbench.trace import Trace

CONTROLS = {
    "identity": Budget(native=True),
    "codecs": Budget(quality=75),
    "downsample": Budget(gaussians=300),
    "random_gaussians": Budget(gaussians=300),
}


def make(name: str, **settings: object) -> Method:
    kind = get_method(name)
    return kind(kind.make_config(settings))


def encode(name: str, image: np.ndarray, budget: Budget, seed: int = 1, **settings: object) -> bytes:
    method = make(name, **settings)
    return method.to_bytes(method.encode(image, budget, Trace(), seed))


def picture(name: str, data: bytes) -> np.ndarray:
    decoded = decode(data, make(name).suffix)
    assert isinstance(decoded, np.ndarray)
    return decoded


def picture_of_gaussians(g: Gaussians2D) -> np.ndarray:
    """The definition of blend `sum` in float64, clamped, [H, W, 3] in 0 ... 255; for few or small Gaussians."""
    height, width = g.size
    out = np.zeros((height, width, 3))
    assert g.scales is not None
    for (x, y), s, color in zip(g.means.numpy(), g.scales[:, 0].numpy(), g.colors.numpy(), strict=True):
        r = math.ceil(3.4 * s) + 1
        rows = np.arange(max(0, int(y) - r), min(height, int(y) + r + 1))
        columns = np.arange(max(0, int(x) - r), min(width, int(x) + r + 1))
        d2 = (rows[:, None] + 0.5 - float(y)) ** 2 + (columns[None] + 0.5 - float(x)) ** 2
        weight = np.exp(-0.5 * d2 / float(s) ** 2)
        weight[weight < 1 / 255] = 0
        out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += weight[..., None] * color
    return 255 * out.clip(0, 1)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return 10 * math.log10(255**2 / error) if error else math.inf


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return skimage.data.astronaut()[:192, 100:300]


@pytest.mark.parametrize("name", CONTROLS)
def test_is_a_control_that_is_found_by_its_folder(name: str) -> None:
    kind = get_method(name)
    assert kind.name == name and kind.control and kind.title and kind.__module__.endswith(name)


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (3, 2000), (17, 23)])
def test_odd_sizes(name: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    decoded = decode(encode(name, image, CONTROLS[name]), make(name).suffix)
    if isinstance(decoded, Gaussians2D):
        assert decoded.size == shape and len(decoded) == 300
    else:
        assert decoded.shape == image.shape and decoded.dtype == np.uint8


@pytest.mark.parametrize("name", CONTROLS)
def test_same_image_same_bytes(name: str, photograph: np.ndarray) -> None:
    first, second = (encode(name, photograph, CONTROLS[name]) for _ in range(2))
    assert first == second


def test_order_of_quality(photograph: np.ndarray) -> None:
    """identity > JPEG 90 > JPEG 10 > random, and down-sampling beats random at the same number of values."""
    identity = picture("identity", encode("identity", photograph, Budget(native=True)))
    assert np.array_equal(identity, photograph)
    high, low = (picture("codecs", encode("codecs", photograph, Budget(quality=q))) for q in (90, 10))
    reduced = picture("downsample", encode("downsample", photograph, Budget(gaussians=1000)))
    random = decode(encode("random_gaussians", photograph, Budget(gaussians=1000)))
    assert isinstance(random, Gaussians2D)
    values = [psnr(p, photograph) for p in (high, low, picture_of_gaussians(random))]
    assert values[0] > 34 > values[1] > 22 > values[2] > 8
    assert psnr(reduced, photograph) > values[2] + 3


# -- down-sampling ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [200, 1000, 5000])
def test_downsample_spends_the_values_of_the_gaussians(n: int, photograph: np.ndarray) -> None:
    reduced = make("downsample").encode(photograph, Budget(gaussians=n), Trace())
    h, w, _ = reduced.pixels.shape
    assert abs(3 * h * w - 8 * n) <= 3 * (h + w + 1) / 2, "both sides are rounded to whole pixels"


def test_downsample_never_enlarges(photograph: np.ndarray) -> None:
    decoded = picture("downsample", encode("downsample", photograph, Budget(gaussians=10**6)))
    assert np.array_equal(decoded, photograph)


def test_downsample_rate_is_met_from_below(photograph: np.ndarray) -> None:
    pixels = photograph.shape[0] * photograph.shape[1]
    for bpp in (0.5, 1.0, 3.0):
        assert 0.93 * bpp < 8 * len(encode("downsample", photograph, Budget(bpp=bpp))) / pixels <= bpp


def test_downsample_keeps_a_smooth_ramp() -> None:
    ramp = np.linspace(0, 255, 256).astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (64, 256, 3)).copy()
    for enlarge in ("bicubic", "lanczos"):
        decoded = picture("downsample", encode("downsample", image, Budget(native=True), factor=4.0, enlarge=enlarge))
        assert np.abs(decoded.astype(int) - image)[:, 8:-8].max() <= 2


# -- random Gaussians -------------------------------------------------------------------------------------------------
def test_random_gaussians_weights_sum_to_one_on_average() -> None:
    """A constant picture comes back at its level, away from the border."""
    image = np.full((80, 90, 3), 128, np.uint8)
    data = encode("random_gaussians", image, Budget(gaussians=1800))
    gaussians = decode(data)
    assert isinstance(gaussians, Gaussians2D)
    inside = picture_of_gaussians(gaussians)[10:-10, 10:-10]
    assert inside.mean() == pytest.approx(128, rel=0.04)


def test_random_gaussians_take_the_colour_below(photograph: np.ndarray) -> None:
    gaussians = decode(encode("random_gaussians", photograph, Budget(gaussians=500)))
    assert isinstance(gaussians, Gaussians2D)
    column, row = gaussians.means.numpy().astype(int).T
    ratio = gaussians.colors.numpy() / np.maximum(photograph[row, column], 1)
    lit = photograph[row, column] > 0
    np.testing.assert_allclose(ratio[lit], ratio[lit].max(), rtol=1e-5)


def test_random_gaussians_depend_on_the_seed_alone(photograph: np.ndarray) -> None:
    first, again, other = (encode("random_gaussians", photograph, Budget(gaussians=50), seed=s) for s in (1, 1, 2))
    assert first == again != other
    method = make("random_gaussians")
    encoding = method.encode(photograph, Budget(gaussians=50), Trace())
    decoded = decode(method.to_bytes(encoding))
    assert all(torch.equal(value, decoded.tensors()[name]) for name, value in encoding.tensors().items())


# -- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "budget"),
    [
        ("identity", Budget(gaussians=5)),
        ("downsample", Budget(quality=5)),
        ("random_gaussians", Budget(native=True)),
    ],
)
def test_budgets_that_a_control_cannot_meet(name: str, budget: Budget) -> None:
    with pytest.raises(MethodError):
        encode(name, np.zeros((4, 4, 3), np.uint8), budget)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("identity", {"compress_level": 10}),
        ("downsample", {"factor": 0.5}),
        ("random_gaussians", {"sigma": 0.0}),
        ("random_gaussians", {"sigmas": 1.0}),
    ],
)
def test_settings_that_a_control_does_not_have(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(MethodError):
        make(name, **settings)


def saved(mode: str, kind: str, size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def test_other_pictures_are_refused(photograph: np.ndarray) -> None:
    good = encode("identity", photograph, Budget(native=True))
    for data in (b"", b"text", good[: len(good) // 2], saved("L", "PNG"), saved("RGB", "JPEG"), good[100:]):
        with pytest.raises(BitstreamError):
            get_method("identity").from_bytes(data)


def test_a_small_file_cannot_declare_a_huge_picture() -> None:
    """The size is refused before memory is allocated for it."""
    png = bytearray(saved("RGB", "PNG"))
    png[16:24] = (30000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    with pytest.raises(BitstreamError, match="30000x30000 pixels cannot come from"):
        get_method("identity").from_bytes(bytes(png))


def test_a_reduced_picture_cannot_be_enlarged_without_limit(photograph: np.ndarray) -> None:
    file = read(encode("downsample", photograph, Budget(gaussians=10)))
    pixels = Attribute("pixels", file.arrays["pixels"], "raw")
    huge = write("downsample", (40000, 40000), "", (), [pixels], {"filter": "lanczos"})
    with pytest.raises(BitstreamError, match="cannot be enlarged"):
        decode(huge)
    for meta in ({"filter": "nearest"}, {"filter": 3}, {}):
        with pytest.raises(BitstreamError, match="known filter"):
            decode(write("downsample", (192, 200), "", (), [pixels], meta))


def test_files_are_not_taken_for_each_other(photograph: np.ndarray) -> None:
    for name, other in (("downsample", "random_gaussians"), ("random_gaussians", "downsample")):
        with pytest.raises(BitstreamError, match=f"'{name}', not by '{other}'"):
            get_method(other).from_bytes(encode(name, photograph, CONTROLS[name]))
