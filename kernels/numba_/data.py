"""Rows of a data set into a batch, rows of a batch back, and the check that they are finite."""

from numba import carray, uint32, uint64

from fastnn.kernels.contract import ITERATION, ROW
from fastnn.kernels.numba_.lowering import function
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.rowwise import copy_by_parts, copy_row, fetch_row, zero_if_finite
from fastnn.kernels.numba_.words import STACKED, philox, rows, stack

WORTH_FETCHING = 512  # bytes of a row: the processor itself looks so far ahead
INDEX_BITS, KEY_BITS = 31, 63  # a key is a word of 32 bits, then its place, which tells equal words apart


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


@kernel
def random_bits(out, seed, stream, start, stop, local):
    words = carray(stack(uint32(0)), 4 * STACKED)
    for first in range(start // 4, (stop + 3) // 4, STACKED):
        philox(seed, first, local[ITERATION], stream, words)
        begin, end = max(start, 4 * first), min(stop, 4 * (first + STACKED))
        piece, some = out[begin:end], words[begin - 4 * first :]
        for i in range(len(piece)):
            piece[i] = some[i]


@function
def sort_by_digits(keys, other, counts, bits, passes):
    """Sort by the highest digits, from the lowest of them: each pass keeps the order of the one before, so ties stay.

    An even number of passes leaves them in `keys`, an odd one in `other`. Indices are unsigned: for others Numba would
    look whether they count from the end.
    """
    size, mask = 1 << bits, (1 << bits) - 1
    counts = counts[:size]
    for digit in range(passes, 0, -1):
        shift = KEY_BITS - digit * bits
        counts[:] = 0
        for key in keys:
            counts[uint64(key >> shift & mask)] += 1
        place = 0
        for value in range(size):
            place, counts[value] = place + counts[value], place
        for key in keys:
            value = uint64(key >> shift & mask)
            other[uint64(counts[value])] = key
            counts[value] += 1
        keys, other = other, keys


@function
def insert(keys, most):
    """Sort keys that are nearly in order; False where they are not, after `most` moves of them."""
    moves = 0
    for i in range(1, len(keys)):
        key, j = keys[i], i
        if keys[i - 1] > key:
            while j > 0 and keys[j - 1] > key:
                keys[j] = keys[j - 1]
                j -= 1
            keys[j] = key
            moves += i - j
            if moves > most:
                return False
    return True


@kernel
def order_of(words, order, work, start, stop):
    """Two digits bring random words so near to their places that moving them there is less work than a third."""
    n = len(words)
    for i in range(n):
        order[i] = words[i] << INDEX_BITS | i
    other, counts = work[:n], work[n:]
    sort_by_digits(order, other, counts, 8 if n < 8192 else 11, 2)
    if not insert(order, n):  # these are not random
        sort_by_digits(order, other, counts, 8, 4)
    for i in range(n):
        order[i] &= (1 << INDEX_BITS) - 1
