"""The .s2d file of any Gaussians."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from splatbench.codec import Attribute, BitstreamError, decode, read, write
from splatbench.method import get_method
from tests.exchange.test_roundtrip import assert_equal, gaussians


@pytest.fixture(scope="module")
def layout() -> ModuleType:
    return importlib.import_module(f"{get_method('external').__module__}.layout")


@settings(max_examples=60, deadline=None)
@given(gaussians())
def test_any_gaussians_come_back_bit_for_bit_and_in_their_order(layout, made):
    data = layout.to_bytes(made)
    assert_equal(layout.from_bytes(data), made)
    assert_equal(decode(data), made)
    assert read(data).method == "external"
    assert layout.to_bytes(made) == data


def test_other_files_are_refused(layout):
    arrays = [Attribute("means", np.zeros((2, 2), "f4")), Attribute("colors", np.zeros((2, 3), "f4"))]
    with pytest.raises(BitstreamError, match="made by method 'lig', not by 'external'"):
        layout.from_bytes(write("lig", (4, 4), "sum", (), arrays))
    with pytest.raises(BitstreamError, match="either as scales and angles, or as cholesky"):
        layout.from_bytes(write("external", (4, 4), "sum", (), arrays))
    cholesky = [*arrays, Attribute("cholesky", np.full((2, 3), np.nan, "f4"))]
    with pytest.raises(BitstreamError, match="NaN"):
        layout.from_bytes(write("external", (4, 4), "sum", (), cholesky))


def test_numbers_that_are_none_are_not_written(layout):
    from splatbench.gaussians import Gaussians2D

    bad = torch.tensor([[1.0, float("nan")]])
    with pytest.raises(ValueError, match="means"):
        layout.to_bytes(Gaussians2D(means=bad, colors=torch.ones(1, 3), size=(4, 4), cholesky=torch.ones(1, 3)))
