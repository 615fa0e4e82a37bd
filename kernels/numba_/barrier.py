"""The barrier where the threads of a run meet: all have done their part before any goes on.

They spin there, and after a while sleep, for other programs may need the cores, and a container may have fewer than it
shows. A short sleep is better than offering the core: the system lets who slept go first, but who gave way waits for a
whole turn of the other program, and then the threads take turns to miss each other. They spin longer than a sleep
takes, or they would do so too once one had slept.

The last to arrive looks at the fault word for all, so that all stop at the same barrier or none. Where the keyboard
interrupts the one that would come last before it began, the others give up.
"""

from __future__ import annotations

from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from fastnn.kernels.numba_.engine import ARRIVED, FAULT_AT, GENERATION, GIVEN_UP, SEEN, SHARED_WORDS, SLEEP_AT
from fastnn.kernels.numba_.lowering import function
from fastnn.kernels.numba_.words import integers

SPINS, SLEEP_MICROSECONDS = 500_000, 10  # looks at the barrier, some 0.2 ms, before a thread leaves its core to others


@function
def meet(shared_at, threads):
    """Wait until all threads are here. Returns the fault word as the last to arrive saw it; 1 if one never will."""
    shared = carray(integers(shared_at), SHARED_WORDS)
    arrived, generation = shared_at + 8 * ARRIVED, shared_at + 8 * GENERATION
    before = _atomic_load(generation)
    if _atomic_add(arrived, 1) == threads - 1:
        shared[SEEN] = _atomic_load(shared[FAULT_AT])
        shared[ARRIVED] = 0
        _atomic_add(generation, 1)
    else:
        looks = 0
        while _atomic_load(generation) == before:
            looks += 1
            if looks > SPINS:
                if _atomic_load(shared_at + 8 * GIVEN_UP):
                    return 1
                _sleep(shared[SLEEP_AT])
    return shared[SEEN]


@intrinsic
def _sleep(typing, function):
    def generate(context, builder, signature, args):
        microseconds = ir.IntType(32)(SLEEP_MICROSECONDS)
        kind = ir.FunctionType(ir.VoidType(), [microseconds.type])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [microseconds])
        return context.get_dummy_value()

    return types.void(types.intp), generate


@intrinsic
def _atomic_add(typing, address, value):
    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], args[1].type.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.intp(types.intp, types.intp), generate


@intrinsic
def _atomic_load(typing, address):
    def generate(context, builder, signature, args):
        integer = ir.IntType(64)
        return builder.load_atomic(builder.inttoptr(args[0], integer.as_pointer()), "seq_cst", 8, typ=integer)

    return types.intp(types.intp), generate
