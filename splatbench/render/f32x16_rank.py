"""Comparisons of vectors of sixteen numbers, for kernels that rank. Where not said otherwise, no lane may be NaN."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .f32x16 import LANES, f32x16

_FLAGS = ("nnan", "nsz")  # lets a comparison and a choice become one minimum or maximum
_MASK = ir.IntType(LANES)


def _better(comparison):
    @intrinsic
    def op(typingctx, a, b):
        def codegen(context, builder, sig, args):
            return builder.select(builder.fcmp_ordered(comparison, *args, flags=_FLAGS), *args)

        return f32x16(f32x16, f32x16), codegen

    return op


smaller, larger = _better("<"), _better(">")


def _choice(comparison):
    @intrinsic
    def op(typingctx, a, b, x, y):
        def codegen(context, builder, sig, args):
            return builder.select(builder.fcmp_ordered(comparison, *args[:2]), *args[2:])

        return f32x16(f32x16, f32x16, f32x16, f32x16), codegen

    return op


#: x where a == b (or a < b), else y.
if_equal, if_below = _choice("=="), _choice("<")


@intrinsic
def capped(typingctx, a, b):
    """The smaller of a and b; b where a is NaN."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return f32x16(f32x16, f32x16), codegen


def _any(comparison):
    @intrinsic
    def op(typingctx, a, b):
        def codegen(context, builder, sig, args):
            lanes = builder.bitcast(builder.fcmp_ordered(comparison, *args), _MASK)
            return builder.icmp_unsigned("!=", lanes, ir.Constant(_MASK, 0))

        return types.boolean(f32x16, f32x16), codegen

    return op


#: Whether a == b (a < b, a <= b) in any lane.
any_equal, any_below, any_within = _any("=="), _any("<"), _any("<=")
