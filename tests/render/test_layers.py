"""A picture that draws itself goes through everything that Gaussians go through."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.render import iter_strips, render, render_u8


class TwoLayers:
    """A LayeredPicture of 7 Gaussians; what they are, nobody asks."""

    size = (300, 9)

    def __init__(self):
        self.picture = torch.rand(300, 9, 3, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2

    def __len__(self):
        return 7

    def render(self):
        return self.picture.clone()

    def check_finite(self):
        if not torch.isfinite(self.picture).all():
            raise ValueError("layer 1: NaN")


def test_render_strips_and_bytes():
    layers = TwoLayers()
    assert torch.equal(render(layers), layers.picture)
    out = torch.zeros(300, 9, 3)
    assert render(layers, out) is out and torch.equal(out, layers.picture)
    strips = list(iter_strips(layers, rows=100))
    assert [row for row, _ in strips] == [0, 256]
    assert torch.equal(torch.cat([strip for _, strip in strips]), layers.picture)
    assert np.array_equal(render_u8(layers), np.floor(layers.picture.clamp(0, 1).numpy() * np.float32(255) + 0.5))


def test_score_counts_and_measures_it(monkeypatch):
    from splatbench.runner import scoring

    layers = TwoLayers()
    monkeypatch.setattr(scoring, "decode", lambda data, suffix: layers)
    shown = layers.picture.clamp(0, 1)
    original = (shown.numpy() * 255).astype(np.uint8)
    error = (shown.double() - torch.from_numpy(original).double() / 255).square().mean().item()
    for limit in (1 << 24, 100):  # whole, and in strips
        result = scoring.score(b"", original, ["psnr"], strip_pixels=limit)
        assert result.n_actual == 7
        assert result.values["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-3)
    with pytest.raises(ValueError, match="the file holds 9x300 pixels"):
        scoring.score(b"", original[:50], [])
