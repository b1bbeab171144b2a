"""The calling convention: what is measured, what is refused, and how strips and memory behave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.metrics import REGISTRY, MetricError, array_strips, evaluate, get_metric
from splatbench.metrics.strips import Bands, spans

CHEAP = ["psnr", "psnr_u8", "ssim", "flip"]


@pytest.fixture
def pair(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.clip(crop.astype(np.float32) / 255 * 0.9 + 0.03, 0, 1), crop


def test_unknown_names_get_the_nearest(pair) -> None:
    with pytest.raises(MetricError, match="'msssim'; did you mean 'ms_ssim'"):
        evaluate(["psnr", "msssim"], *pair)
    with pytest.raises(MetricError, match="rate belongs to a file"):
        evaluate(["bpp"], *pair)


@pytest.mark.parametrize("as_strips", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: p.__setitem__((70, 5, 1), np.nan),
            "1 values are NaN or infinite, first at row 70, column 5, channel 1",
        ),
        (lambda p: p.__setitem__((0, 0, 0), np.inf), "NaN or infinite, first at row 0"),
        (lambda p: p.__setitem__((95, 95, 2), 1.001), r"must lie in \[0, 1\], found .* to 1.001"),
        (lambda p: p.__setitem__((3, 3, 0), -1e-6), r"must lie in \[0, 1\], found -1e-06"),
        (lambda p: p.__imul__(255), "divided by 255"),
    ],
)
def test_bad_values_have_no_score(pair, as_strips: bool, change, message: str) -> None:
    picture, reference = pair[0].copy(), pair[1]
    change(picture)
    source = (lambda: array_strips(picture, 32)) if as_strips else picture
    for name in CHEAP:
        with pytest.raises(MetricError, match=message):
            evaluate([name], source, reference)


def test_shapes_and_types_must_fit(pair) -> None:
    picture, reference = pair
    cases = [
        (picture[:-1], reference, "does not fit the reference"),
        (picture[..., :1], reference, "does not fit the reference"),
        (picture.astype(np.float64), reference, "expected float32"),
        (reference, reference, "expected float32.*uint8"),
        (picture, picture, "reference: expected a uint8"),
        (picture, reference[..., 0], r"reference: expected shape \[H, W, C\]"),
        (picture[:0], reference[:0], "H, W >= 1"),
    ]
    for bad_picture, bad_reference, message in cases:
        with pytest.raises(MetricError, match=message):
            evaluate(CHEAP, bad_picture, bad_reference)


@pytest.mark.parametrize("streamed", [None, True])
def test_strips_must_be_the_picture(pair, streamed: bool | None) -> None:
    picture, reference = pair
    cases = [
        ([(0, picture[:50])], "end after 50 of 96 rows"),
        ([(0, picture[:50]), (40, picture[40:])], "begins at row 50, got row 40"),
        ([(0, picture[:50]), (50, picture[49:])], "does not fit"),
        ([(0, picture[:, :50])], "does not fit"),
        ([(0, picture.astype(np.float64))], "float32"),
        ([(0, picture.tolist())], "float32 numpy arrays"),
    ]
    for source, message in cases:
        with pytest.raises(MetricError, match=message):
            evaluate(["psnr"], source, reference, streamed=streamed)


def test_sources_give_what_arrays_give(pairs) -> None:
    """A list, a function, and strips in a buffer that is used again, streamed or put together."""
    picture, reference = (part[:181, :170] for part in pairs["chelsea 300x451, JPEG 10"])
    names = [*CHEAP, "ms_ssim"]
    expected = evaluate(names, picture, reference)[0]

    def reusing():
        buffer = np.empty((29, picture.shape[1], 3), np.float32)
        for row0, strip in array_strips(picture, 29):
            buffer[: len(strip)] = strip
            yield row0, buffer[: len(strip)]
            buffer[:] = 0.5

    for source in (list(array_strips(picture, 64)), lambda: array_strips(picture, 17), reusing):
        for streamed in (None, True, False):
            values, not_run = evaluate(names, source, reference, streamed=streamed)
            assert not not_run and values == pytest.approx(expected, abs=1e-6)


def test_large_pictures_are_rendered_once(monkeypatch, pair) -> None:
    picture, reference = pair
    passes = []

    def source():
        passes.append(1)
        return array_strips(picture, 20)

    evaluate(CHEAP, source, reference, streamed=True)
    assert len(passes) == 1


def test_one_pixel_and_thin_pictures() -> None:
    for height, width in ((1, 1), (3, 2000), (2000, 3)):
        reference = np.full((height, width, 3), 77, np.uint8)
        values, not_run = evaluate(list(REGISTRY), np.full(reference.shape, 0.5, np.float32), reference)
        measured = {name for name, value in values.items() if value is not None}
        assert measured == {"psnr", "psnr_u8", "flip"}
        assert set(not_run) == set(REGISTRY) - measured
        assert all("sides of at least" in reason for reason in not_run.values())
        json.dumps(values, allow_nan=False)


def test_importing_the_registry_is_cheap() -> None:
    """The command line lists metrics without paying for torch."""
    code = (
        "import sys, splatbench.metrics as m, splatbench.metrics.weights as w; m.get_metric('psnr'); w.manifest();"
        "heavy = {'torch', 'torchvision', 'lpips', 'numba', 'pandas', 'matplotlib', 'skimage', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_registry_says_everything() -> None:
    for name, metric in REGISTRY.items():
        assert metric.name == name == get_metric(name).name
        assert all([metric.title, metric.space, metric.data_range, metric.meaning, metric.reference, metric.family])
        assert metric.direction in metric.heading or metric.heading.endswith(
            "↑" if metric.direction == "higher" else "↓"
        )
    assert {m.direction for n, m in REGISTRY.items() if n.startswith(("lpips", "flip"))} == {"lower"}
    assert {m.direction for n, m in REGISTRY.items() if "psnr" in n or "ssim" in n} == {"higher"}
    assert all(m.backbone and m.weights for n, m in REGISTRY.items() if n.startswith("lpips"))


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 40), st.integers(0, 20), st.lists(st.integers(1, 30), min_size=1, max_size=20)
)
def test_bands_give_every_row_once_with_its_halo(height: int, core: int, halo: int, cuts: list[int]) -> None:
    rows = np.arange(height, dtype=np.float32)[:, None, None].repeat(3, 2)
    bands, seen, row = Bands(height, core, halo), [], 0
    while row < height:
        step = cuts[row % len(cuts)]
        for span, window in bands.push(rows[row : row + step]):
            assert window[:, 0, 0].tolist() == list(range(span.window0, span.window1))
            assert span.window0 == max(0, span.core0 - halo) and span.window1 == min(height, span.core0 + core + halo)
            seen.extend(range(span.core0, span.core1))
        row += step
    assert bands.finished() and seen == list(range(height))
    assert [s.core0 for s in spans(height, core, halo)] == list(range(0, height, core))


_MEMORY_PROBE = """
import sys, threading
import numpy as np
from splatbench.metrics import evaluate

