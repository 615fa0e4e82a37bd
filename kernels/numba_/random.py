"""Random bits as a pure function of where they are used: the same words as on every other backend.

The algorithm is told in `numpy_/random.py`. Words that were drawn for the rows of a data set are sorted here, too: that
is the order in which an epoch takes the rows.
"""

from numba import carray, uint32, uint64

from fastnn.kernels.coefficients import KEY_STEPS, MULTIPLIERS
from fastnn.kernels.contract import ITERATION
from fastnn.kernels.numba_.lowering import function
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.views import STACKED, stack

INDEX_BITS, KEY_BITS = 31, 63  # a key is a word of 32 bits, then its place, which tells equal words apart


@function
def philox(seed, first, step, stream, words):
    """Words of Philox4x32-10 of STACKED counters (group, 0, step, stream) from group `first`; the key is the seed.

    Word i of group first + j is words[4 * j + i], of 32 bits. The groups are vectors, which stay in registers for all
    rounds. Products of two numbers below 2**32 are single instructions: hence the masks.
    """
    low, half = uint64(0xFFFFFFFF), uint64(32)
    for j in range(STACKED):
        a, b, c, d = uint64(first + j), uint64(0), uint64(step), uint64(stream)
        k_0, k_1 = uint64(seed) & low, uint64(seed) >> half
        for _ in range(10):
            p_0, p_1 = (a & low) * uint64(MULTIPLIERS[0]), (c & low) * uint64(MULTIPLIERS[1])
            a, b, c, d = (p_1 >> half) ^ b ^ k_0, p_1 & low, (p_0 >> half) ^ d ^ k_1, p_0 & low
            k_0, k_1 = (k_0 + uint64(KEY_STEPS[0])) & low, (k_1 + uint64(KEY_STEPS[1])) & low
        words[4 * j], words[4 * j + 1], words[4 * j + 2], words[4 * j + 3] = a, b, c, d


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
