"""Comparisons of vectors of sixteen numbers, for kernels that rank responses. No lane may be NaN."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .f32x16 import _F32, LANES, _constant, f32x16

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


def _where(builder, condition, value):
    return builder.select(condition, value, _constant(_F32, [0.0] * LANES))


@intrinsic
def reaching(typingctx, a, threshold):
    """a where a >= threshold, else 0."""

    def codegen(context, builder, sig, args):
        return _where(builder, builder.fcmp_ordered(">=", *args), args[0])

    return f32x16(f32x16, f32x16), codegen


@intrinsic
def chosen(typingctx, a, threshold, n, last):
    """a where a > threshold, or where a == threshold and n <= last; else 0."""

    def codegen(context, builder, sig, args):
        a, threshold, n, last = args
        tied = builder.and_(builder.fcmp_ordered("==", a, threshold), builder.fcmp_ordered("<=", n, last))
        return _where(builder, builder.or_(builder.fcmp_ordered(">", a, threshold), tied), a)

    return f32x16(f32x16, f32x16, f32x16, f32x16), codegen


@intrinsic
def any_tie(typingctx, a, b):
    """Whether a == b > 0 in any lane."""

    def codegen(context, builder, sig, args):
        positive = builder.fcmp_ordered(">", args[1], _constant(_F32, [0.0] * LANES))
        tied = builder.and_(builder.fcmp_ordered("==", *args), positive)
        return builder.icmp_unsigned("!=", builder.bitcast(tied, _MASK), ir.Constant(_MASK, 0))

    return types.boolean(f32x16, f32x16), codegen
