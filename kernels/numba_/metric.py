"""Metrics: one value per row; and the record of a step's sums that the host reads after a run of steps."""

from fastnn.kernels.contract import POSITION
from fastnn.kernels.numba_.lowering import function
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.rowwise import sum_as
from fastnn.kernels.numba_.views import rows


@function
def first_largest(row):
    """The index of the first largest element; without branches, which nobody could foretell."""
    best, top = 0, row[0]
    for j in range(1, len(row)):
        larger = row[j] > top
        best, top = j if larger else best, row[j] if larger else top
    return best


@kernel
def sparse_accuracy(y, labels, hits, start, stop):
    for r in range(start, stop):
        hits[r] = first_largest(y[r]) == labels[r]


@kernel
def categorical_accuracy(y, target, hits, start, stop):
    for r in range(start, stop):
        hits[r] = first_largest(y[r]) == first_largest(target[r])


@kernel
def binary_accuracy(y, target, hits, threshold, start, stop):
    real = y.dtype.type
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        count = 0
        for j in range(len(row)):
            count += (real(1) if row[j] > threshold else real(0)) == wanted[j]
        hits[r] = real(count) / real(len(row))


@kernel
def record(values, ring, column, start, stop, local):
    ring[local[POSITION], column] += sum_as(values, 0.0)


@kernel
def penalty(weight, ring, column, l1, l2, start, stop, local):
    flat = rows(weight, 0, len(weight))
    sizes, squares = 0.0, 0.0
    for i in range(len(flat)):
        w = float(flat[i])
        sizes += abs(w)
        squares += w * w
    ring[local[POSITION], column] += l1 * sizes + l2 * squares
