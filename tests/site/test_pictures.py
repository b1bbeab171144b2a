"""Pictures of the site: only what was measured is shown, whatever lies in the folders."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatbench.budget import Budget
from splatbench.codec import decode
from splatbench.datasets import available_datasets, get_dataset, load_image, pixel_sha256
from splatbench.method import get_method
from splatbench.metrics import evaluate
from splatbench.record import Record, read_records
from splatbench.site.page import Data, Site
from splatbench.site.pictures import ImagePictures, decoded_picture, file_script, find_file, make_pictures
from splatbench.site.rows import site_rows
from splatbench.trace import Trace

PUBLISHED = Path(__file__).resolve().parent.parent.parent / "results" / "published"
IMAGE = "chelsea"

Make = Callable[..., ImagePictures]


@pytest.fixture(scope="module")
def original() -> np.ndarray:
    return load_image(get_dataset("sample").path(IMAGE)).pixels


@pytest.fixture(scope="module")
def encoded(original: np.ndarray) -> list[tuple[Record, bytes]]:
    """One photograph through two codecs, as records with their files."""
    made = []
    for name, method_name, budget in (
        ("jpeg", "codecs", Budget(quality=40)),
        ("random", "random_gaussians", Budget(gaussians=400)),
    ):
        kind = get_method(method_name)
        method = kind(kind.make_config({}))
        method.prepare()
        content = method.to_bytes(method.encode(original, budget, Trace()))
        psnr = decoded_picture(decode(content, method.suffix), original, 1)[1]
        record = Record(
            experiment="own",
            dataset="sample",
            image=IMAGE,
            pixel_sha256=pixel_sha256(original),
            height=original.shape[0],
            width=original.shape[1],
            entry=name,
            method=method_name,
            family=name,
            column="control" if name == "jpeg" else "ours",
            config_hash=name,
            budget=budget.as_dict(),
            budget_slug=budget.slug,
            file=f"encodings/{name}/{IMAGE}{method.suffix}",
            file_sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            bpp=8 * len(content) / original[:, :, 0].size,
            metrics={"psnr": psnr, "psnr_u8": psnr},
        )
        made.append((record, content))
    return made


@pytest.fixture
def store(encoded: list[tuple[Record, bytes]], tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    for record, content in encoded:
        (folder / f"{record.file_sha256}{Path(str(record.file)).suffix}").write_bytes(content)
    return folder


def pictures(records: list[Record], store: Path | None = None, results: Path | None = None) -> ImagePictures:
    site = Site(records, site_rows(records), results, store)
    pairs = [(row, record) for row in site.rows for record in row.records]
    return make_pictures(site, records[0].dataset, records[0].image, pairs, "../../")


def named(made: ImagePictures, address: str | None) -> bytes:
    assert address is not None and address.startswith("../../pictures/sample/chelsea/")
    return next(data.content for data in made.files if data.path == address.removeprefix("../../"))


def test_pictures_are_the_decoded_files_without_loss(encoded, store: Path, original: np.ndarray) -> None:
    made = pictures([record for record, _ in encoded], store)
    assert made.problems == [] and made.comparison is not None and made.comparison.reduced == 1
    sources = {source.group: source for source in made.comparison.sources}
    for (record, content), suffix in zip(encoded, (".jpg", ".s2d"), strict=True):
        shown = np.asarray(Image.open(io.BytesIO(named(made, sources[record.family].image))))
        assert np.array_equal(shown, decoded_picture(decode(content, suffix), original, 1)[0])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(named(made, sources["Original"].image)))), original)
    assert (sources["jpeg"].file, sources["jpeg"].why_no_file) == (None, "it has no Gaussians")
    assert sources["random"].file == encoded[1][0].file_sha256


def test_the_files_script_carries_the_file(encoded) -> None:
    record, content = encoded[1]
    text = file_script(str(record.file_sha256), content).decode()
    found = re.fullmatch(r'splatbench\.addFile\("([0-9a-f]{64})","([A-Za-z0-9+/=]+)"\);\n', text)
    assert found and found[1] == record.file_sha256 and base64.b64decode(found[2]) == content


def test_psnr_is_that_of_the_metric(encoded, original: np.ndarray) -> None:
    decoded = decode(encoded[0][1], ".jpg")
    picture, psnr = decoded_picture(decoded, original, 1)
    values, _ = evaluate(["psnr_u8"], picture.astype(np.float32) / 255, original)
    assert psnr == pytest.approx(values["psnr_u8"], abs=1e-6)


def test_large_pictures_are_averaged(original: np.ndarray) -> None:
    picture, psnr = decoded_picture(original.copy(), original, 7)
    assert picture.shape == (-(-original.shape[0] // 7), -(-original.shape[1] // 7), 3) and psnr == 100
    mean = original[:7, :7].reshape(-1, 3).mean(axis=0)
    assert np.abs(picture[0, 0] - mean).max() <= 0.5


def test_files_of_experiments_are_found_by_their_name(encoded, tmp_path: Path) -> None:
    record, content = encoded[0]
    path = tmp_path / "own" / str(record.file)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert find_file(record, None, tmp_path) == path
    assert find_file(record, tmp_path, None) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../../secret.s2d"},
        {"experiment": ".."},
        {"file_sha256": "../secret"},
        {"file_sha256": None},
        {"file": None},
    ],
)
def test_a_record_names_no_file_outside(encoded, tmp_path: Path, changes: dict) -> None:
    (tmp_path / "secret.s2d").write_bytes(b"mine")
    (tmp_path / "encodings" / "jpeg").mkdir(parents=True)
    (tmp_path / "encodings" / "jpeg" / f"{IMAGE}.jpg").write_bytes(b"mine")
    results = tmp_path / "results"
    (results / "own" / "encodings").mkdir(parents=True)
    (results / "store").mkdir()
    assert find_file(encoded[0][0].model_copy(update=changes), results / "store", results) is None


def test_another_file_than_the_measured_one_is_not_shown(encoded, store: Path) -> None:
    records = [record for record, _ in encoded]
    path = find_file(records[0], store, None)
    assert path is not None
    path.write_bytes(encoded[1][1])
    made = pictures(records, store)
    assert len(made.problems) == 1 and "is not the file that was measured" in made.problems[0]
    assert made.comparison is not None and [s.group for s in made.comparison.sources] == ["Original", "random"]


def test_a_picture_of_other_quality_than_measured_is_not_shown(encoded, store: Path) -> None:
    records = [record for record, _ in encoded]
    wrong = records[0].model_copy(update={"metrics": {"psnr": 50.0, "psnr_u8": 50.0}})
    made = pictures([wrong, records[1]], store)
    assert len(made.problems) == 1 and "but 50.00 dB were measured" in made.problems[0]


def test_other_pixels_than_were_encoded_are_not_shown(encoded, store: Path) -> None:
    made = pictures([encoded[0][0].model_copy(update={"pixel_sha256": "0" * 64})], store)
    assert made.comparison is None and made.files == [] and "not those that were encoded" in made.reason


@pytest.mark.parametrize("dataset", ["div2k_valid_x2", "div8k", "../etc", "no such data"])
def test_withheld_and_unknown_data_sets_are_not_shown(encoded, store: Path, dataset: str) -> None:
    made = pictures([encoded[0][0].model_copy(update={"dataset": dataset})], store)
    assert made.comparison is None and made.files == [] and made.reason
    if dataset in available_datasets():
        assert get_dataset(dataset).withheld in made.reason


def test_reasons_name_no_folder_of_this_machine(encoded, store: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPLATBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    changes = {"dataset": "uhr", "image": get_dataset("uhr").images[0].name}
    made = pictures([encoded[0][0].model_copy(update=changes)], store)
    assert made.comparison is None and "/" not in made.reason and len(made.problems) == 1


def test_equal_inputs_give_equal_files(encoded, store: Path) -> None:
    records = [record for record, _ in encoded]
    first, second = pictures(records, store), pictures(records, store)
    assert first.files == second.files and all(isinstance(data, Data) for data in first.files)
    assert first.comparison == second.comparison


def test_stages_of_a_run_stand_together_in_their_order(encoded, store: Path) -> None:
    final = encoded[1][0]
    order = ("final", "800", "init", "90")
    records = [final.model_copy(update={"snapshot": name}) for name in order] + [encoded[0][0]]
    made = pictures(records, store)
    assert made.comparison is not None
    stages = [source for source in made.comparison.sources if source.stage]
    assert [source.stage for source in stages] == ["start", "90 iterations", "800 iterations", "final"]
    assert len({source.group for source in stages}) == 1
    assert len({source.id for source in made.comparison.sources}) == 6
    assert made.comparison.right == stages[-1].id


def test_published_files_are_those_of_records_and_small() -> None:
    files = sorted((PUBLISHED / "files").iterdir())
    known = {record.file_sha256 for path in PUBLISHED.glob("*.jsonl") for record in read_records(path)}
    assert files, "there are no published files"
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem, path.name
        assert path.stem in known, f"{path.name} belongs to no published record"
    assert sum(path.stat().st_size for path in files) < 8_000_000
