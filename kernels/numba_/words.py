"""What the 64-bit words of native code stand for: pointers, numbers, and kernels to be called."""

from __future__ import annotations

from llvmlite import ir
from numba import carray, float32, float64, int64, types
from numba.extending import intrinsic

from fastnn.kernels.numba_.arguments import SCRATCH, SCRATCH_WORD
from fastnn.kernels.numba_.lowering import function


def _pointer(kind: types.Type, llvm_type: ir.Type):
    @intrinsic
    def pointer(typing, word):
        def generate(context, builder, signature, args):
            return builder.inttoptr(args[0], llvm_type.as_pointer())

        return types.CPointer(kind)(types.intp), generate

    return pointer


integers = _pointer(int64, ir.IntType(64))
singles = _pointer(float32, ir.FloatType())
doubles = _pointer(float64, ir.DoubleType())


@intrinsic
def untyped(typing, word):
    """The pointer to this address."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), generate


@intrinsic
def numbers(typing, word, zero):
    """The pointer to numbers of the type of `zero` at this address."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], args[1].type.as_pointer())

    return types.CPointer(zero)(types.intp, zero), generate


@intrinsic
def bits(typing, word):
    """The float64 whose bits these are."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return float64(types.int64), generate


@function
def place(word, local, offset):
    """The address of an array, whose rows before the current tile are not there when it lies in scratch space."""
    if word == SCRATCH:
        return carray(integers(local), 8)[SCRATCH_WORD] - offset
    return word


@intrinsic
def call(typing, kernel, block, start, stop, local):
    """Call the native kernel at an address."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [a.type for a in args[1:]])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


def namespace(real: types.Type) -> dict:
    """The names that the unpacking code of a kernel for elements of type `real` uses."""
    reals = {float32: singles, float64: doubles, int64: integers}[real]
    return {
        "carray": carray, "integers": integers, "doubles": doubles, "reals": reals, "bits": bits, "real": real,
        "place": place, "ITEMSIZE": real.bitwidth // 8,
    }  # fmt: skip
