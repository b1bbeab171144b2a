"""The benchmark of networks that give starts: what is measured, and the table."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from benchmarks.initialisers import SIZES, Case, cases, picture, run, table, with_weights
from splatbench.method import get_method


@pytest.mark.parametrize("size", [*SIZES.values(), (40, 53), (301, 452)])
def test_pictures_of_any_size_are_the_photograph_mirrored(size):
    found, photo = picture(size), picture((300, 451))
    assert found.shape == (*size, 3) and found.dtype == np.uint8
    rows, columns = min(size[0], 300), min(size[1], 451)
    assert np.array_equal(found[:rows, :columns], photo[:rows, :columns])


def test_published_networks_only_if_asked_for():
    names = {case.variant for case in cases(official=False)}
    assert not any("published" in name for name in names)
    assert {"published, random weights"} == {case.variant for case in cases(official=True)} - names


def test_a_case_measures_every_stage(tmp_path):
    """With the tiniest networks: stages add up to nearly all of the time, and refinement is one of them."""
    torch.manual_seed(0)
    package = get_method("instant_gi").__module__
    small = importlib.import_module(f"{package}.network.small")
    net = small.SmallNet(small.SmallSettings(widths=(8, 8), blocks=(1, 1), up_blocks=(1,)))
    importlib.import_module(f"{package}.model").save_small(tmp_path / "w.safetensors", net)
    case = Case("instant_gi", "tiny", (48, 60), {"weights": str(tmp_path / "w.safetensors")})
    row = run(case, "cpu", repeats=2, refine=3)
    assert {"network", "dithering", "triangulation", "decoding", "fit"} <= row["stages"].keys()
    assert 0.5 * row["seconds"] < sum(row["stages"].values()) <= 1.2 * row["seconds"]
    assert row["gaussians"] > 100 and row["peak_mib"] > 100
    text = table([row])
    assert "60x48" in text and f"{1000 * row['seconds']:.1f}" in text


@pytest.mark.parametrize("method", ["instant_gi", "fast_2dgs"])
def test_published_networks_run_with_random_weights(method, tmp_path, monkeypatch):
    """From files that are read like the authors'; the networks here are smaller ones with the same names."""
    package = get_method(method).__module__
    if method == "instant_gi":
        official = importlib.import_module(f"{package}.network.official").OfficialNet
        make = official.seeded
        monkeypatch.setattr(official, "seeded", lambda seed: make(seed, widths=(8, 8), depths=(1, 1)))
    case = with_weights(Case(method, "published, random weights", (48, 64), {"preset": "official"}), tmp_path)
    row = run(case, "cpu", repeats=1, refine=0)
    assert row["gaussians"] > 50 and row["seconds"] > 0
    assert with_weights(Case(method, "small", (8, 8)), tmp_path).settings == {}
