"""Rows of a data set into a batch, rows of a batch back, and the check that they are finite."""

from numba import carray, uint64

from fastnn.kernels.contract import ITERATION, ROW
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.vector import copy_row, zero_if_finite
from fastnn.kernels.numba_.words import STACKED, philox, rows, stack


@kernel
def gather(data, permutation, out, start, stop, local):
    first, width, size, zero = local[ROW], out.shape[1], out.itemsize, out.dtype.type(0)
    for r in range(start, stop):
        source = permutation[first + r] if len(permutation) else first + r
        if width == 1:
            out[r, 0] = data[source, 0]
        else:
            copy_row(data.ctypes.data + source * width * size, out.ctypes.data + r * width * size, width, zero)


@kernel
def scatter(values, out, start, stop, local):
    width, size = values.shape[1], values.itemsize
    source, target = values.ctypes.data + start * width * size, out.ctypes.data + (local[ROW] + start) * width * size
    copy_row(source, target, (stop - start) * width, values.dtype.type(0))


@kernel
def check_finite(values, fault, code, start, stop):
    flat, zero = rows(values, start, stop), values.dtype.type(0)
    if zero_if_finite(flat.ctypes.data, len(flat), zero) != zero:
        fault[0] |= code


@kernel
def random_bits(out, seed, stream, start, stop, local):
    c = carray(stack(uint64(0)), (4, STACKED))
    for first in range(start // 4, (stop + 3) // 4, STACKED):
        philox(seed, first, local[ITERATION], stream, c)
        for i in range(max(start, 4 * first), min(stop, 4 * (first + STACKED))):
            out[i] = c[i & 3, (i >> 2) - first]


@kernel
def order_of(words, order, work, start, stop):
    """Sorts by digits, from the lowest: each pass keeps the order of the one before, so ties stay."""
    n = len(words)
    bits, passes = (11, 3) if n >= 1024 else (8, 4)
    size, mask = 1 << bits, (1 << bits) - 1
    counts = work[n : n + passes * size]
    counts[:] = 0
    for i in range(n):
        for digit in range(passes):
            counts[digit * size + (words[i] >> digit * bits & mask)] += 1
    source, target = (work[:n], order) if passes % 2 else (order, work[:n])
    for digit in range(passes):
        places = counts[digit * size : (digit + 1) * size]
        place = 0
        for value in range(size):
            place, places[value] = place + places[value], place
        for i in range(n):
            key = words[i] << 32 | i if digit == 0 else source[i]
            value = (key >> 32 & 0xFFFFFFFF) >> digit * bits & mask
            target[places[value]] = key if digit < passes - 1 else key & 0xFFFFFFFF
            places[value] += 1
        source, target = target, source
