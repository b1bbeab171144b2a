from __future__ import annotations

import hashlib
import os
import random

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def checkpoint(part):
    return part("network.checkpoint")


@pytest.fixture
def make(part, tiny_shape):
    def build(seed=0, **settings):
        return part("network.airnet").AirNet.seeded(seed, shape=tiny_shape, **settings)

    return build


@pytest.fixture
def load(checkpoint, tiny_shape):
    return lambda path: checkpoint.load_official(path, tiny_shape)


@pytest.fixture
def refused(checkpoint, load, tmp_path):
    """Writes content as a checkpoint and returns what is said about it."""

    def message(content, name="weights.pt"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(checkpoint.CheckpointError) as error:
            load(path)
        assert str(path) in str(error.value)
        return str(error.value)

    return message


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("settings", [{}, {"patch": 5, "heads": 3, "quantise": False}, {"patch": 14, "heads": 1}])
def test_a_saved_network_comes_back(checkpoint, make, load, tmp_path, suffix, settings):
    net, path = make(**settings), tmp_path / f"net{suffix}"
    checkpoint.save(net, path, epoch=3)
    back = load(path)
    assert (back.patch, back.stages, back.codec is None) == (net.patch, net.stages, net.codec is None)
    assert not back.training
    found = back.state_dict()
    for name, value in net.state_dict().items():
        assert torch.equal(found[name], value), name
    assert not any(t.is_meta for t in [*back.parameters(), *back.buffers()])
    assert all(p.requires_grad for p in back.parameters())
    residual = torch.rand(1, 3, 40, 50)
    with torch.no_grad():
        assert torch.equal(back(residual, 0).raw, net.eval()(residual, 0).raw)
    assert checkpoint.read_checkpoint(path).epoch == 3
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_has_the_released_layout(checkpoint, make, tmp_path):
    net = make()
    checkpoint.save(net, tmp_path / "net.pt", epoch=9, model_config={"any": "thing"})
    content = torch.load(tmp_path / "net.pt", weights_only=True)
    assert content["epoch"] == 9 and content["model_config"] == {"any": "thing"}
    assert set(content["model"]) == set(net.state_dict())


def test_training_what_was_loaded_leaves_the_file_alone_and_may_overwrite_it(checkpoint, make, load, tmp_path):
    path = tmp_path / "net.pt"
    checkpoint.save(make(), path)
    digest = hashlib.sha256(path.read_bytes()).digest()
    net = load(path)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(1)
    assert hashlib.sha256(path.read_bytes()).digest() == digest
    checkpoint.save(net, path)
    again = load(path).state_dict()
    assert all(torch.equal(again[name], value) for name, value in net.state_dict().items())


def test_weights_saved_with_fewer_bits_become_float32(make, load, tmp_path):
    state = {n: v.half() if v.is_floating_point() else v for n, v in make().state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    back = load(tmp_path / "half.safetensors").state_dict()
    assert all(torch.equal(back[n], v.float() if v.is_floating_point() else v) for n, v in state.items())
    assert back["gaussian_heads.0.gaussian_linear.weight"].dtype == torch.float32


def test_every_kind_of_misfit_is_counted_and_named(make, refused):
    state = make().state_dict()
    for name in [name for name in state if "heads.1.neck" in name]:
        state[f"module.{name}"] = state.pop(name)
    state["gaussian_heads.2.gaussian_linear.bias"] = torch.zeros(9)
    state["gaussian_heads.2.feat_layer_norm.bias"] = torch.zeros(10, dtype=torch.int64)
    said = refused({"model": state, "model_config": {}, "epoch": 1})
    moved = sum("heads.1.neck" in name for name in state)
    assert f"{moved} missing: gaussian_heads.1.neck.input_blocks.0.weight," in said
    assert f"{moved} unexpected: module.gaussian_heads.1.neck.input_blocks.0.weight," in said
    assert "1 of another shape: gaussian_heads.2.gaussian_linear.bias [9] instead of [8]" in said
    assert "1 of another type: gaussian_heads.2.feat_layer_norm.bias torch.int64 instead of torch.float32" in said
    assert said.count("gaussian_heads.1.neck") == 8  # four of each, not all


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_diverged_are_refused(make, refused, bad):
    state = make().state_dict()
    state["gaussian_heads.3.encoder.backbone.blocks.0.mlp.fc1.weight"][2, 3] = bad
    said = refused({"model": state})
    assert "1 entries hold NaN or infinity, first gaussian_heads.3.encoder.backbone.blocks.0.mlp.fc1.weight" in said


def test_other_bit_depths_are_refused(make, refused):
    state = make().state_dict()
    state["feed_forward_gaussian_codec.color_quantizer.qmax_per_channel"] = torch.tensor([255.0, 31.0, 31.0])
    said = refused({"model": state})
    assert "color_quantizer.qmax_per_channel is [255.0, 31.0, 31.0], the published quantiser has [255.0, 15.0" in said


def test_the_released_log_without_weights_is_told_from_a_checkpoint(refused):
    said = refused({"epoch": 4, "best_psnr": 31.0, "checkpoint": "epoch_4.pt"}, "latest.pt")
    assert "holds no weights but epoch, best_psnr" in said and "numbered file" in said
    assert "holds no weights but nothing" in refused({"model": {}, "epoch": 1})


def test_truncated_and_foreign_files_are_refused(checkpoint, make, refused, tmp_path):
    checkpoint.save(make(heads=1), tmp_path / "net.pt")
    whole = (tmp_path / "net.pt").read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole[:100],
        b"",
        b"<html>quota exceeded</html>",
        random.Random(0).randbytes(3000),
    ):
        assert "Download it again" in refused(content)
    checkpoint.save(make(heads=1), tmp_path / "net.safetensors")
    whole = (tmp_path / "net.safetensors").read_bytes()
    assert "Download it again" in refused(whole[: len(whole) // 2], "cut.safetensors")
    assert "expected a dictionary of weights, found list" in refused([1, 2])


def test_objects_are_not_unpickled(refused, tmp_path):
    """A file that would run code when unpickled: it does not run, and the error says so."""

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    assert "not loaded" in refused({"model": Trap()})
    assert not (tmp_path / "sprung").exists()


def test_files_of_something_else_are_named(refused, make):
    backbone = make(heads=1).gaussian_heads[0].encoder.backbone.state_dict()
    assert "DINOv3 encoder" in refused(backbone)
    assert "no network of AIR; its first names are weight" in refused({"weight": torch.zeros(3)})


def test_a_missing_file_is_said_to_be_missing(checkpoint, tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="no such file"):
        checkpoint.load_official(tmp_path / "ps_7.pt")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_heads": 3}, "num_heads = 3, its weights 4"),
        ({"head": {"patch_embedding": {"patch_size": 14}}}, "patch_size = 14, its weights 7"),
        ({"quantize": False}, "quantize = False, its weights True"),
    ],
)
def test_settings_that_contradict_the_weights_are_warned_of(checkpoint, make, load, tmp_path, config, words):
    checkpoint.save(make(), tmp_path / "net.pt", model_config=config)
    with pytest.warns(RuntimeWarning, match=words):
        assert load(tmp_path / "net.pt").patch == 7


def test_settings_that_agree_or_mean_something_else_are_no_matter(checkpoint, make, load, tmp_path, recwarn):
    encoder = {"encoder": {"patch_size": 16, "num_heads": 12}, "patch_embedding": {"patch_size": 7}}
    checkpoint.save(make(), tmp_path / "net.pt", model_config={"num_heads": 4, "quantize": True, "head": encoder})
    load(tmp_path / "net.pt")
    assert not recwarn.list


def test_dinov3_goes_into_all_encoders_and_nowhere_else(checkpoint, make, tmp_path):
    source, net = make(5, heads=1).gaussian_heads[0].encoder.backbone.state_dict(), make(1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plain = tmp_path / "vit.pth"
    torch.save(source, plain)
    path = tmp_path / f"vit-{hashlib.sha256(plain.read_bytes()).hexdigest()[:8]}.pth"
    plain.rename(path)
    checkpoint.load_dinov3(path, net)
    for name, value in net.state_dict().items():
        _, found, inner = name.partition(".backbone.")
        assert torch.equal(value, source[inner] if found else before[name]), name
    with torch.no_grad():  # no memory is shared
        net.gaussian_heads[0].encoder.backbone.norm.weight.add_(1)
    assert not torch.equal(
        net.gaussian_heads[0].encoder.backbone.norm.weight, net.gaussian_heads[1].encoder.backbone.norm.weight
    )


def test_dinov3_files_that_do_not_fit_are_refused(checkpoint, make, tmp_path):
    source, net = make(5, heads=1), make(1)
    state = source.gaussian_heads[0].encoder.backbone.state_dict()
    torch.save(state, tmp_path / "vit-00000000.pth")
    with pytest.raises(checkpoint.CheckpointError, match="does not begin with 00000000"):
        checkpoint.load_dinov3(tmp_path / "vit-00000000.pth", net)
    state["blocks.0.attn.qkv.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "vit.pth")
    with pytest.raises(
        checkpoint.CheckpointError, match=r"blocks\.0\.attn\.qkv\.weight \[3, 3\] instead of \[96, 32\]"
    ):
        checkpoint.load_dinov3(tmp_path / "vit.pth", net)
    checkpoint.save(source, tmp_path / "air.pt")
    with pytest.raises(checkpoint.CheckpointError, match="encoders are inside"):
        checkpoint.load_dinov3(tmp_path / "air.pt", net)


def test_another_patch_size_starts_its_embeddings_anew_and_takes_the_rest(checkpoint, make):
    source, net = make(5).state_dict(), make(1, patch=14)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    transfer = checkpoint.transfer(source, net)
    kernels = {f"gaussian_heads.{k}.patch_embedding.patchify.conv.weight" for k in range(4)}
    assert set(transfer.reinitialised) == kernels and set(transfer.kept) == set(before) - kernels
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name] if name in kernels else source[name]), name


def test_the_same_patch_size_takes_everything(checkpoint, make):
    source, net = make(5).state_dict(), make(1)
    assert not checkpoint.transfer(source, net).reinitialised
    assert all(torch.equal(value, source[name]) for name, value in net.state_dict().items())


def test_a_quantiser_that_is_new_keeps_its_start(checkpoint, make):
    source, net = make(5, quantise=False).state_dict(), make(1)
    before = {name: value.clone() for name, value in net.codec.state_dict().items()}
    transfer = checkpoint.transfer(source, net)
    assert len(transfer.reinitialised) == 20 and all("codec" in name for name in transfer.reinitialised)
    assert all(torch.equal(value, before[name]) for name, value in net.codec.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("gaussian_heads.0.gaussian_linear.bias"), "1 missing: gaussian_heads.0.gaussian_linear.bias"),
        (lambda s: s.update(more=torch.zeros(1)), "1 unexpected: more"),
        (lambda s: s.update({"gaussian_heads.0.gaussian_linear.bias": torch.zeros(7)}), r"\[7\] instead of \[8\]"),
        (lambda s: s.pop("feed_forward_gaussian_codec.xy_quantizer.offset_net.bias"), "1 missing: feed_forward"),
        (
            lambda s: s.update({"gaussian_heads.0.patch_embedding.patchify.conv.weight": torch.zeros(10, 5, 7, 7)}),
            "another shape",
        ),
        (lambda s: s["gaussian_heads.0.gaussian_linear.bias"].fill_(float("nan")), "NaN"),
    ],
)
def test_nothing_else_may_differ(checkpoint, make, change, words):
    source, net = make(5).state_dict(), make(1, patch=5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    change(source)
    with pytest.raises(checkpoint.CheckpointError, match=words):
        checkpoint.transfer(source, net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_file_is_whole_or_not_there(checkpoint, make, tmp_path, monkeypatch):
    def full(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(make(), tmp_path / "net.pt")
    assert not list(tmp_path.iterdir())
