"""Sharing work between the threads of one `run_shared`, inside kernels.

A kernel is made of phases, a phase of items: any thread does any item that nobody has taken yet, and waits only for
items that others are in the middle of. A thread that the machine starts late, or takes away, delays nobody: on a busy
machine that is the rule, and handing work to sleeping threads costs a tenth of a millisecond even on a quiet one. Who
does an item never changes its result.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import sys

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import part

_LOOKS = 2000
_offer_core = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())


def _address(context, builder, sig, args):
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


def _exchange(operation):
    """array[index] of int64 with 1 by a read-modify-write operation, in one step for all threads: the value before."""

    @intrinsic
    def op(typingctx, array, index):
        def codegen(context, builder, sig, args):
            one = ir.Constant(ir.IntType(64), 1)
            return builder.atomic_rmw(operation, _address(context, builder, sig, args), one, "seq_cst")

        return types.int64(array, types.intp), codegen

    return op


_set, _add = _exchange("xchg"), _exchange("add")


@intrinsic
def _look(typingctx, array, index):
    """array[index], together with everything that was written before it was."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(_address(context, builder, sig, args), "seq_cst", 8)

    return types.int64(array, types.intp), codegen


@part(_nrt=False)
def take(board, place):
    """True for the first thread that asks for the item at this place of the board (int64, zero at the start)."""
    return _look(board, place) == 0 and _set(board, place) == 0


@part(_nrt=False)
def finish(board, place):
    """Counts a finished item of a phase whose count is at this place of the board."""
    _add(board, place)


@part(_nrt=False)
def wait(board, place, items):
    """Returns when so many items of the phase are finished; looks a few thousand times, then offers its core."""
    looks = 0
    while _look(board, place) < items:
        looks += 1
        if looks > _LOOKS:
            _offer_core()
