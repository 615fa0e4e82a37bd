"""Losses beside their gradients, a row at a time: one value per row, and the gradient scaled by `scale`."""

from numba import carray, njit

from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.vector import normalize, shift, sum_of
from fastnn.kernels.numba_.vmath import exp, log, log1p, sigmoid
from fastnn.kernels.numba_.words import STACKED, rows, sign, stack

inlined = njit(error_model="numpy", forceinline=True)


@inlined
def exponentiate(y, start, stop):
    """y = exp(y), over all rows as vectors."""
    flat = rows(y, start, stop)
    for i in range(len(flat)):
        flat[i] = exp(flat[i])


@inlined
def normalize_and_log(y, loss, start, stop):
    """Divide each row of y by its sum, and loss = log(sum) - loss."""
    totals = carray(stack(y.dtype.type(0)), STACKED)
    for first in range(start, stop, STACKED):
        last = min(first + STACKED, stop)
        for r in range(first, last):
            totals[r - first] = normalize(y[r])
        part = loss[first:last]
        for i in range(len(part)):
            part[i] = log(totals[i]) - part[i]


@kernel
def softmax(z, y, start, stop):
    for r in range(start, stop):
        shift(z[r], y[r])
    exponentiate(y, start, stop)
    for r in range(start, stop):
        normalize(y[r])


@kernel
def softmax_crossentropy_sparse(z, labels, y, loss, dz, scale, start, stop):
    for r in range(start, stop):
        loss[r] = z[r, labels[r]] - shift(z[r], y[r])
    exponentiate(y, start, stop)
    normalize_and_log(y, loss, start, stop)
    if len(dz):
        probabilities, gradient = rows(y, start, stop), rows(dz, start, stop)
        for i in range(len(gradient)):
            gradient[i] = probabilities[i] * scale
        for r in range(start, stop):
            dz[r, labels[r]] -= scale


@kernel
def softmax_crossentropy(z, target, y, loss, dz, scale, start, stop):
    zero = z.dtype.type(0)
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        shift(z[r], row)
        loss[r] = zero
        for j in range(len(row)):
            loss[r] += wanted[j] * row[j]
    exponentiate(y, start, stop)
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        mass = sum_of(wanted)
        loss[r] = mass * log(normalize(row)) - loss[r]
        if len(dz):
            gradient = dz[r]
            for j in range(len(row)):
                gradient[j] = (row[j] * mass - wanted[j]) * scale


@kernel
def sigmoid_crossentropy(z, target, y, loss, dz, scale, start, stop):
    zero = z.dtype.type(0)
    width = z.dtype.type(z.shape[1])
    logits, wanted, flat = rows(z, start, stop), rows(target, start, stop), rows(y, start, stop)
    for i in range(len(flat)):
        flat[i] = max(logits[i], zero) - logits[i] * wanted[i] + log1p(exp(-abs(logits[i])))
    for r in range(start, stop):
        loss[r] = sum_of(y[r]) / width
    for i in range(len(flat)):
        flat[i] = sigmoid(logits[i])
    if len(dz):
        gradient = rows(dz, start, stop)
        for i in range(len(flat)):
            gradient[i] = (flat[i] - wanted[i]) * (scale / width)


@kernel
def sparse_crossentropy(y, labels, loss, dy, scale, start, stop):
    real = y.dtype.type
    low, high = real(1e-7), real(1) - real(1e-7)
    for r in range(start, stop):
        chosen = y[r, labels[r]]
        p = min(max(chosen, low), high)
        loss[r] = -log(p) if chosen == chosen else chosen
        if len(dy):
            dy[r, :] = real(0)
            if low < chosen < high:
                dy[r, labels[r]] = -scale / p


@kernel
def categorical_crossentropy(y, target, loss, dy, scale, start, stop):
    real = y.dtype.type
    low, high = real(1e-7), real(1) - real(1e-7)
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        total = real(0)
        for j in range(len(row)):
            total -= wanted[j] * (log(min(max(row[j], low), high)) if row[j] == row[j] else row[j])
        loss[r] = total
        if len(dy):
            gradient = dy[r]
            for j in range(len(row)):
                gradient[j] = -scale * wanted[j] / row[j] if low < row[j] < high else real(0)


@kernel
def binary_crossentropy(y, target, loss, dy, scale, start, stop):
    real = y.dtype.type
    zero, one = real(0), real(1)
    low, high = real(1e-7), one - real(1e-7)
    width = real(y.shape[1])
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        total = zero
        for j in range(len(row)):
            p = min(max(row[j], low), high) if row[j] == row[j] else row[j]
            total -= wanted[j] * log(p) + (one - wanted[j]) * log(one - p)
        loss[r] = total / width
        if len(dy):
            gradient = dy[r]
            for j in range(len(row)):
                p = row[j]
                gradient[j] = (p - wanted[j]) / (p * (one - p)) * (scale / width) if low < p < high else zero


@kernel
def squared_error(y, target, loss, dy, scale, start, stop):
    real = y.dtype.type
    width = real(y.shape[1])
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        total = real(0)
        for j in range(len(row)):
            error = row[j] - wanted[j]
            total += error * error
        loss[r] = total / width
        if len(dy):
            gradient = dy[r]
            for j in range(len(row)):
                gradient[j] = (row[j] - wanted[j]) * (real(2) * scale / width)


@kernel
def absolute_error(y, target, loss, dy, scale, start, stop):
    real = y.dtype.type
    width = real(y.shape[1])
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        total = real(0)
        for j in range(len(row)):
            total += abs(row[j] - wanted[j])
        loss[r] = total / width
        if len(dy):
            gradient = dy[r]
            for j in range(len(row)):
                error = row[j] - wanted[j]
                gradient[j] = sign(error) * (scale / width)


@kernel
def huber(y, target, loss, dy, scale, delta, start, stop):
    real = y.dtype.type
    half = real(0.5)
    width = real(y.shape[1])
    for r in range(start, stop):
        row, wanted = y[r], target[r]
        total = real(0)
        for j in range(len(row)):
            error = row[j] - wanted[j]
            size = abs(error)
            total += half * error * error if size <= delta else delta * size - half * delta * delta
        loss[r] = total / width
        if len(dy):
            gradient = dy[r]
            for j in range(len(row)):
                gradient[j] = min(max(row[j] - wanted[j], -delta), delta) * (scale / width)
