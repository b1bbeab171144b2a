from __future__ import annotations

import hashlib

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from splatbench import codec
from splatbench.codec import Attribute, BitstreamError
from splatbench.render import render

#: Patches of stages, by what they look like: chances of a patch, and whether a patch that is done stays done.
MASKS = {
    "full": ((1, 1, 1, 1), False),
    "nested": ((1, 0.8, 0.7, 0.6), True),
    "not nested": ((1, 0.8, 0.7, 0.6), False),
    "a stage without": ((1, 0, 0.5, 0.2), False),
    "one stage": ((1,), False),
    "nothing": ((0, 0), False),
    "no stages": ((), False),
}


@pytest.fixture(scope="module")
def bitstream(part):
    return part("bitstream")


@pytest.fixture(scope="module")
def make(part):
    """Encodings of random predictions; `kind` "" is not quantised."""

    def build(size=(40, 53), patch=7, masks="nested", kind="adaptive", compat=(), stretch=False, seed=1):
        patches, quantiser = part("patches"), part("quantiser")
        generator = torch.Generator().manual_seed(seed)
        chances, nested = MASKS[masks]
        count = len(patches.PatchGrid(*size, patch))
        chosen = torch.rand(len(chances), count, generator=generator) < torch.tensor(chances)[:, None]
        chosen = chosen.long().cummin(0).values.bool() if nested else chosen
        n = int(chosen.sum())
        values = patches.activate(torch.randn(n, 8, generator=generator), patch)
        encoding = part("encoding").Encoding(size, patch, stretch, frozenset(compat), chosen, values)
        if not kind:
            return encoding
        torch.manual_seed(seed)
        quantise = quantiser.Codec(16, kind=kind)
        ranges = quantise.ranges(values, torch.randn(16, generator=generator))
        return encoding.quantised(quantise.quantise(values, ranges), ranges)

    return build


def same(one, other) -> None:
    """The same Gaussians, to the bit and in the same order."""
    assert (one.size, one.blend, one.compat) == (other.size, other.blend, other.compat)
    assert list(one.tensors()) == list(other.tensors())
    for name, value in one.tensors().items():
        assert torch.equal(value, other.tensors()[name]), name


def resealed(body: bytes) -> bytes:
    return body + hashlib.blake2b(body, digest_size=8).digest()


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("kind", ["", "adaptive", "per_image"])
def test_what_is_decoded_is_what_was_encoded_to_the_bit(method, bitstream, make, masks, kind):
    encoding = make(masks=masks, kind=kind)
    data = bitstream.write(encoding)
    assert codec.peek_method(data) == "air"
    same(method.from_bytes(data), encoding.gaussians())
    assert torch.equal(render(method.from_bytes(data)), render(encoding.gaussians()))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7), (8, 6), (29, 13), (5, 200)])
@pytest.mark.parametrize("patch", [5, 7, 14])
def test_sizes_that_are_no_multiples(bitstream, make, size, patch):
    for kind in ("", "global"):
        encoding = make(size, patch, "not nested", kind, stretch=True)
        same(bitstream.read_gaussians(bitstream.write(encoding)), encoding.gaussians())


@pytest.mark.parametrize("compat", [(), ("tiles_3sigma",), ("tile_cap_256", "tiles_3sigma")])
def test_published_renderer_travels_in_the_file(bitstream, make, compat):
    for kind in ("", "global"):
        encoding = make(kind=kind, compat=compat, stretch=True)
        back = bitstream.read_gaussians(bitstream.write(encoding))
        same(back, encoding.gaussians())
        assert back.compat == set(compat)


