"""Vectors of sixteen numbers for numba kernels.

Values of type `f32x16` live in one 512-bit register, in two 256-bit or in four 128-bit ones: LLVM legalises, so the
same code runs on any x86-64 and arm64. `f64x16` is the same in double precision, for the few places where differences
of large numbers are formed. The operators + - * work between vectors of a kind, and between a vector and a scalar.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
_F32 = ir.VectorType(ir.FloatType(), LANES)
_F64 = ir.VectorType(ir.DoubleType(), LANES)
_I32 = ir.VectorType(ir.IntType(32), LANES)
_BYTES = ir.IntType(8).as_pointer()
_FLAGS = ("contract", "nsz")


class _VectorType(types.Type):
    def __init__(self, name, scalar, vector, suffix):
        super().__init__(name=name)
        self.scalar, self.vector, self.suffix = scalar, vector, suffix


f32x16 = _VectorType("f32x16", types.float32, _F32, "v16f32")
f64x16 = _VectorType("f64x16", types.float64, _F64, "v16f64")


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.vector)


def _constant(vector, values):
    return ir.Constant(vector, [ir.Constant(vector.element, float(v)) for v in values])


def _broadcast(builder, vector, value):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(_I32, [0] * LANES))


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


# -- making, loading, storing ----------------------------------------------------------------------------------------
def _splat(kind):
    @intrinsic
    def op(typingctx, x):
        def codegen(context, builder, sig, args):
            return _broadcast(builder, kind.vector, context.cast(builder, args[0], sig.args[0], kind.scalar))

        return kind(x), codegen

    return op


splat, splat64 = _splat(f32x16), _splat(f64x16)


def _pointer(context, builder, sig, args, vector):
    """Address of element args[1] of the contiguous array args[0], as a pointer to a vector."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer())


@intrinsic
def load(typingctx, array, index):
    """array[index : index + 16] of a contiguous float32 or float64 array."""
    kind = f32x16 if array.dtype == types.float32 else f64x16

    def codegen(context, builder, sig, args):
        return builder.load(_pointer(context, builder, sig, args, kind.vector), align=kind.scalar.bitwidth // 8)

    return kind(array, types.intp), codegen


@intrinsic
def splat_at(typingctx, array, index):
    """Sixteen times the element at this place in the memory of a contiguous float32 array of any shape."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _broadcast(builder, _F32, builder.load(builder.gep(data, [args[1]])))

    return f32x16(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, x):
    """array[index : index + 16] = x; an int32 array takes the whole part of each lane."""
    whole = array.dtype == types.int32

    def codegen(context, builder, sig, args):
        value = builder.fptosi(args[2], _I32) if whole else args[2]
        builder.store(value, _pointer(context, builder, sig, args, _I32 if whole else _F32), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, f32x16), codegen


@intrinsic
def prefetch(typingctx, array, row):
    """Fetches the cache line where array[row] of a contiguous array begins (one or more dimensions)."""

    def codegen(context, builder, sig, args):
        value = context.make_array(sig.args[0])(context, builder, args[0])
        stride = builder.extract_value(value.strides, 0)
        address = builder.gep(builder.bitcast(value.data, _BYTES), [builder.mul(args[1], stride)])
        integer = ir.IntType(32)
        signature = ir.FunctionType(ir.VoidType(), [_BYTES, integer, integer, integer])
        function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
        builder.call(function, [address, *(ir.Constant(integer, k) for k in (0, 3, 1))])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _lanes(values):
    @intrinsic
    def op(typingctx):
        return f32x16(), lambda context, builder, sig, args: _constant(_F32, values)

    return op


#: Columns and rows inside a cell of 8 x 2 pixels.
cell_column = _lanes([i % 8 for i in range(LANES)])
cell_row = _lanes([i // 8 for i in range(LANES)])


# -- arithmetic ------------------------------------------------------------------------------------------------------
def _binary(method):
    @intrinsic
    def op(typingctx, a, b):
        def codegen(context, builder, sig, args):
            return getattr(builder, method)(args[0], args[1], flags=_FLAGS)

        return a(a, a), codegen

    return op


def _call(builder, kind, name, args):
    signature = ir.FunctionType(kind.vector, [kind.vector] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f"{name}.{kind.suffix}"), args)


def _unary_function(name):
    @intrinsic
    def op(typingctx, a):
        return a(a), lambda context, builder, sig, args: _call(builder, sig.return_type, name, args)

    return op


def _binary_function(name):
    @intrinsic
    def op(typingctx, a, b):
        return a(a, a), lambda context, builder, sig, args: _call(builder, sig.return_type, name, args)

    return op


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c, in one instruction where the machine has it."""
    return a(a, a, a), lambda context, builder, sig, args: _call(builder, sig.return_type, "llvm.fmuladd", args)


divide = _binary("fdiv")
sqrt, floor, ceil = (_unary_function(f"llvm.{f}") for f in ("sqrt", "floor", "ceil"))
minimum, maximum = _binary_function("llvm.minnum"), _binary_function("llvm.maxnum")


def _operator(symbol, method):
    """Typing and code of an operator. Not an `overload`, of which every kind is compiled as a function of its own."""

    @infer_global(symbol)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            a, b = args
            if isinstance(a, _VectorType) and a is b:
                return signature(a, a, a)
            if a is f32x16 and isinstance(b, types.Number):
                return signature(f32x16, f32x16, types.float32)
            if b is f32x16 and isinstance(a, types.Number):
                return signature(f32x16, types.float32, f32x16)
            return None

    def lower(context, builder, sig, args):
        vector = sig.return_type.vector
        a, b = (v if v.type == vector else _broadcast(builder, vector, v) for v in args)
        return getattr(builder, method)(a, b, flags=_FLAGS)

    for kinds in ((f32x16, f32x16), (f64x16, f64x16), (f32x16, types.float32), (types.float32, f32x16)):
        lower_builtin(symbol, *kinds)(lower)


for _symbol, _method in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_symbol, _method)


