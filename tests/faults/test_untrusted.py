"""Files that lie: pickles are never executed, and no name leads out of its folder."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from splatbench.checkpoints import CheckpointError, read_checkpoint
from splatbench.exchange import ExchangeError, read_arrays
from splatbench.experiment import ExperimentError
from splatbench.metrics import weights
from splatbench.record import to_line
from splatbench.runner.collect import collect
from splatbench.runner.plan import Plan, safe_name
from splatbench.runner.results import EncodedFile, EncodeResult, read_result, write_result
from tests.faults.conftest import Project, Table


class _Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _npy(canary: _Canary) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([canary], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _npz(canary: _Canary) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("means", "scales", "angles", "colors", "facts"):
            archive.writestr(f"{name}.npy", _npy(canary))
    return buffer.getvalue()


def _torch(canary: _Canary) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": {"weight": torch.zeros(2)}, "extra": canary}, buffer)
    return buffer.getvalue()


READERS: dict[str, tuple[str, Callable[[Path], Any], type[Exception] | tuple[type[Exception], ...]]] = {
    "import of arrays": (".npz", read_arrays, ExchangeError),
    "checkpoint": (".pth", read_checkpoint, CheckpointError),
    "weights of a metric": (".pth", weights.load, (pickle.UnpicklingError, RuntimeError, weights.MetricNotRun)),
}


@pytest.mark.parametrize("content", [pickle.dumps, _npy, _npz, _torch])
@pytest.mark.parametrize("reader", READERS)
def test_pickles_are_never_executed(tmp_path: Path, reader: str, content: Callable[[_Canary], bytes]) -> None:
    suffix, read, errors = READERS[reader]
    touched = tmp_path / "touched"
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content(_Canary(touched)))
    with pytest.raises(errors):
        read(path)
    assert not touched.exists()


def test_the_canary_would_sing(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Canary(tmp_path / "touched")))  # noqa: S301  (what the others must not do)
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "a/b.s2d", "..\\x.s2d", "a\0b", "a\nb", "", "C:x", "~/x"]
)
def test_a_file_of_a_result_is_a_name_and_never_a_path(tmp_path: Path, name: str) -> None:
    if name == "~/x":
        name = "~/../x"
    with pytest.raises(ValidationError):
        EncodedFile(snapshot="final", file=name, sha256="0" * 64, bytes=1)


def test_a_result_that_points_elsewhere_is_made_again(project: Project, undisturbed: Table) -> None:
    """Even with the right hash of the other file and without a digest, as older versions wrote them."""
    secret = project.folder / "secret.s2d"
    path = project.result("own", "w32")
    document = json.loads(path.read_text())
    (file,) = document["files"]
    (path.parent / file["file"]).rename(secret)
    del document["digest"]
    document["layout"] = 1
    file["file"] = "../../../../../../secret.s2d"
    path.write_text(json.dumps(document))
    assert project.run() == undisturbed
    assert "it is no EncodeResult: 1 values do not fit; encoded again" in project.said


@pytest.mark.parametrize("image", ["..", ".", "a/b", "../../x", "CON", "a\nb", "ä%2F", "@2", "x" * 60])
def test_names_of_pictures_stay_inside_their_folder(tmp_path: Path, image: str) -> None:
    path = tmp_path / "a" / f"{safe_name(image)}.json"
    assert path.resolve().parent == (tmp_path / "a").resolve()
    write_result(path, EncodeResult(image=image))
    result = read_result(EncodeResult, path)
    assert result is not None and result.image == image


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "x\n", "/abs"])
def test_names_of_experiments_and_entries_are_plain(project: Project, name: str) -> None:
    for place in ('name: "tiny"', 'id: "copy"'):
        key = place.split(":")[0]
        text = (project.folder / "tiny.yaml").read_text()
        old = f"{key}: tiny" if key == "name" else f"{key}: copy"
        assert text.count(old) == 1
        (project.folder / "tiny.yaml").write_text(text.replace(old, f"{key}: {json.dumps(name)}"))
        with project.here(), pytest.raises(ExperimentError, match="tiny.yaml"):
            Plan.load("tiny.yaml")
        (project.folder / "tiny.yaml").write_text(text)


def test_a_link_in_results_is_replaced_not_followed(project: Project, undisturbed: Table) -> None:
    """What it points to stays as it is, though a new result is written under the link's name."""
    other = project.folder / "diary.txt"
    other.write_text("mine")
    path = project.result("own", "w32")
    for link in (path, path.with_suffix(".s2d"), project.result("jpeg", "w32", "evaluations")):
        link.unlink()
        link.symlink_to(other)
    assert project.run() == undisturbed
    assert other.read_text() == "mine" and not path.is_symlink()


def test_rows_hold_no_absolute_path_of_a_file(project: Project) -> None:
    with project.here():
        for record in collect(project.plan()):
            assert record.file is None or not Path(record.file).is_absolute(), to_line(record)
