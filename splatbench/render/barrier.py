"""`meet`: the threads of one `run_together` wait for each other inside a kernel.

Handing work to sleeping threads costs a tenth of a millisecond, as much as a short phase of a kernel; phases that
depend on each other are therefore one kernel with a meeting in between. Who waits looks a few thousand times and then
offers its core to others, so that a busy machine loses little.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import sys

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import kernel
from .threads import ABANDONED

_LOOKS = 2000
_offer_core = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())


def _address(context, builder, sig, args):
    return context.make_array(sig.args[0])(context, builder, args[0]).data


@intrinsic
def _arrive(typingctx, counter):
    """counter[0] += 1, seen by all threads after everything that this thread wrote before."""

    def codegen(context, builder, sig, args):
        builder.atomic_rmw("add", _address(context, builder, sig, args), ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(counter), codegen


@intrinsic
def _look(typingctx, counter):
    """counter[0], together with everything that was written before it was."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(_address(context, builder, sig, args), "seq_cst", 8)

    return types.int64(counter), codegen


@kernel
def meet(counter, threads, meeting):
    """Returns when all threads have called it: True, or False if they never will and the kernel has to return at once.

    Args:
        counter: int64 [1], of `run_together`.
        meeting: 1 for the first meeting of a kernel, 2 for the second, and so on.
    """
    if threads == 1:
        return True
    _arrive(counter)
    looks = 0
    while _look(counter) < threads * meeting:
        looks += 1
        if looks > _LOOKS:
            _offer_core()
    return _look(counter) < ABANDONED
