"""Arrays over memory that is there already: some rows of another array, or room on the thread's stack."""

from numba import carray, intp, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.numba_.lowering import function
from fastnn.kernels.numba_.words import untyped

STACKED = 64  # so many groups of at most STACK_COLUMNS numbers may a kernel keep on the stack
STACK_COLUMNS = 16
STACK = STACK_COLUMNS * STACKED


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
def stack(typing, zero):
    """A pointer to STACK numbers of the type of `zero` on the thread's stack."""

    def generate(context, builder, signature, args):
        return cgutils.alloca_once(builder, args[0].type, STACK)

    return types.CPointer(zero)(zero), generate
