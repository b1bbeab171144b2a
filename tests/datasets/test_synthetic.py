"""The procedural test picture: the same bytes everywhere, in strips or whole, and as a data set."""

from __future__ import annotations

import hashlib
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from splatbench.datasets import DataMissing, DatasetError, get_dataset, load_image
from splatbench.datasets.fetch import fetch_dataset
from splatbench.datasets.synthetic import synthetic_image, synthetic_rows, write_synthetic
from splatbench.datasets.synthetic.font import dots_of
from splatbench.datasets.synthetic.noise import Noise, draws, relative
from splatbench.datasets.synthetic.things import _TEXT, SINE


@pytest.mark.parametrize(
    ("height", "width", "seed", "digest"),
    [
        (1, 1, 0, "4406bac96ccb04ae78c5b5c4d80b7508"),
        (7, 3, 1, "f9f3aa1ad2f8e40fe1f47dda4b747eb4"),
        (61, 83, 0, "77f39b8ca1e6fbea52873510dd6e2595"),
        (300, 200, 7, "885f8eac055aa301d424cf5021ff021c"),
        (512, 768, 0, "08c4269a22c78ef405fda67b5875abd0"),
        (333, 1000, 9223372036854775808, "6336b07d1357c3be7fc4a9508cd6c902"),
    ],
)
def test_known_pictures(height, width, seed, digest):
    assert hashlib.sha256(synthetic_image(height, width, seed).tobytes()).hexdigest()[:32] == digest


def test_known_rows_of_the_largest():
    rows = np.concatenate([synthetic_rows(12288, 16320, row, row + 2) for row in (0, 6000, 8500, 12286)])
    assert hashlib.sha256(rows.tobytes()).hexdigest()[:32] == "c2ae6bf1090b4bd2d45525272396477a"


def test_every_sine_rounds_to_the_same_table():
    """What a machine's sine could be off by (an ulp) is far from what would change a rounding."""
    exact = 4096 * np.sin(np.arange(1024, dtype=np.longdouble) * (2 * np.pi / 1024))
    assert np.abs(exact - SINE).max() < 0.5 - 1e-3


@settings(max_examples=25)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    seed=st.integers(0, 2**64 - 1),
    cuts=st.lists(st.integers(1, 199), max_size=4),
)
def test_strips_make_the_whole(height, width, seed, cuts):
    whole = synthetic_image(height, width, seed)
    assert whole.shape == (height, width, 3) and whole.dtype == np.uint8
    rows = [0, *sorted(cut for cut in cuts if cut < height), height]
    strips = [synthetic_rows(height, width, a, b, seed) for a, b in pairwise(rows)]
    np.testing.assert_array_equal(np.concatenate(strips), whole)


@pytest.mark.parametrize(("height", "width"), [(4, 50_000), (30_000, 2), (9, 5000)])
def test_long_thin_pictures(height, width):
    whole = synthetic_image(height, width)
    np.testing.assert_array_equal(synthetic_rows(height, width, height - 1, height), whole[-1:])
    assert len(np.unique(whole)) > 30


def test_seeds_make_different_pictures():
    pictures = [synthetic_image(96, 128, seed) for seed in (0, 1, 2, 1 << 32, 104_729)]
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            assert (first != second).any(2).mean() > 0.8


def block_means(image: np.ndarray, blocks: int) -> np.ndarray:
    height, width = image.shape[:2]
    return image.reshape(blocks, height // blocks, blocks, width // blocks, 3).mean((1, 3))


def test_a_larger_picture_shows_the_same():
    small, large = (block_means(synthetic_image(size, size, 3), 32) for size in (256, 1024))
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.97


def spectrum_slope(image: np.ndarray) -> float:
    """Of log power against log frequency, from 8 periods in the picture to 0.4 per pixel."""
    grey = image.mean(2)
    window = np.hanning(grey.shape[0])[:, None] * np.hanning(grey.shape[1])
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    fy, fx = (np.fft.fftfreq(n) for n in grey.shape)
    radius = np.hypot(fy[:, None], fx)
    edges = np.geomspace(8 / min(grey.shape), 0.4, 9)
    bands = [power[(radius >= a) & (radius < b)].mean() for a, b in pairwise(edges)]
    return np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(bands), 1)[0]


def test_frequencies_are_those_of_a_photograph(photograph):
    """Power falls about as the square of frequency, in every size; nothing ends in a blur."""
    assert -3.2 < spectrum_slope(photograph) < -1.5
    for height, width in ((256, 256), (512, 768), (1356, 2040)):
        assert -3.2 < spectrum_slope(synthetic_image(height, width)) < -1.5


