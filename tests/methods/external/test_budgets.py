"""Whatever others hand over, in files, answers or payloads: of the picture and within the budget, or a row that says
by how much not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import Attribute, write
from splatbench.exchange import write_npz
from splatbench.gaussians import Gaussians2D
from splatbench.method import MethodError, get_method
from splatbench.runner.encoding import Encoded, encode_image
from tests.exchange.conftest import arrays, facts

SIZE = (24, 32)


@pytest.fixture
def picture(photograph: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photograph[: SIZE[0], : SIZE[1]])


def made(n: int, size: tuple[int, int] = SIZE) -> Gaussians2D:
    rng = np.random.default_rng(n)
    tensor = lambda values: torch.from_numpy(values.astype(np.float32))  # noqa: E731
    means, colors, scales = rng.random((n, 2)) * size[::-1], rng.random((n, 3)), rng.uniform(1, 5, (n, 2))
    return Gaussians2D(
        means=tensor(means), colors=tensor(colors), scales=tensor(scales), angles=torch.zeros(n), size=size
    )


Answer = Callable[[Path], Path]


def npz(n: int, size: tuple[int, int] = SIZE) -> Answer:
    def write(folder: Path) -> Path:
        write_npz(folder / "gaussians.npz", made(n, size))
        return folder / "gaussians.npz"

    return write


def s2d(data: bytes) -> Answer:
    def write(folder: Path) -> Path:
        (folder / "encoding.s2d").write_bytes(data)
        return folder / "encoding.s2d"

    return write


def our_own(n: int, size: tuple[int, int] = SIZE) -> bytes:
    kind = get_method("random_gaussians")
    return kind(kind.make_config({})).to_bytes(made(n, size))


def of_codec(picture: np.ndarray) -> bytes:
    return encode_image(method("downsample"), picture, Budget(native=True)).files[-1].data


def of_lig(picture: np.ndarray, n: int) -> bytes:
    return encode_image(method("lig", iterations=2), picture, Budget(gaussians=n)).files[-1].data


def method(name: str, **settings: object):
    kind = get_method(name)
    return kind(kind.make_config(settings))


# -- the three ways in -------------------------------------------------------------------------------------------------
def as_file(folder: Path, answer: Answer, picture: np.ndarray, budget: Budget) -> Encoded:
    path = answer(folder)
    pattern = str(folder / ("{image}" + path.suffix))
    return encode_image(method("external", files=pattern), picture, budget, name=path.stem)


def as_import(folder: Path, answer: Answer, picture: np.ndarray, budget: Budget) -> Encoded:
    return encode_image(method("external", imported="Theirs"), picture, budget, name=str(answer(folder)))


def as_answer(folder: Path, answer: Answer, picture: np.ndarray, budget: Budget) -> Encoded:
    copy = f'cp "{answer(folder)}" "$SPLATBENCH_OUT"'
    return encode_image(method("external", engine="process", command=["sh", "-c", copy]), picture, budget)


def as_payload(folder: Path, answer: Answer, picture: np.ndarray, budget: Budget) -> Encoded:
    """What the decoder answers with is what is in the folder."""
    script = f'if [ -e "$SPLATBENCH_IN/payload.bin" ]; then cp "{answer(folder)}" "$SPLATBENCH_OUT"; else '
    script += 'printf 12345678 > "$SPLATBENCH_OUT/payload.bin"; fi'
    program = method("external", engine="process", command=["sh", "-c", script], decoder="container")
    return encode_image(program, picture, budget)


WAYS = [as_file, as_import, as_answer]


@pytest.mark.parametrize("way", [*WAYS, as_payload])
def test_more_gaussians_than_the_budget(way, tmp_path, picture):
    assert way(tmp_path, npz(20), picture, Budget(gaussians=20)).files[-1].n_actual == 20
    with pytest.raises(MethodError, match="holds 21 Gaussians, the budget allows 20"):
        way(tmp_path, npz(21), picture, Budget(gaussians=20))
    with pytest.raises(MethodError, match=r"holds 22 Gaussians, the budget allows 21"):
        way(tmp_path, npz(22), picture, Budget(compression_ratio=3 * 24 * 32 / (7 * 21.5)))


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_ours_is_counted_as_well(way, tmp_path, picture):
    assert way(tmp_path, s2d(our_own(20)), picture, Budget(gaussians=20)).files[-1].n_actual == 20
    with pytest.raises(MethodError, match="the file holds 21 Gaussians, the budget allows 20"):
        way(tmp_path, s2d(our_own(21)), picture, Budget(gaussians=20))
    with pytest.raises(MethodError, match="the file holds 9x8 pixels, the picture has 32x24"):
        way(tmp_path, s2d(our_own(5, (8, 9))), picture, Budget(gaussians=20))


@pytest.mark.parametrize("way", WAYS)
def test_pictures_of_levels_are_counted_and_codecs_are_no_gaussians(way, tmp_path, picture):
    data = of_lig(picture, 30)
    assert way(tmp_path, s2d(data), picture, Budget(gaussians=30)).files[-1].n_actual == 30
    with pytest.raises(MethodError, match="the file holds 30 Gaussians, the budget allows 29"):
        way(tmp_path, s2d(data), picture, Budget(gaussians=29))
    codec = s2d(of_codec(picture))
    assert way(tmp_path, codec, picture, Budget(native=True)).files[-1].n_actual is None
    with pytest.raises(MethodError, match="holds pixels and no Gaussians, the budget allows 700 Gaussians"):
        way(tmp_path, codec, picture, Budget(gaussians=700))


@pytest.mark.parametrize("way", WAYS)
def test_files_beyond_their_rate(way, tmp_path, picture):
    data = our_own(20)
    rate = 8 * len(data) / (SIZE[0] * SIZE[1])
    assert way(tmp_path, s2d(data), picture, Budget(bpp=rate / 1.019)).files[-1].data == data
    with pytest.raises(MethodError, match=f"the file takes {rate:.4g} bits per pixel, the budget allows 0.5"):
        way(tmp_path, s2d(data), picture, Budget(bpp=0.5))
    with pytest.raises(MethodError, match="bits per pixel, the budget allows"):
        way(tmp_path, s2d(data), picture, Budget(bpp=rate / 1.021))


def test_payloads_have_a_rate_and_a_size(tmp_path, picture):
    rate = 64 / (SIZE[0] * SIZE[1])
    assert as_payload(tmp_path, npz(5), picture, Budget(bpp=rate)).files[-1].data == b"12345678"
    with pytest.raises(MethodError, match="the budget allows 0.08"):
        as_payload(tmp_path, npz(5), picture, Budget(bpp=0.08))
    with pytest.raises(MethodError, match="the file holds 9x8 pixels, the picture has 32x24"):
        as_payload(tmp_path, npz(5, (8, 9)), picture, Budget(native=True))


def test_a_decoder_s_picture_is_not_counted_and_a_note_says_so(tmp_path, picture):
    def answer(folder: Path) -> Path:
        np.save(folder / "picture.npy", picture)
        return folder / "picture.npy"

    encoded = as_payload(tmp_path, answer, picture, Budget(gaussians=20))
    assert encoded.files[-1].n_actual is None
    assert any("nobody here has counted its Gaussians, of which 20 are allowed" in note for note in encoded.notes)
    assert not any("counted" in note for note in as_payload(tmp_path, answer, picture, Budget(native=True)).notes)


# -- reasons -----------------------------------------------------------------------------------------------------------
def hostile_npz(folder: Path) -> Path:
    content = io.BytesIO()
    told = facts(size=list(SIZE)) | {"\x1b[31m" + "x" * 50_000: 1}
    np.savez(content, **arrays(), facts=json.dumps(told))
    (folder / "gaussians.npz").write_bytes(content.getvalue())
    return folder / "gaussians.npz"


def hostile_safetensors(folder: Path) -> Path:
    from safetensors.numpy import save_file

    save_file({"\u202e" + "x" * 60_000: np.ones(1)}, folder / "gaussians.safetensors")
    return folder / "gaussians.safetensors"


def hostile_s2d(folder: Path) -> Path:
    attributes = [Attribute("\x1b" + "x" * 120 + str(i), np.ones(2, np.float32)) for i in range(60)]
    return s2d(write("external", SIZE, "sum", (), attributes))(folder)


@pytest.mark.parametrize("answer", [hostile_npz, hostile_safetensors, hostile_s2d])
@pytest.mark.parametrize("way", WAYS)
def test_names_in_files_do_not_fill_reasons(way, answer, tmp_path, picture):
    with pytest.raises(MethodError) as caught:
        way(tmp_path, answer, picture, Budget(native=True))
    reason = str(caught.value)
    assert "xxxx" in reason and reason.isprintable() and len(reason) < 340 + len(str(tmp_path))


# -- digests of files --------------------------------------------------------------------------------------------------
def test_a_folder_per_picture_is_part_of_the_digest(tmp_path, monkeypatch):
    """All files have one name; whose result is whose is in the path."""
    monkeypatch.chdir(tmp_path)
    pattern = "runs/{image}/result.npz"
    digest = lambda text: method("external", files=text).config.digest  # noqa: E731
    for image, content in (("a", b"1"), ("b", b"2")):
        (tmp_path / "runs" / image).mkdir(parents=True)
        (tmp_path / "runs" / image / "result.npz").write_bytes(content)
    before = digest(pattern)
    assert digest(str(tmp_path / pattern)) == before  # wherever the folder lies
    (tmp_path / "runs" / "a").rename(tmp_path / "runs" / "c")
    assert digest(pattern) != before
    (tmp_path / "runs" / "b").rename(tmp_path / "runs" / "a")
    (tmp_path / "runs" / "c").rename(tmp_path / "runs" / "b")
    assert digest(pattern) != before  # the results of two pictures, exchanged
