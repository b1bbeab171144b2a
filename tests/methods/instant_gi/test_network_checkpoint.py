from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

TINY = {"widths": (8, 12, 16), "depths": (1, 3, 2)}


@pytest.fixture(scope="session")
def checkpoint(part):
    return part("network.checkpoint")


@pytest.fixture
def make(part):
    return lambda seed=0, **settings: part("network.official").OfficialNet.seeded(seed, **TINY, **settings)


@pytest.fixture
def refused(checkpoint, tmp_path):
    """Writes content as a checkpoint and returns what is said about it."""

    def message(content, name="epoch_best_ks_3.pth", **settings):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(checkpoint.CheckpointError) as error:
            checkpoint.load_official(path, **settings)
        assert str(path) in str(error.value)
        return str(error.value)

    return message


def released(net):
    """A file with everything that the released training writes."""
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    sum(p.sum() for p in net.parameters()).backward()
    optimiser.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 100, 1e-5)
    net.zero_grad()
    return {
        "epoch": 98,
        "model": net.state_dict(),
        "optimizer": optimiser.state_dict(),
        "scheduler": scheduler.state_dict(),
        "train_loss": np.float32(0.02),
        "best_psnr": np.float64(29.68),
    }


def test_a_released_file_loads_with_its_own_widths_and_depths(checkpoint, make, tmp_path):
    net = make(3)
    torch.save(released(net), tmp_path / "epoch_best_ks_4.pth")
    back = checkpoint.load_official(tmp_path / "epoch_best_ks_4.pth", block=4)
    assert back.block == 4 and back.least_side == 8 and not back.training
    found = back.state_dict()
    assert list(found) == list(net.state_dict())
    assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
    assert not any(t.is_meta for t in [*back.parameters(), *back.buffers()])
    image = torch.rand(1, 3, 17, 20)
    with torch.no_grad():
        assert torch.equal(back.features(image), net.eval().features(image))


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_the_statistics_are_a_setting(checkpoint, make, tmp_path, batch_statistics):
    path = tmp_path / "net.pth"
    checkpoint.save_official(path, make())
    net, image = checkpoint.load_official(path, batch_statistics=batch_statistics), torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        seen = net.feature_net.in_conv(image)
        mean = net.feature_net.in_conv.in_conv[:2](image).mean((0, 2, 3))
    assert seen.min() == 0 and bool(mean.abs().max() < 1e-5) == batch_statistics


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_saved_network_comes_back(checkpoint, make, tmp_path, suffix):
    net, path = make(5), tmp_path / f"net_ks_3{suffix}"
    checkpoint.save_official(path, net, epoch=7)
    found = checkpoint.load_official(path).state_dict()
    assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
    assert checkpoint.read_checkpoint(path).epoch == 7
    assert list(tmp_path.iterdir()) == [path]


def test_weights_alone_load_too(checkpoint, make, tmp_path):
    state = make().state_dict()
    save_file(state, tmp_path / "net.safetensors")
    torch.save(state, tmp_path / "net.pth")
    for path in tmp_path.iterdir():
        found = checkpoint.load_official(path).state_dict()
        assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("name", "block", "fits"),
    [
        ("epoch_best_ks_3.pth", 3, True),
        ("epoch_best_ks_3_cupy.pth", 3, True),
        ("mine.pth", 4, True),
        ("epoch_best_ks_3.pth", 4, False),
        ("epoch_best_ks_4.pth", 3, False),
        ("epoch_best_ks_3_cupy.pth", 4, False),
    ],
)
def test_a_name_that_says_another_block_is_a_contradiction(checkpoint, make, refused, tmp_path, name, block, fits):
    content = {"model": make().state_dict()}
    if fits:
        torch.save(content, tmp_path / name)
        assert checkpoint.load_official(tmp_path / name, block=block).block == block
    else:
        said = refused(content, name, block=block)
        assert f"the settings say {block}; set `block: {7 - block}`" in said


def test_every_kind_of_misfit_is_in_one_message(make, refused):
    state = make().state_dict()
    del state["bc_field.0.bias"]
    state["module.outc"] = torch.zeros(1)
    state["color_field.4.weight"] = torch.zeros(3, 94)
    state["position_field.0.bias"] = torch.zeros(64, dtype=torch.int64)
    said = refused({"model": state})
    assert "1 missing: bc_field.0.bias" in said and "1 unexpected: module.outc" in said
    assert "1 of another shape: color_field.4.weight [3, 94] instead of [1, 94]" in said
    assert "1 of another type: position_field.0.bias torch.int64" in said


def test_a_stage_with_a_gap_does_not_fit(make, refused):
    state = make().state_dict()
    for name in [name for name in state if ".stages.1.1." in name]:
        del state[name]
    said = refused({"model": state})
    assert "9 unexpected: feature_net.convnext_encoder.stages.1.2.gamma" in said
    assert "9 missing: feature_net.convnext_encoder.stages.1.1.gamma" in said


def test_a_stage_number_out_of_all_proportion_builds_nothing(make, refused):
    state = make().state_dict()
    state["feature_net.convnext_encoder.stages.1.999999999.gamma"] = torch.zeros(12)
    assert "1 unexpected: feature_net.convnext_encoder.stages.1.999999999.gamma" in refused({"model": state})


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_weights_that_diverged_are_refused(make, refused, bad):
    state = make().state_dict()
    state["feature_net.unet_decoder.up2.up.weight"][1, 0, 1, 1] = bad
    said = refused({"model": state})
    assert "1 entries hold NaN or infinity, first feature_net.unet_decoder.up2.up.weight" in said


def test_files_of_something_else_are_named(make, refused):
    assert "no network of Instant-GI; its first names are weight" in refused({"weight": torch.zeros(3)})
    state = make().state_dict()
    headless = {name: value for name, value in state.items() if not name.startswith("feature_net.")}
    assert "no network of Instant-GI; its first names are position_field.0.weight" in refused({"model": headless})
    later = {name: value for name, value in state.items() if ".stages.0." not in name}
    assert "no network of Instant-GI" in refused({"model": later})
    assert "holds no weights but epoch, best_psnr. Its weights" in refused({"epoch": 4, "best_psnr": 31.0})


def test_damaged_files_are_refused(checkpoint, make, refused, tmp_path):
    checkpoint.save_official(tmp_path / "net.pth", make())
    whole = (tmp_path / "net.pth").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>quota exceeded</html>"):
        assert "Download it again" in refused(content)
    with pytest.raises(checkpoint.CheckpointError, match="no such file"):
        checkpoint.load_official(tmp_path / "missing.pth")
