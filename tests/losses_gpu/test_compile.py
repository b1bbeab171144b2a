"""Every Triton kernel of a fitting step but the rasterizers compiles for GPUs that are not there, without spills."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

pytestmark = pytest.mark.slow

F32, F64, I32 = "*fp32", "*fp64", "i32"
LOSS, COVARIANCE = "splatbench.losses.gpu_kernels", "splatbench.render.gpu.covariance"
RAW = {"xy": F32, "first": F32, "third": F32, "table": F64}
THREE = [F32] * 3


def kernel(module, name, signature, constexprs, **expected):
    return {"module": module, "name": name, "signature": signature, "constexprs": constexprs} | expected


def losses():
    """Four of the first must fit on a multiprocessor (65536 registers, 128 threads): `losses.gpu` counts on it."""
    rows, strips = {"height": I32, "wide": I32, "plane": I32}, {"C": 3, "CLAMP": True, "BLOCK": 128}
    read = {"x": F32, "t": "*u8"}
    by = {"by_sign": "fp32", "by_difference": "fp32"}
    yield kernel(
        LOSS, "similarity", read | {"slopes": F32, "sums": F64} | rows | {"border": I32, "rows": I32},
        strips | {"GRAD": True}, registers=128,
    )  # fmt: skip
    yield kernel(
        LOSS, "gradient", read | {"slopes": F32, "grad": F32} | rows | {"rows": I32} | by | {"by_ssim": "fp32"}, strips
    )
    flat = read | {"grad": F32, "sums": F64, "n": I32} | by
    yield kernel(LOSS, "pixels", flat, {"CLAMP": True, "GRAD": True, "BLOCK": 1024})
    weights = {"l1": "fp32", "l2": "fp32", "ssim": "fp32"}
    yield kernel(LOSS, "total", {"sums": F64, "value": F32, "programs": I32} | weights, {"SSIM": True, "BLOCK": 1024})


def steps():
    tensors = dict.fromkeys(("parameters", "gradients", "first", "second", "third", "previous"), THREE)
    device = {"sizes": [I32] * 3, "settings": F64, "steps": "*i32"}
    for adan in (True, False):
        constants = {"ADAN": adan, "SETTINGS": 7, "BLOCK": 1024}
        yield kernel("splatbench.optim_gpu", "update", tensors | device, constants)


def maps():
    """The sine of float64 keeps a few words in local memory for angles beyond 10^5: no spill."""
    for scales in (True, False):
        constants, local = {"SCALES": scales, "BLOCK": 128}, 48 if scales else 0
        shape = {"first": F32, "third": F32}
        grads = {"grad": F64, "d_first": F32, "d_third": F32, "double": "fp32"}
        yield kernel(COVARIANCE, "forward", shape | {"out": F64, "n": I32}, constants, local=local)
        yield kernel(COVARIANCE, "backward", shape | grads | {"n": I32}, constants, local=local)
        functions = {"FUNCTIONS": [1, 4, 3, 5, 2]}  # all of them, and identity below
        activated = {"means": F32, "covariance": F64, "n": I32}
        yield kernel("splatbench.fitting.kernels", "activate", RAW | activated, constants | functions, local=local)
        pulled = {"d_means": F32, "d_covariance": F64, "d_xy": F32, "d_first": F32, "d_third": F32, "double": "fp32"}
        constants = constants | {"FUNCTIONS": [0, 0, 0, 0, 0]}
        yield kernel("splatbench.fitting.kernels", "pull_back", RAW | pulled | {"n": I32}, constants, local=local)


WANTED = [k | {"arch": arch} for arch, k in itertools.product((80, 90), [*losses(), *steps(), *maps()])]


@pytest.fixture(scope="module")
def compiled(compile_kernels):
    """What they need, and after them what the first needs where it gets too few registers."""
    starved = WANTED[0] | {"options": {"num_warps": 4, "maxnreg": 64}}
    return compile_kernels([*WANTED, starved])


def test_kernels_compile_without_spills(compiled):
    for k, got in zip(WANTED, compiled, strict=False):
        what = k["name"], k["arch"], k["constexprs"], got
        assert got["spilled"] <= k.get("local", 0), what
        assert got["registers"] <= k.get("registers", 168), what


def test_a_spill_would_be_seen(compiled):
    assert compiled[-1]["spilled"] > 0
