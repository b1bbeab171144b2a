"""Every kernel compiles for GPUs that are not there, without spilling registers."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

ARRAYS = {
    "*fp64": ("covariances", "d_covariances"),
    "*i64": ("counters",),
    "*i8": ("is_listed",),
    "*i32": ("spans_x", "spans_y", "segments", "list_ids", "list_x", "list_y", "large", "limits", "lasts"),
    "*fp32": (
        "means",
        "records",
        "image",
        "colors",
        "grad",
        "inverses",
        "thresholds",
        "partial",
        "d_means",
        "d_colors",
    ),
    "fp32": ("cut", "epsilon", "reach"),
}
KIND = {name: kind for kind, names in ARRAYS.items() for name in names}

SCENE = "spans_x spans_y segments list_ids list_x list_y"
TABLE = "n part parts"
NODES = "tiles_x node_w node_h nodes_x nodes"
ARGUMENTS = {
    "bins.prepare": "means covariances records spans_x spans_y counters reach total height width",
    "bins.list_candidates": "spans_x spans_y counters segments list_ids list_x list_y large is_listed capacity n part "
    "node_w node_h nodes_x nodes",
    "tiles.limit_tiles": f"limits {SCENE} {TABLE} {NODES}",
    "sum.draw_sum": f"image records colors {SCENE} limits cut {TABLE} height width {NODES}",
    "topk.draw_topk": f"image inverses thresholds lasts records colors {SCENE} cut epsilon {TABLE} height width "
    f"{NODES}",
    "walk.walk": "d_means d_covariances d_colors partial grad image inverses thresholds lasts records colors spans_x "
    "spans_y counters large is_listed limits cut n total height width tiles_x tiles",
    "walk.finish": "d_means d_covariances d_colors partial records counters large",
}
TILE, PUBLISHED = {"TILE_W": 16, "TILE_H": 8}, {"TILE_W": 16, "TILE_H": 16}
WALK = {"ACROSS": 4, "DOWN": 8}

#: Kernel, constants, warps, most registers. 64 allow 32 programs of a warp on a multiprocessor, as many as it holds.
USUAL = [
    ("sum.draw_sum", {"CHANNELS": 3, "CAPPED": False} | TILE, 1, 64),
    ("walk.walk", {"CHANNELS": 3, "TOPK": False, "CAPPED": False} | TILE | WALK, 1, 128),
]
OTHERS = [
    ("bins.prepare", {"PUBLISHED": False, "BLOCK": 128} | TILE, 4, 64),
    ("bins.prepare", {"PUBLISHED": True, "BLOCK": 128} | PUBLISHED, 4, 64),
    ("bins.list_candidates", {"LARGE": 64, "SLOTS": 64, "BLOCK": 2048}, 4, 160),
    ("tiles.limit_tiles", {}, 1, 64),
    ("sum.draw_sum", {"CHANNELS": 3, "CAPPED": True} | PUBLISHED, 2, 80),
    ("sum.draw_sum", {"CHANNELS": 12, "CAPPED": False} | TILE, 1, 128),
    ("topk.draw_topk", {"K": 10, "CHANNELS": 3} | TILE, 1, 120),
    ("topk.draw_topk", {"K": 10, "CHANNELS": 3} | PUBLISHED, 2, 120),
    ("walk.walk", {"CHANNELS": 3, "TOPK": False, "CAPPED": True} | PUBLISHED | WALK, 2, 128),
    ("walk.walk", {"CHANNELS": 3, "TOPK": True, "CAPPED": False} | TILE | WALK, 1, 168),
    ("walk.finish", {"CHANNELS": 3, "PIECES": 32}, 1, 64),
]


def check(compile_kernels, cases, archs):
    wanted = []
    for (name, constants, warps, _), arch in ((case, arch) for case in cases for arch in archs):
        module, function = name.split(".")
        signature = {a: KIND.get(a, "i32") for a in ARGUMENTS[name].split()}
        kernel = {"module": f"splatbench.render.gpu.{module}", "name": function, "arch": arch, "signature": signature}
        options = {"num_warps": warps, "enable_fp_fusion": False}
        wanted.append(kernel | {"constexprs": constants, "options": options})
    limits = [most for *_, most in cases for _ in archs]
    for kernel, most, got in zip(wanted, limits, compile_kernels(wanted), strict=True):
        assert got["spilled"] == 0, kernel
        assert got["registers"] <= most, (kernel, got)


@pytest.mark.slow
def test_the_usual_kernels(compile_kernels):
    check(compile_kernels, USUAL, [90])


@pytest.mark.slow
def test_all_kernels(compile_kernels):
    check(compile_kernels, USUAL + OTHERS, [80, 90])
