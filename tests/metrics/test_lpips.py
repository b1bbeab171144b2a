"""LPIPS: the published example pair, the package itself, tiles against the whole, and weights that are missing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from splatbench.metrics import MetricNotRun, array_strips, evaluate, weights
from splatbench.metrics.lpips import HALO, LpipsStream, build_model, load_model

# The package calls torchvision's older interface.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torchvision")

NETS = ["alex", "vgg", "squeeze"]


@pytest.fixture
def given_weights() -> Path:
    for root in os.environ.get("SPLATBENCH_WEIGHTS", "").split(os.pathsep):
        if root and (Path(root) / "check" / "ex_ref.png").is_file():
            return Path(root)
    pytest.skip("needs LPIPS weights with the example pair: set SPLATBENCH_WEIGHTS to a folder with check/ex_ref.png")


def _package(model, picture: np.ndarray, reference: np.ndarray) -> float:
    """The package's own call, told that its input lies in [0, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    y = torch.from_numpy(reference.astype(np.float32)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        return float(model(x, y, normalize=True))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("net", "other", "expected"),
    [
        ("alex", "ex_p0", 0.721881),
        ("alex", "ex_p1", 0.137566),
        ("squeeze", "ex_p0", 0.711048),
        ("squeeze", "ex_p1", 0.147902),
    ],
)
def test_example_pair_of_the_package(given_weights, net: str, other: str, expected: float, streamed: bool) -> None:
    """The pair in imgs/ of the LPIPS repository, whose README gives 0.722 and 0.138 for alex."""
    reference = np.asarray(Image.open(given_weights / "check" / "ex_ref.png").convert("RGB"))
    picture = np.asarray(Image.open(given_weights / "check" / f"{other}.png").convert("RGB"))
    name = f"lpips_{net}"
    values, not_run = evaluate([name], picture.astype(np.float32) / np.float32(255), reference, streamed=streamed)
    assert not not_run
    assert values[name] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_kodak(given_weights, kodak, jpeg, net: str) -> None:
    """Against a module that the package built and filled itself."""
    reference = np.asarray(Image.open(kodak / "kodim02.png").convert("RGB"))
    picture = jpeg(reference, 10)
    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)  # its own linear layers
    backbone = weights.load(weights.locate(f"lpips_{net}"))
    own = model.net.state_dict()
    model.net.load_state_dict({name: backbone["features." + name.split(".", 1)[1]] for name in own})
    value = evaluate([f"lpips_{net}"], picture, reference)[0][f"lpips_{net}"]
    assert value == pytest.approx(_package(model, picture, reference), abs=1e-6)


@pytest.mark.parametrize("net", NETS)
def test_our_module_is_the_package_module(random_lpips, pairs, net: str) -> None:
    """build_model with a module's own weights gives that module's values."""
    theirs = random_lpips(net)
    backbone = {f"features.{name.split('.', 1)[1]}": value for name, value in theirs.net.state_dict().items()}
    linear = {
        name: value for name, value in theirs.state_dict().items() if name.startswith("lin") and name[3].isdigit()
    }
    ours = build_model(net, backbone, linear)
    picture, reference = (part[:128, :150] for part in pairs["coffee 400x597, JPEG 60"])
    assert _package(ours, picture, reference) == _package(theirs, picture, reference) > 0


@pytest.mark.parametrize(("net", "tile"), [("alex", 96), ("alex", 208), ("squeeze", 96), ("vgg", 144)])
def test_strips_equal_whole(random_lpips, odd_pair, net: str, tile: int) -> None:
    """Relative, because random weights give small values."""
    picture, reference = (part[:, :371] for part in odd_pair)
    model = random_lpips(net)
    stream = LpipsStream(model, net, reference, "cpu", tile)
    for row0, strip in array_strips(picture, 37):
        stream.push(row0, strip)
    assert stream.value() == pytest.approx(_package(model, picture, reference), rel=1e-6)


@pytest.mark.parametrize("net", NETS)
def test_halo_covers_the_receptive_field(random_lpips, net: str) -> None:
    """Gradients of a deep feature reach no further than HALO beyond its own step of 16 pixels."""
    model, place = random_lpips(net), 9
    image = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0), requires_grad=True)
    features = model.net(image)[-1]
    features[0, :, place, place].sum().backward()
    reached = image.grad[0].abs().sum(0).sum(1).nonzero()
    left, right = 16 * place - int(reached.min()), int(reached.max()) - (16 * place + 15)
    assert 16 < max(left, right) <= HALO[net] and HALO[net] - max(left, right) < 32


