"""Pictures of the page: decoded from real files, errors of the right size, nothing shown that was not measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatbench.budget import Budget
from splatbench.datasets import pixel_sha256
from splatbench.method import get_method
from splatbench.record import Record
from splatbench.report.pictures import PictureProblem, compare_pictures, make_galleries, reduce
from splatbench.report.settings import PictureSettings
from splatbench.trace import Trace

Make = Callable[..., Record]


class Folder:
    """A data set of one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, image_name: str) -> Path:
        return self.root / f"{image_name}.png"


@pytest.fixture
def encoded(tmp_path: Path, crop: np.ndarray, record: Make) -> tuple[list[Record], dict[str, Folder], Path]:
    """One image through three real codecs; their files lie as the runner leaves them."""
    data, results = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    Image.fromarray(crop).save(data / "eye.png")
    records = []
    entries = {
        "identity": ("identity", Budget(native=True)),
        "jpeg": ("codecs", Budget(quality=40)),
        "random_gaussians": ("random_gaussians", Budget(gaussians=400)),
    }
    for name, (method_name, budget) in entries.items():
        kind = get_method(method_name)
        method = kind(kind.make_config({}))
        method.prepare()
        content = method.to_bytes(method.encode(crop, budget, Trace()))
        file = f"encodings/{name}-12345678/own/{budget.slug}-s1/eye{method.suffix}"
        (results / file).parent.mkdir(parents=True)
        (results / file).write_bytes(content)
        records.append(
            record(
                dataset="own",
                image="eye",
                entry=name,
                title=name,
                budget=budget.as_dict(),
                height=96,
                width=96,
                file=file,
                file_sha256=hashlib.sha256(content).hexdigest(),
                pixel_sha256=pixel_sha256(crop),
            )
        )
    return records, {"own": Folder(data)}, results


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_pictures_are_the_decoded_files_without_loss(
    encoded: tuple[list[Record], dict[str, Folder], Path], crop: np.ndarray, tmp_path: Path
) -> None:
    records, datasets, results = encoded
    (gallery,) = make_galleries(records, PictureSettings(), datasets, results, tmp_path / "out")
    assert gallery.problems == [] and (gallery.width, gallery.height, gallery.reduced) == (96, 96, 1)
    assert np.array_equal(pixels(tmp_path / "out" / gallery.original), crop)
    shown = {s.record.entry: s for s in gallery.shown}
    assert np.array_equal(pixels(tmp_path / "out" / shown["identity"].reconstruction), crop)
    assert not pixels(tmp_path / "out" / shown["identity"].error).any()
    jpeg = np.asarray(Image.open(results / (records[1].file or "")).convert("RGB"))
    assert np.array_equal(pixels(tmp_path / "out" / shown["jpeg"].reconstruction), jpeg)
    error = np.minimum(4 * np.abs(jpeg.astype(int) - crop.astype(int)), 255)
    assert np.array_equal(pixels(tmp_path / "out" / shown["jpeg"].error), error)


def test_gaussians_are_rendered_as_they_were_measured(
    encoded: tuple[list[Record], dict[str, Folder], Path], tmp_path: Path
) -> None:
    from splatbench.codec import decode
    from splatbench.gaussians import Gaussians2D
    from splatbench.render import render_u8

    records, datasets, results = encoded
    (gallery,) = make_galleries(records[2:], PictureSettings(), datasets, results, tmp_path / "out")
    decoded = decode((results / (records[2].file or "")).read_bytes())
    assert isinstance(decoded, Gaussians2D)
    assert np.array_equal(pixels(tmp_path / "out" / gallery.shown[0].reconstruction), render_u8(decoded))


def test_large_pictures_are_shown_reduced(
    encoded: tuple[list[Record], dict[str, Folder], Path], crop: np.ndarray, tmp_path: Path
) -> None:
    records, datasets, results = encoded
    (gallery,) = make_galleries(records, PictureSettings(max_side=40), datasets, results, tmp_path / "out")
    assert gallery.reduced == 3
    expected = np.floor(crop.reshape(32, 3, 32, 3, 3).mean(axis=(1, 3)) + 0.5)
    assert np.array_equal(pixels(tmp_path / "out" / gallery.original), expected)
    assert all(pixels(tmp_path / "out" / s.reconstruction).shape == (32, 32, 3) for s in gallery.shown)


def test_problems_are_said_and_do_not_stop_the_others(
    encoded: tuple[list[Record], dict[str, Folder], Path], tmp_path: Path
) -> None:
    records, datasets, results = encoded
    (results / (records[1].file or "")).write_bytes(b"another file")
    gone = records[2].model_copy(update={"file": "encodings/gone.s2d"})
    unnamed = records[2].model_copy(update={"file": None, "entry": "unnamed"})
    (gallery,) = make_galleries([*records[:2], gone, unnamed], PictureSettings(), datasets, results, tmp_path / "out")
    assert [s.record.entry for s in gallery.shown] == ["identity"]
    assert "is not the file that was measured" in gallery.problems[0]
    assert "gone.s2d is not there" in gallery.problems[1]
    assert "does not name an encoded file" in gallery.problems[2]


def test_a_changed_original_is_not_shown(
    encoded: tuple[list[Record], dict[str, Folder], Path], crop: np.ndarray, tmp_path: Path
) -> None:
    records, datasets, results = encoded
    Image.fromarray(255 - crop).save(datasets["own"].path("eye"))
    (gallery,) = make_galleries(records, PictureSettings(), datasets, results, tmp_path / "out")
    assert gallery.shown == [] and "its pixels are not those that were encoded" in gallery.problems[0]
    (unknown,) = make_galleries(records, PictureSettings(), {}, results, tmp_path / "out")
    assert "the data set 'own' is not known here" in unknown.problems[0]


def test_only_the_chosen_pictures_stay(encoded: tuple[list[Record], dict[str, Folder], Path], tmp_path: Path) -> None:
    records, datasets, results = encoded
    out = tmp_path / "out"
    make_galleries(records, PictureSettings(), datasets, results, out)
    mine = out / "pictures" / "holiday.webp"
    mine.write_bytes(b"not ours")
    (gallery,) = make_galleries(records, PictureSettings(entries=["jpeg"]), datasets, results, out)
    assert [s.record.entry for s in gallery.shown] == ["jpeg"]
    assert len(list((out / "pictures").glob("*.webp"))) == 3 + 1 and mine.exists()
    assert make_galleries(records, PictureSettings(count=0), datasets, results, out) == []
    assert make_galleries(records, PictureSettings(images=["other"]), datasets, results, out) == []


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 50])
def test_reduction_averages_blocks_with_the_border_of_what_is_there(crop: np.ndarray, factor: int) -> None:
    part = crop[:41, :53]
    expected = np.array(
        [
            [part[i : i + factor, j : j + factor].reshape(-1, 3).mean(axis=0) for j in range(0, 53, factor)]
            for i in range(0, 41, factor)
        ]
    )
    assert np.array_equal(reduce(part, factor), np.floor(expected + 0.5))


@pytest.mark.parametrize("shape", [(95, 96, 3), (97, 96, 3), (96, 95, 3)])
def test_a_picture_of_another_size_is_refused(crop: np.ndarray, shape: tuple[int, ...]) -> None:
    other = np.zeros(shape, np.uint8)
    with pytest.raises(PictureProblem, match="size|rows"):
        compare_pictures(iter([(0, other[:48]), (48, other[48:])]), crop, 1)
