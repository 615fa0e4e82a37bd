"""Activations beside their derivatives, and dropout. All work in place: LLVM will not vectorize what may overlap."""

import math

from numba import carray, uint32

from fastnn.kernels.contract import ELU, GELU, ITERATION, LEAKY_RELU, RELU, SIGMOID, SILU, SOFTPLUS, STEP, TANH
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.random import philox
from fastnn.kernels.numba_.views import STACKED, rows, rows_in_place, stack
from fastnn.kernels.numba_.vmath import erf, exp, expm1, log1p, sigmoid, tanh

ROOT_HALF, DENSITY = math.sqrt(0.5), math.sqrt(0.5 / math.pi)


@kernel
def activation(z, y, kind, alpha, start, stop):
    real = z.dtype.type
    zero, one, half = real(0), real(1), real(0.5)
    y = rows_in_place(z, y, start, stop)
    if kind == STEP:
        for i in range(len(y)):
            y[i] = one if y[i] >= zero else zero
    elif kind == SIGMOID:
        for i in range(len(y)):
            y[i] = sigmoid(y[i])
    elif kind == TANH:
        for i in range(len(y)):
            y[i] = tanh(y[i])
    elif kind == RELU:
        for i in range(len(y)):
            y[i] = zero if y[i] < zero else y[i]  # so NaN stays
    elif kind == LEAKY_RELU:
        for i in range(len(y)):
            y[i] = y[i] if y[i] > zero else alpha * y[i]
    elif kind == ELU:
        for i in range(len(y)):
            y[i] = y[i] if y[i] > zero else alpha * expm1(y[i])
    elif kind == GELU:
        root = real(ROOT_HALF)
        for i in range(len(y)):
            y[i] = half * y[i] * (one + erf(y[i] * root))
    elif kind == SILU:
        for i in range(len(y)):
            y[i] = y[i] * sigmoid(y[i])
    elif kind == SOFTPLUS:
        for i in range(len(y)):
            y[i] = max(y[i], zero) + log1p(exp(-abs(y[i])))


@kernel
def activation_gradient(z, y, dy, dz, kind, alpha, start, stop):
    real = z.dtype.type
    zero, one, half = real(0), real(1), real(0.5)
    dz = rows_in_place(dy, dz, start, stop)
    z, y = rows(z, start, stop), rows(y, start, stop)
    if kind == STEP:
        dz[:] = zero
    elif kind == SIGMOID:
        for i in range(len(dz)):
            dz[i] *= y[i] * (one - y[i])
    elif kind == TANH:
        for i in range(len(dz)):
            dz[i] *= one - y[i] * y[i]
    elif kind == RELU:
        for i in range(len(dz)):
            dz[i] = dz[i] if y[i] > zero else zero * dz[i]
    elif kind == LEAKY_RELU:
        for i in range(len(dz)):
            dz[i] *= one if y[i] > zero else alpha
    elif kind == ELU:
        for i in range(len(dz)):
            dz[i] *= one if y[i] > zero else y[i] + alpha
    elif kind == GELU:
        root, norm = real(ROOT_HALF), real(DENSITY)
        for i in range(len(dz)):
            u = z[i]
            dz[i] *= half * (one + erf(u * root)) + u * norm * exp(-half * u * u)
    elif kind == SILU:
        for i in range(len(dz)):
            s = sigmoid(z[i])
            dz[i] *= s * (one + z[i] * (one - s))
    elif kind == SOFTPLUS:
        for i in range(len(dz)):
            dz[i] *= -expm1(-y[i])


@kernel
def softmax_gradient(y, dy, dz, start, stop):
    for r in range(start, stop):
        probabilities, upstream, row = y[r], dy[r], dz[r]
        inner = y.dtype.type(0)
        for j in range(len(row)):
            inner += probabilities[j] * upstream[j]
        for j in range(len(row)):
            row[j] = probabilities[j] * (upstream[j] - inner)


@kernel
def dropout(x, y, seed, stream, threshold, scale, start, stop, local):
    width = x.shape[1]
    x, y = rows(x, 0, len(x)), rows(y, 0, len(y))
    start, stop = start * width, stop * width
    words, zero = carray(stack(uint32(0)), 4 * STACKED), x.dtype.type(0)
    for first in range(start // 4, (stop + 3) // 4, STACKED):
        philox(seed, first, local[ITERATION], stream, words)
        begin, end = max(start, 4 * first), min(stop, 4 * (first + STACKED))
        source, target, some = x[begin:end], y[begin:end], words[begin - 4 * first :]
        for i in range(len(target)):
            target[i] = source[i] * (scale if some[i] >= threshold else zero)
