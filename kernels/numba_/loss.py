"""Losses beside their gradients, a row at a time: one value per row, and the gradient scaled by `scale`."""

from numba import carray, uint64

from fastnn.kernels.coefficients import EPSILON
from fastnn.kernels.numba_.lowering import inlined
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.rowwise import normalize, shift, sum_of
from fastnn.kernels.numba_.vector import VECTOR_BYTES
from fastnn.kernels.numba_.views import STACK, STACK_COLUMNS, STACKED, block, rows, stack
from fastnn.kernels.numba_.vmath import HALF, exp, log, log1p, sigmoid, sigmoid_by, sign

WORTH_TURNING = 8  # rows


@inlined
def on_stack(zero):
    """Memory for a block of narrow rows as columns, and for two numbers of each row."""
    columns = carray(stack(zero), (STACK_COLUMNS, STACKED))
    return columns, carray(stack(zero), STACKED), carray(stack(zero), STACKED)


@inlined
def softmax_block(z, y, columns, tops, totals):
    """y = softmax(z) for at most STACKED rows; also each row's maximum, and its sum of exp(z - maximum).

    Many narrow rows are turned into columns, so that the rows lie side by side in vectors, filled up with rows of
    zeros. That changes no bits: short sums go from left to right here and there.
    """
    n, width = z.shape
    real = z.dtype.type
    if width < STACK_COLUMNS and n >= WORTH_TURNING:
        lanes = VECTOR_BYTES // z.itemsize
        padded = (n + lanes - 1) // lanes * lanes
        for j in range(width):
            for i in range(n):
                columns[j, i] = z[i, j]
            for i in range(n, padded):
                columns[j, i] = real(0)
        for i in range(padded):
            tops[i] = columns[0, i]
            totals[i] = real(0)
        for j in range(1, width):
            for i in range(padded):
                tops[i] = columns[j, i] if columns[j, i] > tops[i] else tops[i]
        for j in range(width):
            for i in range(padded):
                columns[j, i] = exp(columns[j, i] - tops[i])
                totals[i] += columns[j, i]
        for j in range(width):
            for i in range(padded):
                columns[j, i] *= real(1) / totals[i]
        for j in range(width):
            for i in range(n):
                y[i, j] = columns[j, i]
    else:
        for i in range(n):
            tops[i] = shift(z[i], y[i])
        flat = rows(y, 0, n)
        for i in range(len(flat)):
            flat[i] = exp(flat[i])
        for i in range(n):
            totals[i] = normalize(y[i])


@kernel
def softmax(z, y, start, stop):
    columns, tops, totals = on_stack(z.dtype.type(0))
    for first in range(start, stop, STACKED):
        last = min(first + STACKED, stop)
        softmax_block(block(z, first, last), block(y, first, last), columns, tops, totals)


@kernel
def softmax_crossentropy_sparse(z, labels, y, loss, dz, scale, start, stop):
    columns, tops, totals = on_stack(z.dtype.type(0))
    for first in range(start, stop, STACKED):
        last = min(first + STACKED, stop)
        logits, wanted, part = block(z, first, last), labels[first:last], loss[first:last]
        softmax_block(logits, block(y, first, last), columns, tops, totals)
        for i in range(len(part)):
            tops[i] = logits[i, uint64(wanted[i])] - tops[i]  # no label is negative
        for i in range(len(part)):
            part[i] = log(totals[i]) - tops[i]
        if len(dz):
            probabilities, gradient = rows(y, first, last), rows(dz, first, last)
            for i in range(len(gradient)):
                gradient[i] = probabilities[i] * scale
            dlogits = block(dz, first, last)
            for i in range(len(part)):
                dlogits[i, uint64(wanted[i])] -= scale


@kernel
def softmax_crossentropy(z, target, y, loss, dz, scale, start, stop):
    columns, tops, totals = on_stack(z.dtype.type(0))
    for first in range(start, stop, STACKED):
        last = min(first + STACKED, stop)
        softmax_block(block(z, first, last), block(y, first, last), columns, tops, totals)
        for i in range(last - first):
            totals[i] = log(totals[i])
        for r in range(first, last):
            logits, row, wanted, top = z[r], y[r], target[r], tops[r - first]
            mass = sum_of(wanted)
            inner = z.dtype.type(0)
            for j in range(len(row)):
                inner += wanted[j] * (logits[j] - top)
            loss[r] = mass * totals[r - first] - inner
            if len(dz):
                gradient = dz[r]
                for j in range(len(row)):
                    gradient[j] = (row[j] * mass - wanted[j]) * scale


@inlined
def logistic_loss(z, target, power):
    """log(1 + e**z) - target z, from e**-|z|."""
    return max(z, type(z)(0)) - z * target + log1p(power)


