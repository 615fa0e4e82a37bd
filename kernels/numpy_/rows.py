"""What is done to rows. NumPy takes them one after the other, which is slow where they are many and short."""

import functools

import numpy as np


@functools.lru_cache(64)
def ones(count, dtype):
    """A vector of ones: the product with it is a sum, and BLAS is quicker at that."""
    vector = np.ones(count, dtype)
    vector.flags.writeable = False
    return vector


@functools.lru_cache(64)
def places(count, width):
    """Where each of so many rows begins in the flat array."""
    return np.arange(0, count * width, width)


def by_row(function, z, rows, out):
    """out[n,f] = function(z[n,f], rows[n])."""
    if len(z) > 200 * z.shape[1]:
        for column, result in zip(z.T, out.T, strict=True):
            function(column, rows, out=result)
    else:
        function(z, rows[:, None], out=out)


def row_sum(z):
    """sum_f z[n,f]."""
    return np.dot(z, ones(z.shape[1], z.dtype))


def row_max(z):
    """max_f z[n,f]."""
    if len(z) > 10 * z.shape[1]:
        return functools.reduce(np.maximum, z.T)
    return z.max(axis=1)