names, height, width = sys.argv[1].split(","), 3000, 4000
evaluate(names, np.zeros((200, 200, 3), np.float32), np.zeros((200, 200, 3), np.uint8))  # imports and warms up
rng = np.random.default_rng(0)
np.lib.format.open_memmap(sys.argv[2], "w+", np.uint8, (height, width, 3))[:] = rng.integers(0, 256, (width, 3))
reference = np.load(sys.argv[2], mmap_mode="r")
noise = rng.uniform(-0.05, 0.05, (128, width, 3)).astype(np.float32)

def strips():
    for row in range(0, height, 128):
        block = reference[row : row + 128].astype(np.float32) / np.float32(255)
        yield row, np.clip(block + noise[: len(block)], 0, 1)

def anonymous_mib():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024

before, peak, done = anonymous_mib(), [0.0], threading.Event()
def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], anonymous_mib())
watcher = threading.Thread(target=watch)
watcher.start()
values, not_run = evaluate(names, strips, reference)
done.set()
watcher.join()
assert not not_run and None not in values.values(), not_run
print(peak[0] - before, *values.values())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("names", "limit"), [("psnr,psnr_u8,ms_ssim", 137)])
@pytest.mark.slow
def test_large_pictures_need_little_memory(tmp_path: Path, names: str, limit: int) -> None:
    """12 megapixels: a single float copy would take 137 MiB, and the whole-picture path about 2 GiB."""
    command = [sys.executable, "-c", _MEMORY_PROBE, names, str(tmp_path / "reference.npy")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    used, psnr, *_ = map(float, done.stdout.split())
    assert used < limit
    assert 30 < psnr < 32  # uniform noise of +-0.05: 10 log10(3 / 0.05²) = 30.8 dB, a little more where it was clamped


@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("streamed", [False, True])
def test_psnr_takes_any_number_of_channels_and_the_others_say_why_not(channels, streamed):
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 256, (40, 50, channels), dtype=np.uint8)
    picture = rng.random(reference.shape, np.float32)
    strips = [(0, picture[:30]), (30, picture[30:])] if streamed else picture
    values, not_run = evaluate(["psnr", "psnr_u8", "ssim", "flip"], strips, reference, streamed=streamed)
    expected = -10 * np.log10(np.mean((picture - reference / 255.0) ** 2))
    assert values["psnr"] == pytest.approx(expected, abs=1e-4)
    rounded = np.floor(picture.astype(float) * 255 + 0.5)
    assert values["psnr_u8"] == pytest.approx(-10 * np.log10(np.mean((rounded - reference) ** 2) / 255**2), abs=1e-9)
    assert values["ssim"] is values["flip"] is None
    assert not_run["flip"] == f"FLIP is defined for RGB, the picture has {channels} channels; psnr takes any number"
    with pytest.raises(MetricError, match="does not fit"):
        evaluate(["psnr"], [(0, picture[..., :-1])] if streamed else picture[:, 1:], reference, streamed=streamed)
