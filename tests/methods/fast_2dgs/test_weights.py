"""Files of weights: the authors', told apart and compared strictly, and ours."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from splatbench.checkpoints import CheckpointError
from splatbench.method import MethodError, WeightsMissing


@pytest.fixture
def released(part, tmp_path):
    """Files as the authors name them, with random weights of the published shapes: {kind: (network, path)}."""
    torch.manual_seed(0)
    unet = part("unet")
    nets = {
        "smp_heat_div2k": unet.HeatNet(),
        "smp_feat_best_psnr_26": unet.AttributeNet(offset=False),
        "smp_feat_best_psnr_26_plus": unet.AttributeNet(),
    }
    files = {}
    for name, net in nets.items():
        path = tmp_path / f"{name}.pth"
        torch.save(net.state_dict(), path)
        files[name] = net.eval(), path
    return files


def test_released_files_load_and_give_the_same_output(part, released):
    checkpoint = part("checkpoint")
    image, count = torch.rand(1, 3, 32, 32), torch.tensor([[50_000.0]])
    with torch.no_grad():
        for name, (net, path) in released.items():
            load = checkpoint.load_heat if "heat" in name else checkpoint.load_attributes
            loaded = load(path)
            assert not loaded.training and loaded.outputs == net.outputs
            assert torch.equal(loaded.raw(image, count), net.raw(image, count))


def test_base_and_plus_are_told_apart(part, released):
    load = part("checkpoint").load_attributes
    plain, plus = (load(released[name][1]) for name in ("smp_feat_best_psnr_26", "smp_feat_best_psnr_26_plus"))
    assert (plain.outputs, plain.shape.k_dim) == (6, 16) and (plus.outputs, plus.shape.k_dim) == (8, 64)


def test_files_that_do_not_fit_are_refused_with_one_message(part, released, tmp_path):
    checkpoint = part("checkpoint")
    heat, path = released["smp_heat_div2k"]
    with pytest.raises(CheckpointError, match=r"smp_heat_div2k\.pth: this is the other network.*`heat_weights`"):
        checkpoint.load_attributes(path)
    with pytest.raises(CheckpointError, match="belongs to `attribute_weights`"):
        checkpoint.load_heat(released["smp_feat_best_psnr_26"][1])

    def saved(**changes):
        state = heat.state_dict() | changes
        torch.save({name: value for name, value in state.items() if value is not None}, tmp_path / "changed.pth")
        return tmp_path / "changed.pth"

    wrong = {"up1.bias": None, "up9.bias": torch.zeros(3), "conv2.block.0.weight": torch.zeros(64, 256, 5, 5)}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_heat(saved(**wrong))
    for expected in (
        "1 missing: up1.bias",
        "1 unexpected: up9.bias",
        "conv2.block.0.weight [64, 256, 5, 5] instead of",
    ):
        assert expected in str(caught.value)
    with pytest.raises(CheckpointError, match="NaN or infinity, first k_to_beta.bias"):
        checkpoint.load_heat(saved(**{"k_to_beta.bias": torch.full((16,), torch.nan)}))
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"no heat network of Fast-2DGS; its first names are layer\.weight"):
        checkpoint.load_heat(tmp_path / "other.pth")


def test_official_weights_are_found_by_their_names(method, part, released, tmp_path, monkeypatch):
    weights, config = part("weights"), method.make_config({"preset": "official"})
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(tmp_path))
    names = [path.name for path in weights.find(config)]
    assert names == ["smp_heat_div2k.pth", "smp_feat_best_psnr_26_plus.pth"]
    loaded = weights.load(config, "cpu")
    assert loaded.convention == "published" and "smp_heat_div2k.pth" in loaded.note
    both = method.fingerprint(config)
    released["smp_feat_best_psnr_26_plus"][1].unlink()
    assert weights.find(config)[1].name == "smp_feat_best_psnr_26.pth"
    assert method.fingerprint(config) not in (both, "missing", "")
    released["smp_heat_div2k"][1].unlink()
    assert method.fingerprint(config) == "missing"
    looked = r"looked for .*smp_heat_div2k and smp_heat_500_0\.0005 with the endings.*SPLATBENCH_WEIGHTS"
    with pytest.raises(WeightsMissing, match=looked):
        method(config).prepare()
    assert method.fingerprint(method.make_config({"preset": "official", "start": "random"})) == ""


def test_small_weights_round_trip(part, small_weights):
    model = part("model").load_small(small_weights)
    assert model.convention == "exact" and not model.training
    assert (model.heat.shape.base, model.heat.shape.unshuffle, model.attributes.outputs) == (4, 2, 8)
    state = load_file(small_weights)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_small_weights_are_checked(part, small_weights, tmp_path):
    model, unet = part("model"), part("unet")
    with pytest.raises(MethodError, match="damaged"):
        (tmp_path / "a.safetensors").write_bytes(small_weights.read_bytes()[:500])
        model.load_small(tmp_path / "a.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(MethodError, match="its header says None"):
        model.load_small(tmp_path / "b.safetensors")
    for header in (
        {},
        {"heat": "{}"},
        {"heat": '{"base": 0}', "convention": "exact"},
        {"heat": "{}", "convention": "?"},
    ):
        save_file({"x": torch.zeros(1)}, tmp_path / "c.safetensors", {"format": model.FORMAT, **header})
        with pytest.raises(MethodError, match="the header does not describe a network"):
            model.load_small(tmp_path / "c.safetensors")
    model.save_small(tmp_path / "d.safetensors", model.SmallModel(unet.HeatNet(unet.Shape(4, 4))))
    assert model.load_small(tmp_path / "d.safetensors").attributes is None


def test_a_file_with_the_heat_network_alone_encodes_nothing(method, part, tmp_path):
    model, unet = part("model"), part("unet")
    path = tmp_path / "heat.safetensors"
    model.save_small(path, model.SmallModel(unet.HeatNet(unet.Shape(4, 4))))
    with pytest.raises(MethodError, match="holds the heat network alone"):
        method(method.make_config({"weights": str(path)})).prepare()
