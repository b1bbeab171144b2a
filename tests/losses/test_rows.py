"""The objective by ranges of rows: what streaming of large pictures relies on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.losses import Objective

OBJECTIVES = [
    Objective(l1=0.5, l2=0.2, ssim=0.3),
    Objective(l1=0.7, ssim=0.3, window="valid", clamp=True),
    Objective(l1=1.0, l2=2.0, clamp=True),
]


def whole(loss, image):
    grad = np.empty_like(image)
    total = loss.rows(image, 0, 0, len(image), grad)
    return loss.value(total), grad


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(1, 44), max_size=8, unique=True),
    extra=st.integers(0, 3),
    kind=st.sampled_from(OBJECTIVES),
    channels=st.sampled_from([1, 3, 5]),
)
def test_any_split_gives_the_whole(cuts, extra, kind, channels, pictures):
    image, target = (x.numpy() for x in pictures((45, 39, channels)))
    loss = kind.against(target)
    want, want_grad = whole(loss, image)
    total, edges = np.zeros(3), [0, *sorted(cuts), 45]
    for row0, row1 in pairwise(edges):
        first, last = max(0, row0 - 10 - extra), min(45, row1 + 10 + extra)
        grad = np.full((row1 - row0, 39, channels), np.nan, np.float32)
        total += loss.rows(image[first:last], first, row0, row1, grad)
        assert np.array_equal(grad, want_grad[row0:row1])  # to the last bit
    assert loss.value(total) == pytest.approx(want, rel=1e-7)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_rows_are_the_autograd_loss(kind, pictures):
    image, target = pictures((33, 50, 3))
    x = image.clone().requires_grad_()
    value = kind(x, target)
    value.backward()
    want, want_grad = whole(kind.against(target), image.numpy())
    assert value.item() == np.float32(want) and np.array_equal(x.grad.numpy(), want_grad)


def test_the_sums_are_those_of_the_rows(pictures, definition):
    image, target = pictures((33, 50, 3))
    loss = OBJECTIVES[0].against(target)
    total = loss.rows(image.numpy(), 0, 7, 20, np.empty((13, 50, 3), np.float32))
    difference = image.double() - target.double() / 255
    assert total[0] == pytest.approx(difference[7:20].abs().sum().item(), rel=1e-6)
    assert total[1] == pytest.approx(difference[7:20].square().sum().item(), rel=1e-6)
    # rows whose windows do not reach row 33, of a picture that ends there
    assert total[2] == pytest.approx(
        (definition(image[:25], target[:25], Objective(ssim=1.0)) * 25 * 150).item()
        - loss.rows(image.numpy(), 0, 0, 7, np.empty((7, 50, 3), np.float32))[2]
        - Objective(ssim=1.0).against(target[:25]).rows(image.numpy()[:25], 0, 20, 25, np.empty((5, 50, 3), "f4"))[2],
        rel=1e-5,
    )


def test_a_mapped_file_serves_as_target(tmp_path, pictures):
    image, target = (x.numpy() for x in pictures((45, 39, 3)))
    np.save(tmp_path / "target.npy", target)
    mapped = np.load(tmp_path / "target.npy", mmap_mode="r")
    assert not mapped.flags.writeable
    for kind in OBJECTIVES:
        got, want = whole(kind.against(mapped), image), whole(kind.against(target), image)
        assert got[0] == want[0] and np.array_equal(got[1], want[1])


def test_strided_windows_and_targets(pictures):
    image, target = (x.numpy() for x in pictures((45, 39, 3)))
    want, want_grad = whole(OBJECTIVES[0].against(target), image)
    turned = np.asfortranarray(target)
    wide = np.zeros((45, 80, 3), np.float32)
    wide[:, :39] = image
    grad = np.empty((45, 39, 3), np.float32)
    loss = OBJECTIVES[0].against(turned)
    assert loss.value(loss.rows(wide[:, :39], 0, 0, 45, grad)) == want and np.array_equal(grad, want_grad)


def arrays(rows=30, row1=20, row0=10, channels=3, dtype=np.float32):
    return np.zeros((rows, 39, channels), dtype), np.zeros((row1 - row0, 39, channels), dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda loss, x, g: loss.rows(x, 1, 10, 20, g), "need rows 0 .. 30"),
        (lambda loss, x, g: loss.rows(x[:29], 0, 10, 20, g), "the window has 0 .. 29"),
        (lambda loss, x, g: loss.rows(x, 0, 20, 10, g), "are not rows of a picture of 45"),
        (lambda loss, x, g: loss.rows(x, 0, 40, 46, g), "are not rows of a picture of 45"),
        (lambda loss, x, g: loss.rows(x.astype(np.float64), 0, 10, 20, g), "float32 window"),
        (lambda loss, x, g: loss.rows(x[:, :38], 0, 10, 20, g), "float32 window"),
        (lambda loss, x, g: loss.rows(x, 0, 10, 20, g[1:]), "float32 grad"),
        (lambda loss, x, g: loss.rows(x, 0, 10, 20, g.astype(np.float64)), "float32 grad"),
        (lambda loss, x, g: loss.rows(x, 0, 10, 20, np.asfortranarray(g)), "contiguous"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(call, message):
    loss = OBJECTIVES[0].against(np.zeros((45, 39, 3), np.uint8))
    with pytest.raises(ValueError, match=message):
        call(loss, *arrays())


def test_without_ssim_no_rows_around_are_needed(pictures):
    image, target = (x.numpy() for x in pictures((45, 39, 3)))
    loss = OBJECTIVES[2].against(target)
    grad = np.empty((10, 39, 3), np.float32)
    loss.rows(image[10:20], 10, 10, 20, grad)
    assert np.array_equal(grad, whole(loss, image)[1][10:20])


@pytest.mark.parametrize("shape", [(0, 3, 3), (4, 4), (1, 4, 4, 3)])
def test_targets_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[H, W, C\]"):
        OBJECTIVES[0].against(np.zeros(shape, np.uint8))


def test_targets_of_other_types_are_refused():
    with pytest.raises(ValueError, match="uint8 or float32"):
        OBJECTIVES[0].against(torch.zeros(20, 20, 3, dtype=torch.float64))
