"""What is done to rows. NumPy takes them one after the other, which is slow where they are many and short."""

import functools
import math

import numpy as np

MANY, TOGETHER = 400, 32  # beyond so many rows, up to so many are added to as one long row
SHORT = 4  # with so many times more rows than columns, a transposed copy is quicker


@functools.lru_cache(32)
def ones(count, dtype):
    """A vector of ones, kept: the product with it is a sum, and BLAS is quicker at that."""
    return _constant(np.ones(count, dtype))


@functools.lru_cache(32)
def places(count, width):
    """Where each of so many rows begins in the flat array, kept."""
    return _constant(np.arange(0, count * width, width))


@functools.lru_cache(64)
def number(value, dtype):
    """A number as an array, kept: to make one of Python's takes NumPy as long as to multiply a short vector by it."""
    return _constant(np.array(value, dtype))


def _constant(array):
    array.flags.writeable = False
    return array


def add_to_rows(row, out):
    """out[n,f] += row[f]."""
    if len(out) > MANY:
        together = math.gcd(len(out), TOGETHER)
        row = row.reshape(1, -1).repeat(together, axis=0).reshape(-1)
        out = out.reshape(-1, len(row))
    out += row


def row_sum(z):
    """sum_f z[n,f]."""
    return z.dot(ones(z.shape[1], z.dtype))
