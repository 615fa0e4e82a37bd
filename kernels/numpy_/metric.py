"""Metrics: one value per row; and the record of a step's sums that the host reads after a run of steps."""

import numpy as np

from fastnn.kernels.contract import POSITION
from fastnn.kernels.numpy_.rows import ones


def sparse_accuracy(y, labels, hits):
    """hits = 1 where the first largest y is at the label, else 0."""
    np.equal(y.argmax(axis=1), labels, out=hits, casting="unsafe")


def categorical_accuracy(y, target, hits):
    """hits = 1 where y and target have their first largest element at the same place, else 0."""
    np.equal(y.argmax(axis=1), target.argmax(axis=1), out=hits, casting="unsafe")


def binary_accuracy(y, target, hits, threshold):
    """hits = share of the row's elements with (y > threshold) equal to target."""
    np.mean((y > threshold) == target, axis=1, out=hits)


def record(values, clock, ring, column):
    """ring[position, column] += sum_n values[n], in float64."""
    ring[clock[POSITION], column] += values.dot(ones(len(values), np.float64))


def penalty(weight, clock, ring, column, l1, l2):
    """ring[position, column] += l1 sum |weight| + l2 sum weight^2, in float64."""
    w = weight.astype(np.float64)
    ring[clock[POSITION], column] += l1 * np.abs(w).sum() + l2 * (w * w).sum()
