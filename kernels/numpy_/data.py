"""Rows of a data set into a batch, rows of a batch back, and the check that they are finite."""

import math

import numpy as np

from fastnn.kernels.contract import ROW


def gather(data, permutation, clock, out):
    """out[r] = data[permutation[first + r]], or data[first + r] without a permutation; first = clock[ROW]."""
    first, n = clock[ROW], len(out)
    if permutation is None:
        out[...] = data[first : first + n]
    else:
        data.take(permutation[first : first + n], axis=0, out=out, mode="clip")  # "raise" would go through a copy


def scatter(values, clock, out):
    """out[first + r] = values[r]; first = clock[ROW]."""
    first = clock[ROW]
    out[first : first + len(values)] = values


def check_finite(values, fault, code):
    """Set the bits of `code` in fault[0] if any value is NaN or infinite: no parameter is updated after that."""
    if not all_finite(values):
        fault[0] |= code


def all_finite(values):
    """True when no value is NaN or infinite: as the sum of their squares tells at once, unless that overflows."""
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())  # `dot` would warn of overflow
