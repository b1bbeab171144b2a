"""Encoded files beside records: named by their content, known to a record, decodable."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from splatbench.budget import Budget
from splatbench.datasets import get_dataset, load_image, pixel_sha256
from splatbench.method import get_method
from splatbench.results.check import check
from splatbench.runner.scoring import score
from splatbench.trace import Trace
from tests.results.changes import changed


@pytest.fixture
def stored(good, write, photograph):
    """A record and its file in files/."""
    kind = get_method("random_gaussians")
    method = kind(kind.make_config({}))
    picture = photograph[:24, :40]
    data = method.to_bytes(method.encode(picture, Budget(gaussians=50), Trace()))
    sha256 = hashlib.sha256(data).hexdigest()
    record = changed(
        good[0], height=24, width=40, bytes=len(data), bpp=8 * len(data) / (24 * 40), file_sha256=sha256,
        budget={"gaussians": 50}, budget_slug="n50", n_target=50, n_actual=50,
    )  # fmt: skip
    records = write([record])
    store = records.parent / "files"
    store.mkdir()
    path = store / f"{sha256}.s2d"
    path.write_bytes(data)
    return records, path, record


def problems(records: Path) -> list[str]:
    checked = check([records])
    assert all(problem.finding.kind == "file" and not problem.finding.warning for problem in checked.problems)
    return [problem.finding.text for problem in checked.problems]


def test_a_good_store(stored):
    records, _, _ = stored
    assert problems(records) == []
    assert check([records]).encoded == 1


def test_content_and_name(stored):
    records, path, _ = stored
    path.write_bytes(path.read_bytes()[:-1])
    assert problems(records) == ["its content has another SHA-256 than its name; copy it again"]


def test_names_and_strangers(stored):
    records, path, _ = stored
    (path.parent / "kodim01.s2d").write_bytes(b"x")
    data = b"not a file of Gaussians"
    (path.parent / f"{hashlib.sha256(data).hexdigest()}.s2d").write_bytes(data)
    texts = problems(records)
    assert len(texts) == 2
    assert any("a store holds files <sha256>.s2d" in text for text in texts)
    assert any("no record names this file" in text for text in texts)


def test_files_of_other_records_are_left_alone(stored, write, good):
    records, _, _ = stored
    other = write(good[1:2], "other")
    assert problems(other) == []
    records.unlink()
    assert problems(other) == ["no record names this file; remove it, or add the records that do"]


def test_length_size_and_decoding(stored, write):
    _, path, record = stored
    wrong = changed(record, bytes=record.bytes + 1, bpp=8 * (record.bytes + 1) / (24 * 40))
    assert problems(write([wrong])) == [
        f"holds {record.bytes} bytes; the record of {record.image} says {record.bytes + 1}"
    ]
    turned = changed(record, height=40, width=24)
    assert problems(write([turned])) == ["decodes to 40x24 pixels; picture0001 has 24x40"]
    path.unlink()
    data = b"not a file of Gaussians"
    broken = hashlib.sha256(data).hexdigest()
    (path.parent / f"{broken}.s2d").write_bytes(data)
    record = changed(record, file_sha256=broken, bytes=len(data), bpp=8 * len(data) / (24 * 40))
    (text,) = problems(write([record]))
    assert text.startswith("does not decode: ")


@pytest.fixture
def of_sample(good, write):
    """A record of a picture that comes with a package, its file in files/, and its PSNR measured now."""
    image = get_dataset("sample").images[0]
    pixels = load_image(get_dataset("sample").path(image.name)).pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=70)
    data = buffer.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    height, width = pixels.shape[:2]
    record = changed(
        next(record for record in good if record.column != "control" and "gaussians" in record.budget),
        dataset="sample", image=Path(image.name).stem, pixel_sha256=pixel_sha256(pixels), height=height, width=width,
        bytes=len(data), bpp=8 * len(data) / (height * width), file_sha256=sha256,
        metrics={"psnr": score(data, pixels, ["psnr"], ".jpg").values["psnr"]},
    )  # fmt: skip
    records = write([record])
    (records.parent / "files").mkdir()
    (records.parent / "files" / f"{sha256}.jpg").write_bytes(data)
    return records, record


def test_a_shifted_psnr_is_found_where_the_original_is_here(of_sample, write):
    records, record = of_sample
    checked = check([records], decode=True)
    assert (checked.measured_again, checked.problems) == (1, [])
    assert check([records]).measured_again is None
    for shift in (0.02, -0.02):
        write([changed(record, metrics__psnr=record.metrics["psnr"] + shift)])
        assert check([records]).problems == []
        (problem,) = check([records], decode=True).problems
        assert "evaluate again" in problem.finding.text
        assert f"the record says {record.metrics['psnr'] + shift:.3f} dB" in problem.finding.text


def test_what_is_not_here_is_not_measured_and_counted(of_sample, write):
    records, record = of_sample
    write([changed(record, dataset="../elsewhere", metrics__psnr=20.0)])
    checked = check([records], decode=True)
    assert (checked.encoded, checked.measured_again, checked.problems) == (1, 0, [])