@kernel
def sigmoid_crossentropy(z, target, y, loss, dz, scale, start, stop):
    width = z.dtype.type(z.shape[1])
    logits, wanted, flat = rows(z, start, stop), rows(target, start, stop), rows(y, start, stop)
    if len(dz):
        gradient = rows(dz, start, stop)
        for i in range(len(flat)):
            power = exp(-abs(logits[i]))
            flat[i] = sigmoid_by(logits[i], power)
            gradient[i] = logistic_loss(logits[i], wanted[i], power)
        for r in range(start, stop):
            loss[r] = sum_of(dz[r]) / width
        for i in range(len(flat)):
            gradient[i] = (flat[i] - wanted[i]) * (scale / width)
    else:
        for i in range(len(flat)):
            flat[i] = logistic_loss(logits[i], wanted[i], exp(-abs(logits[i])))
        for r in range(start, stop):
            loss[r] = sum_of(y[r]) / width
        for i in range(len(flat)):
            flat[i] = sigmoid(logits[i])


@kernel
def smooth(target, out, keep, rest, start, stop):
    given, smoothed = rows(target, start, stop), rows(out, start, stop)
    for i in range(len(smoothed)):
        smoothed[i] = given[i] * keep + rest


@inlined
def clipped(y):
    """A probability, kept away from 0 and 1; NaN stays."""
    low = type(y)(EPSILON)
    return min(max(y, low), type(y)(1) - low) if y == y else y


@inlined
def inside(y):
    """True where clipping changes nothing."""
    low = type(y)(EPSILON)
    return low < y < type(y)(1) - low


@kernel
def sparse_crossentropy(y, labels, loss, dy, scale, start, stop):
    for r in range(start, stop):
        p = y[r, labels[r]]
        loss[r] = -log(clipped(p))
        if len(dy):
            dy[r, :] = y.dtype.type(0)
            if inside(p):
                dy[r, labels[r]] = -scale / p


@kernel
def categorical_crossentropy(y, target, loss, dy, scale, start, stop):
    zero = y.dtype.type(0)
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        total = zero
        for j in range(len(row)):
            total -= wanted[j] * log(clipped(row[j]))
        loss[r] = total
        if len(dy):
            gradient = dy[r]
            for j in range(len(row)):
                gradient[j] = -scale * wanted[j] / row[j] if inside(row[j]) else zero


@kernel
def binary_crossentropy(y, target, loss, dy, scale, start, stop):
    real = y.dtype.type
    zero, one = real(0), real(1)
    width = real(y.shape[1])
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        total = zero
        for j in range(len(row)):
            p = clipped(row[j])
            total -= wanted[j] * log(p) + (one - wanted[j]) * log(one - p)
        loss[r] = total / width
        if len(dy):
            gradient = dy[r]
            for j in range(len(row)):
                p = row[j]
                gradient[j] = (p - wanted[j]) / (p * (one - p)) * (scale / width) if inside(p) else zero


def by_errors(term, slope):
    """A loss that is a row's mean of `term` of the errors y - target; `slope` is the derivative of `term`."""

    @inlined
    def run(y, target, loss, dy, scale, delta, start, stop):
        real, width = y.dtype.type, y.shape[1]
        terms = stack(real(0))
        some = max(STACK // width, 1)
        for first in range(start, stop, some):
            last = min(first + some, stop)
            predicted, wanted = rows(y, first, last), rows(target, first, last)
            if width <= STACK:
                flat, by_rows = carray(terms, (last - first) * width), carray(terms, (last - first, width))
                for i in range(len(flat)):
                    flat[i] = term(predicted[i] - wanted[i], delta)
                for i in range(last - first):
                    loss[first + i] = sum_of(by_rows[i]) / real(width)
            else:
                total = real(0)
                for i in range(width):
                    total += term(predicted[i] - wanted[i], delta)
                loss[first] = total / real(width)
            if len(dy):
                gradient = rows(dy, first, last)
                for i in range(len(gradient)):
                    gradient[i] = slope(predicted[i] - wanted[i], delta) * (scale / real(width))

    return run


squares = by_errors(inlined(lambda e, _: e * e), inlined(lambda e, _: e + e))
sizes = by_errors(inlined(lambda e, _: abs(e)), inlined(lambda e, _: sign(e)))
near_or_far = by_errors(
    inlined(lambda e, delta: HALF(e) * e * e if abs(e) <= delta else delta * abs(e) - HALF(e) * delta * delta),
    inlined(lambda e, delta: min(max(e, -delta), delta)),
)


@kernel
def squared_error(y, target, loss, dy, scale, start, stop):
    squares(y, target, loss, dy, scale, scale, start, stop)


@kernel
def absolute_error(y, target, loss, dy, scale, start, stop):
    sizes(y, target, loss, dy, scale, scale, start, stop)


@kernel
def huber(y, target, loss, dy, scale, delta, start, stop):
    near_or_far(y, target, loss, dy, scale, delta, start, stop)