@pytest.mark.parametrize("size", [(31, 40), (33, 31), (47, 95)])
def test_smallest_sides(random_lpips, size: tuple[int, int]) -> None:
    """Tiles whose core owns no deep feature are left out of the mean."""
    rng = np.random.default_rng(1)
    picture, reference = rng.random((*size, 3), np.float32), rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    model = random_lpips("alex")
    stream = LpipsStream(model, "alex", reference, "cpu", tile=16)
    stream.push(0, picture)
    assert stream.value() == pytest.approx(_package(model, picture, reference), rel=1e-6)


@pytest.fixture
def own_manifest(tmp_path: Path, monkeypatch, random_lpips):
    """A manifest with a random SqueezeNet, as .pth and as .safetensors in different folders."""
    from safetensors.torch import save_file

    model = random_lpips("squeeze")
    state = {f"features.{name.split('.', 1)[1]}": value.clone() for name, value in model.net.state_dict().items()}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    torch.save(state, tmp_path / "one" / "s.pth")
    save_file(state, tmp_path / "two" / "s.safetensors")
    manifest = yaml.safe_load(weights.MANIFEST.read_text())
    manifest["weights"]["lpips_squeeze"]["files"] = [
        {"file": f.name, "bytes": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()}
        for f in (tmp_path / "one" / "s.pth", tmp_path / "two" / "s.safetensors")
    ]
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(manifest))
    monkeypatch.setattr(weights, "MANIFEST", tmp_path / "weights.yaml")
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    load_model.cache_clear()
    yield tmp_path
    load_model.cache_clear()


@pytest.mark.parametrize("folder", ["one", "two"])
def test_weights_from_either_format(own_manifest: Path, monkeypatch, crop, folder: str) -> None:
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", os.pathsep.join(["/nowhere", str(own_manifest / folder)]))
    picture = np.clip(crop.astype(np.float32) / 255 + 0.1, 0, 1)
    values, not_run = evaluate(["lpips_squeeze"], picture, crop)
    assert not not_run
    reference_module = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    state = weights.load(own_manifest / "one" / "s.pth")
    own = reference_module.net.state_dict()
    reference_module.net.load_state_dict({name: state["features." + name.split(".", 1)[1]] for name in own})
    assert values["lpips_squeeze"] == pytest.approx(_package(reference_module, picture, crop), abs=1e-6)


def test_missing_weights_are_not_run(own_manifest: Path, monkeypatch, crop) -> None:
    """The other metrics are measured; the reason names file, command and setting, and no folder of this machine."""
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", "")
    values, not_run = evaluate(["lpips_vgg", "psnr"], crop.astype(np.float32) / 255, crop)
    assert values["lpips_vgg"] is None and values["psnr"] == 100.0
    assert list(not_run) == ["lpips_vgg"]
    for part in ("vgg16-397923af.pth", "`splatbench weights fetch lpips_vgg`", "SPLATBENCH_WEIGHTS"):
        assert part in not_run["lpips_vgg"]
    assert str(own_manifest) not in not_run["lpips_vgg"]


def test_damaged_weights_are_not_used(own_manifest: Path, monkeypatch, crop) -> None:
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(own_manifest / "two"))
    file = own_manifest / "two" / "s.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    values, not_run = evaluate(["lpips_squeeze"], crop.astype(np.float32) / 255, crop)
    assert values["lpips_squeeze"] is None
    assert "not the right bytes" in not_run["lpips_squeeze"] and str(file) in not_run["lpips_squeeze"]


def test_weights_of_another_network_are_named(random_lpips) -> None:
    state = {f"features.{name.split('.', 1)[1]}": v for name, v in random_lpips("squeeze").net.state_dict().items()}
    with pytest.raises(MetricNotRun, match=r"alex.*\.weight|features"):
        build_model("alex", state, {})
    alex = random_lpips("alex")
    own = {f"features.{name.split('.', 1)[1]}": v for name, v in alex.net.state_dict().items()}
    with pytest.raises(MetricNotRun, match="no values for lin"):
        build_model("alex", own, {})


def test_nothing_is_downloaded(own_manifest: Path, monkeypatch, crop) -> None:
    """Neither lpips nor torchvision may fetch weights behind our back."""

    def refuse(*args, **kwargs):
        raise AssertionError("a download was started")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(own_manifest / "one"))
    values, not_run = evaluate([f"lpips_{net}" for net in NETS], crop.astype(np.float32) / 255, crop)
    assert values["lpips_squeeze"] == pytest.approx(0, abs=1e-7)
    assert set(not_run) == {"lpips_alex", "lpips_vgg"}
