"""Operations on vectors of sixteen floats that the losses need beside those of `render/f32x16.py`."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from splatbench.render.f32x16 import LANES, f32x16

VECTOR = f32x16.vector
FLAGS = ("contract", "nsz")


def constant(value):
    return ir.Constant(VECTOR, [ir.Constant(ir.FloatType(), value)] * LANES)


def call(builder, name, *args):
    """One of LLVM's functions of vectors."""
    function = ir.FunctionType(VECTOR, [VECTOR] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.v{LANES}f32"), args)


@intrinsic
def load_bytes(typingctx, array, index):
    """array[index : index + 16] / 255 of a contiguous uint8 array."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.VectorType(ir.IntType(8), LANES).as_pointer())
        return builder.fdiv(builder.uitofp(builder.load(place, align=1), VECTOR), constant(255.0))

    return f32x16(array, types.intp), codegen


@intrinsic
def clamped(typingctx, x):
    """x limited to [0, 1]; NaN stays NaN."""

    def codegen(context, builder, sig, args):
        x = args[0]
        x = builder.select(builder.fcmp_ordered("<", x, constant(0.0)), constant(0.0), x)
        return builder.select(builder.fcmp_ordered(">", x, constant(1.0)), constant(1.0), x)

    return f32x16(f32x16), codegen


@intrinsic
def zero_outside(typingctx, x, y):
    """y, but 0 where x is below 0 or above 1."""

    def codegen(context, builder, sig, args):
        x, y = args
        below, above = builder.fcmp_ordered("<", x, constant(0.0)), builder.fcmp_ordered(">", x, constant(1.0))
        return builder.select(builder.or_(below, above), constant(0.0), y)

    return f32x16(f32x16, f32x16), codegen


@intrinsic
def absolute(typingctx, x):
    return f32x16(f32x16), lambda context, builder, sig, args: call(builder, "fabs", args[0])


@intrinsic
def sign(typingctx, x):
    """-1, 0 or 1; NaN stays NaN."""

    def codegen(context, builder, sig, args):
        x = args[0]
        one = call(builder, "copysign", constant(1.0), x)
        return builder.select(builder.fcmp_unordered("==", x, constant(0.0)), x, one)

    return f32x16(f32x16), codegen


@intrinsic
def total(typingctx, x):
    """The sum of the lanes, in float64, from the first to the last."""

    def codegen(context, builder, sig, args):
        double = ir.DoubleType()
        wide = builder.fpext(args[0], ir.VectorType(double, LANES))
        signature = ir.FunctionType(double, [double, wide.type])
        function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.vector.reduce.fadd.v{LANES}f64")
        return builder.call(function, [ir.Constant(double, -0.0), wide])

    return types.float64(f32x16), codegen
