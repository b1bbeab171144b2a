"""What is written comes back bit for bit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.exchange import from_gaussians, read_arrays, to_gaussians, write_npz
from splatbench.gaussians import Gaussians2D, TopkSettings


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


@st.composite
def gaussians(draw: st.DrawFn) -> Gaussians2D:
    """Of every blend and both forms, 1 to 6 channels, magnitudes from 1e-4 to 1e6."""
    n, rng = draw(st.integers(1, 40)), np.random.default_rng(draw(st.integers(0, 2**32)))
    size = (draw(st.integers(1, 5000)), draw(st.integers(1, 5000)))
    spread = lambda *shape: 10.0 ** rng.uniform(-4, 6, shape) * rng.choice([-1, 1], shape)  # noqa: E731
    made = {"means": tensor(spread(n, 2)), "colors": tensor(spread(n, draw(st.integers(1, 6))))}
    if draw(st.booleans()):
        made["cholesky"] = tensor(spread(n, 3))
    else:
        made |= {"scales": tensor(abs(spread(n, 2))), "angles": tensor(spread(n))}
    blend = draw(st.sampled_from(["sum", "topk", "alpha"]))
    shown = {"blend": blend, "gamma": draw(st.sampled_from([1.0, 2.2]))}
    if blend == "alpha":
        shown["background"] = draw(st.floats(-10, 10))
        if draw(st.booleans()):
            made["opacities"] = tensor(rng.random(n))
    elif draw(st.booleans()):
        shown["compat"] = frozenset({"tiles_3sigma"})
    if blend == "topk":
        shown["topk"] = TopkSettings(draw(st.integers(1, 40)), draw(st.floats(1e-20, 1)), draw(st.floats(1e-9, 1)))
    return Gaussians2D(size=size, **made, **shown)


def assert_equal(first: Gaussians2D, second: Gaussians2D) -> None:
    for field in fields(Gaussians2D):
        a, b = getattr(first, field.name), getattr(second, field.name)
        same = torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b
        assert same, field.name


@settings(max_examples=80, deadline=None)
@given(gaussians())
def test_a_file_gives_back_what_was_written(tmp_path_factory, made):
    path = tmp_path_factory.getbasetemp() / "made.npz"
    write_npz(path, made, method="m", nominal_bits=7, encode_seconds=0.5, seed=-3, notes="ok")
    named = read_arrays(path)
    assert_equal(to_gaussians(named, made.size), made)
    told = named.facts
    assert (told.method, told.nominal_bits, told.encode_seconds, told.seed, told.notes) == ("m", 7, 0.5, -3, "ok")


@settings(max_examples=30, deadline=None)
@given(gaussians())
def test_safetensors_hold_the_same(tmp_path_factory, made):
    from safetensors.numpy import save_file

    from splatbench.exchange.facts import dump

    named = from_gaussians(made)
    path = tmp_path_factory.getbasetemp() / "made.safetensors"
    save_file(named.arrays, path, metadata={"facts": dump(named.facts)})
    assert_equal(to_gaussians(read_arrays(path), made.size), made)


def test_equal_gaussians_are_equal_files(tmp_path):
    made = Gaussians2D(means=torch.rand(5, 2), colors=torch.rand(5, 3), size=(4, 4), cholesky=torch.rand(5, 3) + 0.1)
    write_npz(tmp_path / "a.npz", made)
    write_npz(tmp_path / "b.npz", made)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
