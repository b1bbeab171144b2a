"""Figures about AIR: what a pass holds, and that panels show it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from benchmarks import air_anatomy, air_figures
from benchmarks.air_anatomy import components, look
from benchmarks.air_claims_training import TrainingRecord, write_trainings
from splatbench.budget import Budget
from splatbench.method import get_method
from splatbench.record import Record, write_records
from splatbench.render import render
from splatbench.trace import Trace

ROWS, COLUMNS = 5, 7  # patches of 7x7 in 33 x 47 pixels


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[100:133, 200:247])


@pytest.fixture(scope="session", params=["separate heads", "shared head"])
def settings(request, tmp_path_factory) -> dict[str, str]:
    """A tiny AIR-small with random weights that draws something."""
    model_file, small = air_anatomy.part("model"), air_anatomy.part("network.small")
    torch.manual_seed(3)
    shape = small.SmallSettings(stages=3, width=12, blocks=1, shared=request.param == "shared head")
    model = model_file.SmallModel(shape)
    with torch.no_grad():
        for head in model.network.heads:
            head.output.weight.normal_(std=0.2)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model_file.save_small(path, model)
    return {"weights": str(path)}


@pytest.fixture(scope="session")
def views(image, settings):
    return look(image, settings)


def test_views_are_the_stages_of_the_method(image, settings, views):
    method = get_method("air")
    snapshots = {}
    trace = Trace(["stage1", "stage2"], on_snapshot=snapshots.__setitem__)
    snapshots["stage3"] = method(method.make_config(settings)).encode(image, Budget(native=True), trace)
    assert len(views) == 3
    added = 0
    for stage, view in enumerate(views, 1):
        gaussians = snapshots[f"stage{stage}"].gaussians()
        picture = render(gaussians).clamp(0, 1).numpy()
        np.testing.assert_allclose(view.picture, picture, atol=1e-5)
        np.testing.assert_allclose(view.error, np.abs(picture - image / 255).mean(2), atol=1e-5)
        assert view.psnr == pytest.approx(-10 * np.log10(np.square(picture - image / 255).mean()), abs=1e-3)
        added += len(view.positions)
        assert view.count == added == len(gaussians)
        assert view.features.shape == (ROWS, COLUMNS, 12)
    everything = np.concatenate([view.positions for view in views])
    expected = snapshots["stage3"].gaussians().means.numpy()
    np.testing.assert_allclose(np.sort(everything, axis=0), np.sort(expected, axis=0), atol=1e-5)


def test_density_counts_every_gaussian_once(views):
    for view in views:
        assert view.density.shape == (ROWS, COLUMNS) and view.density.sum() == len(view.positions)
    inside = views[0]
    x, y = inside.positions[0]
    row, column = (int(np.clip(v // 7, 0, n - 1)) for v, n in ((y, ROWS), (x, COLUMNS)))
    others = [(np.clip(b // 7, 0, ROWS - 1), np.clip(a // 7, 0, COLUMNS - 1)) for a, b in inside.positions]
    assert inside.density[row, column] == others.count((row, column))


def test_components_of_known_features():
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scores = rng.normal(size=(400, 6))
    scores = np.linalg.qr(scores - scores.mean(0))[0] * np.sqrt([60, 25, 10, 5, 0, 0])
    found = components((scores @ axes.T + 3).reshape(20, 20, 6))
    np.testing.assert_allclose(found.shares, [0.6, 0.25, 0.1, 0.05, 0, 0], atol=1e-9)
    assert found.colours.shape == (20, 20, 3) and found.colours.min() == 0 and found.colours.max() == 1
    for component in range(3):
        correlation = np.corrcoef(found.colours[..., component].ravel(), scores[:, component])[0, 1]
        assert abs(correlation) > 0.97  # but for the clipped ends
    with pytest.raises(ValueError, match="same features"):
        components(np.ones((3, 3, 4)))


def test_progress_and_density_show_the_stages(image, views):
    figure = air_figures.progress_figure(image, views)
    panels = [axes for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    assert len(panels) == 2 * len(views)
    for stage, (view, panel) in enumerate(zip(views, panels[: len(views)], strict=True), 1):
        np.testing.assert_array_equal(panel.images[0].get_array(), view.picture)
        assert panel.get_title() == f"stage {stage}: N = {view.count}\n{view.psnr:.2f} dB"
    np.testing.assert_array_equal(panels[-1].images[0].get_array(), views[-1].error)
    figure = air_figures.density_figure(image, views)
    panels = [axes for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    assert len(panels) == len(views) + 2
    np.testing.assert_array_equal(panels[-1].images[0].get_array(), sum(view.density for view in views))
    assert panels[-1].get_title() == f"all: {views[-1].count}"


def test_features_show_shares_of_the_variance(image, views):
    figure = air_figures.features_figure(image, views)
    bars = [axes for axes in figure.axes if axes.patches]
    assert len(bars) == len(views)
    for view, axes in zip(views, bars, strict=True):
        heights = [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]
        np.testing.assert_allclose(heights, 100 * components(view.features).shares[:8])


@pytest.fixture
def records() -> list[Record]:
    """Thresholds of AIR-small on 14 x 14 pixels (4 patches, 16 candidates), and a method with two times."""

    def one(entry, family, psnr, seconds, n=16, lpips=0.1, method="air", slug="native", **config):
        settings = {"quantise": False, "psnr_threshold": 35.0, "ssim_threshold": 0.95} | config
        return Record(experiment="e", dataset="d", image="x", entry=entry, family=family, method=method,
                      budget_slug=slug, height=14, width=14, n_actual=n, encode_seconds=seconds, config=settings,
                      config_hash=entry, metrics={"psnr": psnr, "lpips_alex": lpips})  # fmt: skip

    return [
        one("air_small", "AIR-small", 30.0, 0.4, n=12, lpips=0.2),
        one("quantised", "AIR-small (quantised)", 29.5, 0.5, n=12, quantise=True),
        one("psnr35", "AIR-small (PSNR alone)", 29.0, 0.4, n=8, lpips=0.3, ssim_threshold=None),
        one("psnr38", "AIR-small (PSNR alone)", 29.2, 0.4, n=10, lpips=0.25, psnr_threshold=38.0, ssim_threshold=None),
        one("none", "AIR-small (no criterion)", 31.0, 0.4, n=16, psnr_threshold=None, ssim_threshold=None),
        one("gi", "GaussianImage", 29.0, 4.0, method="gaussianimage", slug="n12-t4"),
        one("gi", "GaussianImage", 20.0, 0.4, method="gaussianimage", slug="n12-t0.4"),
    ]


def _lines(figure):
    return {line.get_label(): np.asarray(line.get_xydata()) for line in figure.axes[0].lines}


def test_time_and_utilisation(records):
    lines = _lines(air_figures.time_figure(records))
    assert set(lines) == {"AIR-small", "AIR-small (quantised)", "GaussianImage"}
    np.testing.assert_allclose(lines["GaussianImage"], [[0.4, 20], [4, 29]])
    more = [r.model_copy(update={"image": "other", "metrics": {"psnr": 99.0}}) for r in records[:1]]
    assert _lines(air_figures.time_figure([*records, *more])).keys() == lines.keys()
    for name, points in _lines(air_figures.time_figure([*records, *more])).items():
        np.testing.assert_allclose(points, lines[name])  # an image that only one point has counts nowhere
    with pytest.raises(ValueError, match="no image has been measured in every budget"):
        air_figures.time_figure([*records[1:], *more])
    lines = _lines(air_figures.utilisation_figure(records))
    assert set(lines) == {"PSNR and SSIM", "PSNR alone", "no criterion"}
    np.testing.assert_allclose(lines["PSNR alone"], [[0.5, 0.3], [0.625, 0.25]])
    np.testing.assert_allclose(lines["no criterion"], [[1, 0.1]])
    with pytest.raises(ValueError, match="no record of AIR has flip"):
        air_figures.utilisation_figure(records, metric="flip")
    with pytest.raises(ValueError, match="encode time"):
        air_figures.time_figure([])


def test_training_curves(tmp_path):
    runs = [
        TrainingRecord(name=name, recipe="x", curve=[(20, [10.0]), (40, [12.0, end])], status=status)
        for name, end, status in (("pod", 20.0, "ok"), ("direct", 21.0, "ok"), ("direct_hot", None, "failed"))
    ]
    figure = air_figures.curves_figure(runs)
    first, second = figure.axes
    assert {line.get_label() for line in first.lines} == {"pod", "direct"}
    np.testing.assert_allclose(first.lines[0].get_xydata(), [[20, 10], [40, 20]])
    assert [line.get_label() for line in second.lines] == ["direct_hot (broke off)"]
    with pytest.raises(ValueError, match="no training"):
        air_figures.curves_figure([])


def test_files(tmp_path, image, settings, records, capsys):
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "small.png")
    write_records(tmp_path / "records.jsonl", records)
    write_trainings(tmp_path / "trainings.jsonl", [TrainingRecord(name="pod", recipe="x", curve=[(1, [9.0])])])
    out = tmp_path / "out"
    command = ["--images", str(tmp_path / "small.png"), "--set", f"weights={settings['weights']}", "--output", str(out)]
    command += ["--records", str(tmp_path / "records.jsonl"), "--claims", str(tmp_path)]
    assert air_figures.main(command) == 0
    assert len(capsys.readouterr().out.split()) == 6
    for name in ("density", "progress", "features"):
        assert imread(out / f"{name}-small.png").std() > 0.05
    for name in ("time", "utilisation", "curves"):
        assert (out / f"{name}.svg").read_text().count("<path") > 5
    assert air_figures.main(["--images", "small.png", "--set", "weights", "--output", str(out)]) == 1
    assert "KEY=VALUE" in capsys.readouterr().err
