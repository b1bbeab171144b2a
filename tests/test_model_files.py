"""Files of our own weights: what is written comes back, in half the space too; everything else is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from splatbench.method import MethodError
from splatbench.model_files import load_model, save_model


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(width, 2), nn.BatchNorm1d(2)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net(5)
    net.norm(torch.randn(4, 2))
    return net


def build(header):
    return Net(int(header["width"]))


def test_weights_come_back_to_the_bit_in_evaluation_mode(net, tmp_path):
    save_model(tmp_path / "a.safetensors", "kind 1", net, {"width": "5"})
    back = load_model(tmp_path / "a.safetensors", "kind 1", build)
    assert not back.training
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in net.state_dict().items())


def test_half_precision_is_half_the_file_and_within_its_rounding(net, tmp_path):
    save_model(tmp_path / "a.safetensors", "kind 1", net, {"width": "5"}, half=True)
    stored = load_file(tmp_path / "a.safetensors")
    assert stored["layer.weight"].dtype == torch.float16 and stored["norm.running_var"].dtype == torch.float32
    net.norm.running_var.fill_(1e9)
    save_model(tmp_path / "a.safetensors", "kind 1", net, {"width": "5"}, half=True)
    back = load_model(tmp_path / "a.safetensors", "kind 1", build).state_dict()
    for name, value in net.state_dict().items():
        assert back[name].dtype == value.dtype
        assert torch.allclose(back[name].double(), value.double(), rtol=2**-11, atol=2**-25), name


def test_what_float16_does_not_reach_is_refused(net, tmp_path):
    net.layer.weight.data[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"layer\.weight.*write it in full"):
        save_model(tmp_path / "a.safetensors", "kind 1", net, {"width": "5"}, half=True)
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": "kind 2", "width": "5"}, "'kind 2'.*'kind 1'"),
        ({"format": "kind 1"}, "does not describe a network"),
        ({"format": "kind 1", "width": "many"}, "does not describe a network"),
        ({"format": "kind 1", "width": "6"}, r"\[2, 5\] instead of \[2, 6\]"),
    ],
)
def test_headers_that_do_not_fit_are_refused(net, tmp_path, header, message):
    save_file(net.state_dict(), tmp_path / "a.safetensors", metadata=header)
    with pytest.raises(MethodError, match=message):
        load_model(tmp_path / "a.safetensors", "kind 1", build)


def test_damaged_files_are_refused(net, tmp_path):
    path = tmp_path / "a.safetensors"
    save_model(path, "kind 1", net, {"width": "5"})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(MethodError, match="damaged"):
        load_model(path, "kind 1", build)
