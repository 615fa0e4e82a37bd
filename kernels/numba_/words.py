"""How native code reads the 64-bit words of an argument block, as Numba intrinsics."""

from __future__ import annotations

from llvmlite import ir
from numba import carray, float32, float64, int64, intp, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.numba_.arguments import SCRATCH, SCRATCH_WORD
from fastnn.kernels.numba_.lowering import function

STACKED = 64  # so many groups of at most STACK_COLUMNS numbers may a kernel keep on the stack
STACK_COLUMNS = 16
STACK = STACK_COLUMNS * STACKED


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
def stack(typing, zero):
    """A pointer to STACK numbers of the type of `zero` on the thread's stack."""

    def generate(context, builder, signature, args):
        return cgutils.alloca_once(builder, args[0].type, STACK)

    return types.CPointer(zero)(zero), generate


@function
def address(array):
    """Where an array begins, as a signed word like all others: Numba compiles a function anew for each other type."""
    return intp(array.ctypes.data)


@function
def rows(array, start, stop):
    """The elements of some rows, as one contiguous array."""
    width = array.shape[1]
    first = array.ctypes.data + start * width * array.itemsize
    return carray(untyped(first), (stop - start) * width, array.dtype)


@function
def block(array, start, stop):
    """Some rows; a slice, without its search for negative numbers."""
    width = array.shape[1]
    first = array.ctypes.data + start * width * array.itemsize
    return carray(untyped(first), (stop - start, width), array.dtype)


@function
def rows_in_place(source, target, start, stop):
    """Those of `target`, holding what `source` holds there; the two may be one array."""
    inputs, outputs = rows(source, start, stop), rows(target, start, stop)
    if source.ctypes.data != target.ctypes.data:
        for i in range(len(outputs)):
            outputs[i] = inputs[i]
    return outputs


@intrinsic
def sqrt(typing, x):
    """The square root, as the processor's instruction."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [args[0].type], kind), args)

    return x(x), generate


@function
def sign(x):
    """-1, 0 or 1, in the type of x."""
    zero, one = type(x)(0), type(x)(1)
    return (one if x > zero else zero) - (one if x < zero else zero)


@function
def first_largest(row):
    """The index of the first largest element; without branches, which nobody could foretell."""
    best, top = 0, row[0]
    for j in range(1, len(row)):
        larger = row[j] > top
        best, top = j if larger else best, row[j] if larger else top
    return best


def namespace(real: types.Type) -> dict:
    """The names that the unpacking code of a kernel for elements of type `real` uses."""
    reals = {float32: singles, float64: doubles, int64: integers}[real]
    return {
        "carray": carray, "integers": integers, "doubles": doubles, "reals": reals, "bits": bits, "real": real,
        "place": place, "ITEMSIZE": real.bitwidth // 8,
    }  # fmt: skip
