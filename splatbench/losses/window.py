"""SSIM's window as vector instructions: eleven Gaussian taps (sigma 1.5), down the rows and across the columns.

Rows are read from a ring: the last sixteen rows of a block of columns, stored [columns / 16, 16 rows, 16 lanes], so
that what a filter reads is contiguous. Filtering down makes four rows from fourteen at a time, and forms the products
whose windows SSIM needs from the same loads.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from splatbench.render.f32x16 import LANES, f32x16
from splatbench.render.jit import kernel

from .lanes import FLAGS, VECTOR, call, constant
from .ssim import REACH, TAPS

ROWS = 4  # rows filtered together
RING = 16  # rows of a ring: a power of two, at least 2 REACH + ROWS
COLUMN = RING * LANES  # floats from one column of vectors to the next in a ring


def _windowed(builder, v):
    """The taps times eleven vectors; vectors with equal taps are added first."""
    total = builder.fmul(constant(TAPS[REACH]), v[REACH], flags=FLAGS)
    for k in range(REACH):
        pair = builder.fadd(v[k], v[2 * REACH - k], flags=FLAGS)
        total = call(builder, "fmuladd", constant(TAPS[k]), pair, total)
    return total


def _data(context, builder, sig, args, position):
    return context.make_array(sig.args[position])(context, builder, args[position]).data


def _place(builder, data, *offsets):
    """data + the sum of the offsets, as a pointer to a vector."""
    total = offsets[0]
    for offset in offsets[1:]:
        total = builder.add(total, offset)
    return builder.bitcast(builder.gep(data, [total]), VECTOR.as_pointer())


def _down(fields, products, first=0):
    """Intrinsic op(ring, size, column, top, out, pitch): filters vectors down.

    Reads vectors `column` of the rings `fields` (each has `size` floats), 2 REACH + ROWS rows from slot `top` on, a
    multiple of ROWS. Writes row j of product f at out[(ROWS (first + f) + j) pitch + 16 column].
    """

    @intrinsic
    def op(typingctx, ring, size, column, top, out, pitch):
        def codegen(context, builder, sig, args):
            _, size, column, top, _, pitch = args
            source, target = (_data(context, builder, sig, args, k) for k in (0, 4))

            def n(value):
                return ir.Constant(column.type, value)

            base = builder.mul(column, n(COLUMN))
            groups = []  # offsets of four rows each: slots wrap around between groups only
            for k in range(0, RING, ROWS):
                slot = builder.and_(builder.add(top, n(k)), n(RING - 1))
                groups.append(builder.add(base, builder.mul(slot, n(LANES))))
            loaded = []
            for field in fields:
                start = builder.mul(size, n(field))
                places = [(groups[k // ROWS], start, n(k % ROWS * LANES)) for k in range(2 * REACH + ROWS)]
                loaded.append([builder.load(_place(builder, source, *offsets), align=4) for offsets in places])
            index = builder.mul(column, n(LANES))
            for f, product in enumerate(products, first):
                v = [product(builder, *values) for values in zip(*loaded, strict=True)]
                for j in range(ROWS):
                    filtered = _windowed(builder, v[j : j + 2 * REACH + 1])
                    offset = builder.mul(pitch, n(ROWS * f + j))
                    builder.store(filtered, _place(builder, target, offset, index), align=4)
            return context.get_dummy_value()

        n = types.intp
        return types.void(ring, n, n, n, out, n), codegen

    return op


def _value(k):
    return lambda builder, *values: values[k]


def _times(i, k):
    # the fence keeps some products, depending on the row, from being joined with the addition that follows
    return lambda builder, *values: call(builder, "arithmetic.fence", builder.fmul(values[i], values[k]))


#: Rings d, t; products d, d^2, t d.
down_difference = _down((0, 1), (_value(0), _times(0, 0), _times(0, 1)))
#: Rings d, t; products t, t^2, after the three of `down_difference`.
down_target = _down((1,), (_value(0), _times(0, 0)), first=3)
#: Three rings, each filtered as it is.
down_slopes = _down((0, 1, 2), (_value(0), _value(1), _value(2)))


@intrinsic
def _across_any(typingctx, row, index, stride):
    def codegen(context, builder, sig, args):
        data = _data(context, builder, sig, args, 0)
        _, index, stride = args
        steps = [builder.mul(stride, ir.Constant(stride.type, k)) for k in range(2 * REACH + 1)]
        return _windowed(builder, [builder.load(_place(builder, data, index, step), align=4) for step in steps])

    return f32x16(row, types.intp, types.intp), codegen


@intrinsic
def _across_rgb(typingctx, row, index):
    """Stride 3, from three loads: the shifted windows come from registers."""

    def codegen(context, builder, sig, args):
        data = _data(context, builder, sig, args, 0)
        offsets = [ir.Constant(args[1].type, k * LANES - 1) for k in range(3)]
        loaded = [builder.load(_place(builder, data, args[1], offset), align=4) for offset in offsets]
        shifted = [loaded[0]] * (2 * REACH + 1)
        for k in range(2 * REACH + 1):
            first, lane = divmod(3 * k + 1, LANES)
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(lane, lane + LANES)))
            shifted[k] = builder.shuffle_vector(loaded[first], loaded[(first + 1) % 3], lanes)
        return _windowed(builder, shifted)

    return f32x16(row, types.intp), codegen


@kernel(forceinline=True)
def across(row, index, stride):
    """Sixteen windows across: the taps times row[index + k stride : index + k stride + 16], k = 0 .. 10.

    With stride 3, row[index - 1 : index + 47] is read, and index - 1 should be a multiple of 16: loads that straddle
    cache lines cost two each.
    """
    return _across_rgb(row, index) if stride == 3 else _across_any(row, index, stride)