@intrinsic
def widen(typingctx, x):
    """float32 to float64."""
    return f64x16(f32x16), lambda context, builder, sig, args: builder.fpext(args[0], _F64)


@intrinsic
def narrow(typingctx, x):
    """float64 to float32, rounded."""
    return f32x16(f64x16), lambda context, builder, sig, args: builder.fptrunc(args[0], _F32)


# 2^-t on [0, log2(255) / 8]: minimax in the relative error (8.4e-8), exact at 0.
_EXP2 = (-0.0009451351532958202, 0.009206323423779833, -0.05529776748582482, 0.2401802681220534, -0.6931437330434401, 1)


@intrinsic
def weight(typingctx, t, cut):
    """2^(-8 t) where t <= cut, else 0 (also for NaN). Relative error for 0 <= t <= cut = log2(255) / 8: 2e-6,
    or 3e-6 on a processor without fused multiply-add."""

    def codegen(context, builder, sig, args):
        value = _constant(_F32, [_EXP2[0]] * LANES)
        for coefficient in _EXP2[1:]:
            value = _call(builder, f32x16, "llvm.fmuladd", [value, args[0], _constant(_F32, [coefficient] * LANES)])
        for _ in range(3):
            value = builder.fmul(value, value, flags=_FLAGS)
        inside = builder.fcmp_ordered("<=", args[0], args[1])
        return builder.select(inside, value, _constant(_F32, [0.0] * LANES))

    return f32x16(f32x16, f32x16), codegen


# 2^f on [-1/2, 1/2]: minimax in the relative error (9.2e-8), exact at 0.
_EXP2_NEAR_0 = (
    0.0013264727247062173,
    0.009671512688149073,
    0.05550733743574304,
    0.2402224208463511,
    0.6931469775987164,
    1,
)
_TO_WHOLE = 1.5 * 2.0**23  # a float32 of this size has no fraction, and keeps small whole numbers in its lowest bits


@intrinsic
def response(typingctx, t, cut):
    """2^(-8 t) where t <= cut, else 0 (also for NaN), for any cut up to 125 / 8. Relative error 2e-6 at t = 2.5 (that
    is 1e-6), growing like t: from t alone, which has a rounding error of its own."""

    def codegen(context, builder, sig, args):
        y = builder.fmul(args[0], _constant(_F32, [-8.0] * LANES))
        shifted = builder.fadd(y, _constant(_F32, [_TO_WHOLE] * LANES))
        fraction = builder.fsub(y, builder.fsub(shifted, _constant(_F32, [_TO_WHOLE] * LANES)))
        value = _constant(_F32, [_EXP2_NEAR_0[0]] * LANES)
        for coefficient in _EXP2_NEAR_0[1:]:
            value = _call(builder, f32x16, "llvm.fmuladd", [value, fraction, _constant(_F32, [coefficient] * LANES)])
        exponent = builder.shl(builder.bitcast(shifted, _I32), ir.Constant(_I32, [23] * LANES))
        value = builder.bitcast(builder.add(builder.bitcast(value, _I32), exponent), _F32)
        inside = builder.fcmp_ordered("<=", args[0], args[1])
        return builder.select(inside, value, _constant(_F32, [0.0] * LANES))

    return f32x16(f32x16, f32x16), codegen