def test_codes_masks_and_ranges_come_back(bitstream, make):
    for name in MASKS:
        encoding = make(masks=name, stretch=True)
        back = bitstream.read_encoding(bitstream.write(encoding))
        assert torch.equal(back.masks, encoding.masks)
        assert np.array_equal(back.codes, encoding.codes)
        assert all(torch.equal(a, b) for a, b in zip(back.ranges, encoding.ranges, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(back.values, encoding.values, strict=True))
        assert (back.size, back.patch, back.stretch, len(back)) == (encoding.size, 7, True, len(encoding))


@settings(max_examples=40)
@given(data=st.data())
def test_any_masks_and_codes_come_back(part, bitstream, data):
    height, width, patch = (data.draw(st.integers(1, high)) for high in (40, 40, 15))
    stages = data.draw(st.integers(0, 8))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count = len(part("patches").PatchGrid(height, width, patch))
    masks = rng.random((stages, count)) < data.draw(st.floats(0, 1))
    codes = rng.integers(0, data.draw(st.integers(1, 256)), (int(masks.sum()), 8), np.uint8)
    channels = part("channels")
    ranges = channels.Ranges(torch.rand(8) + 1e-8, torch.randn(8))
    values = channels.dequantise(codes, ranges)
    encoding = part("encoding").Encoding(
        (height, width), patch, bool(stages % 2), frozenset(), torch.from_numpy(masks), values, codes, ranges
    )
    back = bitstream.read_encoding(bitstream.write(encoding))
    assert torch.equal(back.masks, encoding.masks) and np.array_equal(back.codes, codes)
    same(bitstream.read_gaussians(bitstream.write(encoding)), encoding.gaussians())


def test_masks_cost_what_their_joint_entropy_is(bitstream, make):
    """Nested masks of 16384 patches: not S bits per patch, but the entropy of how many stages a patch has."""
    encoding = make((896, 896), 7, "nested")
    entries = {entry.name: entry for entry in codec.read_header(bitstream.write(encoding)).entries}
    counts = np.bincount(encoding.masks.sum(0).numpy())
    counts = counts[counts > 0]
    entropy = -float((counts * np.log2(counts / counts.sum())).sum()) / 8
    assert entropy < entries["masks"].length < entropy + 40
    apart = sum(float(-p * np.log2(p) - (1 - p) * np.log2(1 - p)) for p in encoding.masks.double().mean(1)[1:].tolist())
    assert entropy < 0.85 * apart * encoding.masks.shape[1] / 8
    full = {e.name: e for e in codec.read_header(bitstream.write(make(masks="full"))).entries}
    assert full["masks"].length <= 4


def test_quantised_file_is_shorter_than_the_nominal_count(method, bitstream, make):
    encoding = make((448, 448), 7, "nested")
    bits = 8 * len(bitstream.write(encoding))
    assert bits < encoding.nominal_bits() < 8 * len(bitstream.write_plain(encoding)) / 2
    assert bits > 0.85 * encoding.nominal_bits()


def resealed_with(data: bytes, changes: dict[str, np.ndarray | None], meta: dict | None = None, **header) -> bytes:
    """The file with other arrays (None: left out), meta values or fields of the header."""
    file = codec.read(data)
    arrays = {name: value for name, value in {**file.arrays, **changes}.items() if value is not None}
    fields = {"method": "air", "size": file.size, "blend": "sum", "compat": file.compat} | header
    attributes = [Attribute(name, value) for name, value in arrays.items()]
    return codec.write(**fields, attributes=attributes, meta={**file.meta, **(meta or {})})


def test_files_that_do_not_fit_are_refused_with_a_reason(bitstream, make):
    data = bitstream.write(make())
    arrays = codec.read(data).arrays
    masks, ranges = arrays["masks"], arrays["ranges"]
    nan, huge = ranges.copy(), ranges.copy()
    nan[0, 3], huge[1, 2] = np.nan, 1e30
    fewer = masks.copy()
    fewer[0] = 0
    swapped = {name: arrays[name.replace("0", "1")] for name in arrays if name.endswith("0")}
    for changed, reason in (
        (resealed_with(data, {"masks": None}), "'masks' is missing"),
        (resealed_with(data, {"masks": masks[:-1]}), "'masks' is missing or not uint8"),
        (resealed_with(data, {"masks": masks.astype(np.uint16)}), "'masks' is missing or not uint8"),
        (resealed_with(data, {"masks": fewer}), "the masks choose"),
        (resealed_with(data, swapped), "the masks choose"),
        (resealed_with(data, {}, {"stages": 2}), "more than 2 stages"),
        (resealed_with(data, {}, {"stages": 9}), "out of range"),
        (resealed_with(data, {}, {"patch": 0}), "out of range"),
        (resealed_with(data, {}, {"patch": -7}), "out of range"),
        (resealed_with(data, {}, {"patch": 7.0}), "'patch' is missing"),
        (resealed_with(data, {}, {"patch": 6}), "'masks' is missing or not uint8"),
        (resealed_with(data, {}, {"stretch": 2}), "out of range"),
        (resealed_with(data, {}, {"variant": "plane"}), "variant 'plane'"),
        (resealed_with(data, {}, {"variant": "plain"}), "unknown attributes"),
        (resealed_with(data, {"ranges": nan}), "NaN, infinite"),
        (resealed_with(data, {"ranges": huge}), "beyond 2"),
        (resealed_with(data, {"ranges": ranges[:1]}), "'ranges' is missing"),
        (resealed_with(data, {"angle0": arrays["angle0"][:, 0]}), "'angle0' is missing"),
        (resealed_with(data, {"angle1": np.zeros((), np.uint8)}), "'.*1' is missing"),
        (resealed_with(data, {"xy1": arrays["xy1"][:-1]}), "'xy1' is missing"),
        (resealed_with(data, {}, blend="topk"), "blended by a sum"),
        (resealed_with(data, {}, compat=frozenset({"tiles_4sigma"})), "unknown compat flags"),
        (resealed_with(data, {}, method="gaussianimage"), "made by method 'gaussianimage'"),
    ):
        with pytest.raises(BitstreamError, match=reason):
            bitstream.read_gaussians(changed)
    with pytest.raises(BitstreamError, match="holds no codes"):
        bitstream.read_encoding(bitstream.write(make(kind="")))


def test_masks_of_more_patches_than_the_picture_has_are_not_decoded(bitstream, make, monkeypatch):
    data = resealed_with(bitstream.write(make()), {"masks": np.ones(1 << 20, np.uint8)})

    def decode(*arguments):
        raise AssertionError("an array was decoded")

    monkeypatch.setattr(codec.container.coding, "decode", decode)
    with pytest.raises(BitstreamError, match="'masks' is missing or not uint8"):
        bitstream.read_gaussians(data)


@pytest.mark.parametrize("kind", ["", "adaptive"])
def test_damage_gives_an_error_or_a_picture(bitstream, make, kind):
    """Random bytes changed behind a checksum that fits, and files cut off: nothing but BitstreamError comes out."""
    data = bitstream.write(make((20, 30), kind=kind))
    rng, refused = np.random.default_rng(7), 0
    for trial in range(250):
        body = bytearray(data[:-8])
        # Headers are where lengths and shapes are; half of the damage goes there.
        reach = 160 if trial % 2 else len(body)
        for position in rng.integers(5, reach, rng.integers(1, 4)):
            body[position] = rng.integers(256)
        try:
            gaussians = bitstream.read_gaussians(resealed(bytes(body)))
            assert all(value.isfinite().all() for value in gaussians.tensors().values())
        except BitstreamError:
            refused += 1
    assert 40 < refused < 250
    for length in range(0, len(data), 7):
        with pytest.raises(BitstreamError):
            bitstream.read_gaussians(data[:length])


@pytest.mark.parametrize("change", [{"kind": ""}, {"masks": "no stages"}])
def test_what_cannot_be_written_is_said(part, bitstream, make, change):
    encoding = make(**change)
    if encoding.codes is None:
        with pytest.raises(ValueError, match="not quantised"):
            bitstream.write_quantised(encoding)
        encoding.values.colors[3, 0] = float("nan")
        with pytest.raises(ValueError, match="colors: 1 values are NaN"):
            bitstream.write_plain(encoding)
    else:
        many = torch.zeros(9, len(encoding.grid), dtype=torch.bool)
        with pytest.raises(ValueError, match="at most 8 stages"):
            bitstream.write(part("encoding").Encoding(**(vars(encoding) | {"masks": many})))
