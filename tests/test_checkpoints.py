"""What the checkpoints of all released networks have in common; the methods' own tests have the rest."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from splatbench.checkpoints import Checkpoint, CheckpointError, first_names, fitting, read_checkpoint, write_checkpoint
from splatbench.method import MethodError


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


NOTES = {"epoch": 12, "settings": {"patch": 7, "rates": [1e-3, 1e-5]}, "name": "a run"}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_what_is_written_is_read_with_its_notes(module, tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, module, NOTES)
    found = read_checkpoint(path)
    assert found.notes == NOTES and found.epoch == 12
    assert set(found.state) == set(module.state_dict())
    assert all(torch.equal(found.state[name], value) for name, value in module.state_dict().items())
    assert list(tmp_path.iterdir()) == [path]


def test_metadata_that_are_no_json_stay_text(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "net.safetensors", {"format": "pt", "epoch": "3", "note": "{not json"})
    found = read_checkpoint(tmp_path / "net.safetensors")
    assert found.notes == {"format": "pt", "epoch": 3, "note": "{not json"}


@pytest.mark.parametrize("epoch", ["last", None, 1.5, {"of": 3}])
def test_an_epoch_is_a_number_or_not_known(epoch):
    assert Checkpoint({}, {"epoch": epoch}).epoch is None


def test_scores_saved_as_numpy_numbers_are_plain_values(module, tmp_path):
    """Trainings save the mean of an array: its type is neither a tensor nor Python's."""
    scores = {"psnr": np.float64(29.5), "loss": np.float32(0.25), "step": np.int64(7), "best": np.bool_(True)}
    torch.save({"model": module.state_dict(), **scores}, tmp_path / "net.pt")
    assert read_checkpoint(tmp_path / "net.pt").notes == scores
    with zipfile.ZipFile(tmp_path / "net.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():  # numpy 1 calls the module otherwise
            old.writestr(name, new.read(name).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert b"numpy._core" not in (tmp_path / "old.pt").read_bytes()
    assert read_checkpoint(tmp_path / "old.pt").notes == scores


def test_objects_are_not_made(module, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    for content in ({"model": module.state_dict(), "extra": Trap()}, {"extra": np.array([Trap()], dtype=object)}):
        torch.save(content, tmp_path / "net.pt")
        with pytest.raises(CheckpointError, match="beyond tensors and plain values, which are not loaded"):
            read_checkpoint(tmp_path / "net.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_file_without_weights_gets_the_advice(tmp_path):
    torch.save({"epoch": 3, "rate": 0.1}, tmp_path / "log.pt")
    with pytest.raises(CheckpointError, match=r"holds no weights but epoch, rate\. Take the other file$"):
        read_checkpoint(tmp_path / "log.pt", "Take the other file")
    with pytest.raises(CheckpointError, match=r"holds no weights but epoch, rate\.$"):
        read_checkpoint(tmp_path / "log.pt")


def test_what_fits_comes_in_the_order_and_types_of_the_network(module):
    own = module.state_dict()
    state = {name: value.half() if value.is_floating_point() else value.int() for name, value in own.items()}
    found = fitting(dict(reversed(state.items())), own, "file")
    assert list(found) == list(own)
    for name, value in own.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], state[name].to(value.dtype))


def test_all_that_does_not_fit_is_in_one_message_that_stays_short(module):
    own = {f"layer.{k}": torch.zeros(2) for k in range(9)}
    state = {f"module.{name}": value for name, value in own.items()} | {"layer.0": torch.zeros(2, 1)}
    with pytest.raises(CheckpointError) as error:
        fitting(state, own, "net.pt")
    assert str(error.value) == (
        "net.pt: does not fit the network of 9 entries. 8 missing: layer.1, layer.2, layer.3, layer.4 ...; "
        "9 unexpected: module.layer.0, module.layer.1, module.layer.2, module.layer.3 ...; "
        "1 of another shape: layer.0 [2, 1] instead of [2]"
    )
    assert isinstance(error.value, MethodError)  # rows of records say why


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(module, bad):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    state["1.running_var"][2] = bad
    with pytest.raises(CheckpointError, match=r"^net\.pt: 1 entries hold NaN or infinity, first 1\.running_var:"):
        fitting(state, module.state_dict(), "net.pt")


def test_first_names():
    assert [first_names("abcde"[:n]) for n in (0, 1, 4, 5)] == ["", "a", "a, b, c, d", "a, b, c, d ..."]