# -- choosing lanes --------------------------------------------------------------------------------------------------
def _where(comparison):
    @intrinsic
    def op(typingctx, x, a, b):
        def codegen(context, builder, sig, args):
            kept = builder.fcmp_ordered(comparison, args[1], args[2])
            return builder.select(kept, args[0], _constant(_F32, [0.0] * LANES))

        return f32x16(f32x16, f32x16, f32x16), codegen

    return op


#: x where a > b, or a >= b, else 0 (also for NaN).
where_greater, where_at_least = _where(">"), _where(">=")


@intrinsic
def any_greater(typingctx, a, b):
    """Whether a > b in any lane."""

    def codegen(context, builder, sig, args):
        lanes = builder.bitcast(builder.fcmp_ordered(">", args[0], args[1]), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", lanes, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(f32x16, f32x16), codegen


# -- sums over lanes -------------------------------------------------------------------------------------------------
def _fold(vectors, join):
    """Halves the number of vectors until one is left, joining halves of neighbours; each of the sixteen places of the
    last then holds half of the sum of one of eight vectors."""
    width = LANES
    while len(vectors) > 1:
        half = width // 2
        group = [k for start in range(0, LANES, width) for k in range(start, start + half)]
        low, high = group + [LANES + k for k in group], [half + k for k in group] + [LANES + half + k for k in group]
        vectors = [join(x, y, low, high) for x, y in zip(vectors[::2], vectors[1::2], strict=True)]
        width = half
    return vectors[0]


#: Where the sum of each of eight vectors ends up: the same folding, of labels.
_PLACES = _fold([[i] * LANES for i in range(8)], lambda x, y, low, high: [(x + y)[k] for k in low])


@intrinsic
def totals(typingctx, a, b, c, d, e, f, g, h):
    """The sums of the lanes of eight vectors, in lanes 0 to 7."""

    def codegen(context, builder, sig, args):
        def join(x, y, low, high):
            return builder.fadd(_shuffle(builder, x, y, low), _shuffle(builder, x, y, high))

        v = _fold(list(args), join)
        v = builder.fadd(v, _shuffle(builder, v, v, [k ^ 1 for k in range(LANES)]))
        return _shuffle(builder, v, v, [_PLACES.index(k % 8) for k in range(LANES)])

    return f32x16(*[f32x16] * 8), codegen


# -- cells of 8 x 2 pixels to and from interleaved RGB -----------------------------------------------------------------
_RED_GREEN = [*range(8), *range(16, 24)]
_INTERLEAVED = [(0, 8, 16)[i % 3] + i // 3 for i in range(24)]  # of red, green, blue in a row of 24 floats


def _row_pointer(context, builder, sig, args, index, lanes):
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(ir.FloatType(), lanes).as_pointer())


@intrinsic
def store_rgb(typingctx, flat, top, bottom, r, g, b):
    """A cell to two rows of interleaved RGB: flat[top : top + 24] and flat[bottom : bottom + 24]."""

    def codegen(context, builder, sig, args):
        for row, index in ((0, args[1]), (1, args[2])):
            red_green = _shuffle(builder, args[3], args[4], [8 * row + k for k in _RED_GREEN])
            lanes = [k if k < LANES else k + 8 * row for k in _INTERLEAVED]
            head, tail = (_shuffle(builder, red_green, args[5], part) for part in (lanes[:16], lanes[16:]))
            builder.store(head, _row_pointer(context, builder, sig, args, index, 16), align=4)
            after = builder.add(index, ir.Constant(index.type, 16))
            builder.store(tail, _row_pointer(context, builder, sig, args, after, 8), align=4)
        return context.get_dummy_value()

    return types.void(flat, types.intp, types.intp, f32x16, f32x16, f32x16), codegen


@intrinsic
def load_rgb(typingctx, flat, top, bottom):
    """The inverse of store_rgb: (red, green, blue)."""

    def codegen(context, builder, sig, args):
        rows = []
        for index in args[1:3]:
            head = builder.load(_row_pointer(context, builder, sig, args, index, 16), align=4)
            after = builder.add(index, ir.Constant(index.type, 16))
            tail = builder.load(_row_pointer(context, builder, sig, args, after, 8), align=4)
            tail = _shuffle(builder, tail, tail, range(LANES))
            rows.append([_shuffle(builder, head, tail, [3 * i + c for i in range(8)] * 2) for c in range(3)])
        planes = [_shuffle(builder, rows[0][c], rows[1][c], _RED_GREEN) for c in range(3)]
        return context.make_tuple(builder, sig.return_type, planes)

    return types.UniTuple(f32x16, 3)(flat, types.intp, types.intp), codegen