def test_strips_of_16k_take_little_memory():
    tracemalloc.start()
    synthetic_rows(12288, 16320, 8000, 8032)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_noise_keeps_its_range():
    """Sums of octaves are formed in int32: they must not overflow, whatever the seed."""
    place = relative(4096, 4096), relative(64, 4096), 4096
    noise = Noise(5, 1, 2, 32, 16, place)
    values = noise.rows(0, 4096, 64)
    assert len(noise.octaves) == 11 and 1 << 15 < np.abs(values).max() < 1 << 18
    coarse = Noise(5, 1, 2, 1, 16, place).rows(0, 4096, 64)
    assert np.abs(np.diff(coarse.astype(int), axis=0)).max() < 40 and np.abs(coarse).max() <= 1 << 14


def test_draws_are_even():
    values = np.array(draws(1, 2, 20_000))
    counts = np.bincount(values >> 12, minlength=16)
    assert counts.min() > 1100 and counts.max() < 1400  # 1250 expected, standard deviation 34


def test_characters_differ():
    shapes = {dots_of(character).tobytes() for character in set(_TEXT)}
    assert len(shapes) == len(set(_TEXT)) == 37
    assert dots_of("A1").shape == (7, 12) and not dots_of("AZ")[:, [5, 11]].any()
    with pytest.raises(KeyError):
        dots_of("a")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [((0, 5, 0, 0), "at least 1 x 1"), ((5, 5, 3, 2), "rows 3 .. 2"), ((5, 5, 0, 6), "picture of 5 rows"),
     ((5, 5, 0, 5, -1), "a seed is"), ((5, 5, 0, 5, 1 << 64), "a seed is")],
)  # fmt: skip
def test_what_cannot_be_is_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        synthetic_rows(*arguments)


@pytest.mark.parametrize("ending", ["png", "ppm"])
def test_written_pictures_are_read_again(tmp_path, ending):
    path = tmp_path / "new" / f"a.{ending}"
    write_synthetic(path, 131, 77, 4)
    np.testing.assert_array_equal(load_image(path).pixels, synthetic_image(131, 77, 4))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_nothing_is_left_of_a_picture_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.png or \.ppm"):
        write_synthetic(tmp_path / "a.jpg", 8, 8)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        write_synthetic(tmp_path / "a.ppm", 0, 8)
    assert not list(tmp_path.iterdir())


def test_as_a_data_set():
    dataset = get_dataset("synthetic")
    assert len(dataset.images) == 5
    with pytest.raises(DataMissing, match="Make them:       splatbench data fetch synthetic"):
        dataset.path("synthetic_256x256_0")
    (made,) = fetch_dataset(dataset, ["synthetic_256x256_0"])
    assert (made.status, made.message) == ("fetched", "")
    located = dataset.locate("synthetic_256x256_0")
    assert located.verified and not located.notes
    np.testing.assert_array_equal(load_image(located.path).pixels, synthetic_image(256, 256))
    assert [r.status for r in fetch_dataset(dataset, ["synthetic_256x256_0", "synthetic_512x768_1"])] == [
        "present",
        "fetched",
    ]


def test_the_manifest_says_what_the_pictures_are():
    for entry in get_dataset("synthetic").images:
        digest = hashlib.sha256(synthetic_image(entry.height, entry.width, entry.seed).tobytes()).hexdigest()
        assert entry.pixel_sha256 == digest and entry.name == f"synthetic_{entry.width}x{entry.height}_{entry.seed}.png"


def test_a_picture_that_comes_out_otherwise_is_refused(manifest):
    picture = {"name": "a.png", "width": 9, "height": 8, "pixel_sha256": "0" * 64}
    manifest("mine", generator="synthetic", images=[picture])
    (made,) = fetch_dataset(get_dataset("mine"))
    assert made.status == "failed" and "the pixels differ" in made.message


def test_a_generator_needs_sizes(manifest):
    manifest("mine", generator="synthetic", images=[{"name": "a.png", "width": 9}])
    with pytest.raises(DatasetError, match="needs width, height"):
        get_dataset("mine")


def test_command(tmp_path):
    from splatbench.cli.data import app

    path = tmp_path / "a.ppm"
    result = CliRunner().invoke(app, ["synthetic", "-o", str(path), "--size", "40x30", "--seed", "6"])
    assert result.exit_code == 0 and "40x30, seed 6" in result.stdout
    np.testing.assert_array_equal(load_image(path).pixels, synthetic_image(30, 40, 6))
    for size, reason in (("40", "is not a size"), ("0x5", "is not a size"), ("99999x99999", "is more than")):
        result = CliRunner().invoke(app, ["synthetic", "-o", str(path), "--size", size])
        assert result.exit_code == 2 and reason in result.stderr
    assert CliRunner().invoke(app, ["synthetic", "-o", str(tmp_path / "a.gif")]).exit_code == 2
