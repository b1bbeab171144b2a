"""Fixtures shared by the tests of all methods."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a training, with five crops of a photograph that comes inside scikit-image in `pictures/`,
    each 64 x 72 pixels."""
    from skimage import data

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPLATBENCH_DATA", raising=False)
    picture = data.astronaut()
    (tmp_path / "pictures").mkdir()
    for i in range(5):
        Image.fromarray(picture[40 * i : 40 * i + 64, 60 * i : 60 * i + 72]).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path
