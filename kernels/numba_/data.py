"""Rows of a data set into a batch, rows of a batch back, and the check that they are finite."""

from numba import uint64

from fastnn.kernels.contract import ROW
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.rowwise import copy_by_parts, copy_row, fetch_row, zero_if_finite
from fastnn.kernels.numba_.views import rows

WORTH_FETCHING = 512  # bytes of a row: the processor itself looks so far ahead


@kernel
def gather(data, permutation, out, start, stop, local):
    first, width, size, zero = local[ROW], out.shape[1], out.itemsize, out.dtype.type(0)
    base, target = data.ctypes.data, out.ctypes.data + start * width * size
    if len(out) == 1:  # the next launches load it at once
        row = permutation[first] if len(permutation) else first
        copy_by_parts(base + row * width * size, target, width, zero)
        return
    if not len(permutation):
        copy_row(base + (first + start) * width * size, target, (stop - start) * width, zero)
        return
    order = permutation[first + start : first + stop]
    if width == 1:
        values, column = rows(data, 0, len(data)), rows(out, start, stop)
        for i in range(len(order)):
            column[i] = values[uint64(order[i])]
        return
    fetched = width * size if width * size >= WORTH_FETCHING else 0
    for i in range(len(order)):
        fetch_row(base + order[min(i + 1, len(order) - 1)] * width * size, fetched, zero)
        copy_row(base + order[i] * width * size, target + i * width * size, width, zero)


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
