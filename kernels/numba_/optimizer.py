"""Optimizer updates, element by element. The gradient may lie in scratch space: it is read once and not written."""

from fastnn.kernels.contract import POSITION
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.views import rows
from fastnn.kernels.numba_.vmath import fma, sign, sqrt


@kernel
def regularize(weight, dweight, l1, l2, start, stop):
    w, g = rows(weight, start, stop), rows(dweight, start, stop)
    twice = l2 + l2
    for i in range(len(w)):
        g[i] = fma(twice, w[i], g[i]) + l1 * sign(w[i])


@kernel
def sgd_update(table, weight, dweight, velocity, momentum, nesterov, start, stop, local):
    rate = weight.dtype.type(table[local[POSITION], 0])
    w, g = rows(weight, start, stop), rows(dweight, start, stop)
    if not len(velocity):
        for i in range(len(w)):
            w[i] -= rate * g[i]
        return
    v = rows(velocity, start, stop)
    if nesterov:
        for i in range(len(w)):
            step = rate * g[i]
            v[i] = momentum * v[i] - step
            w[i] += momentum * v[i] - step
    else:
        for i in range(len(w)):
            v[i] = momentum * v[i] - rate * g[i]
            w[i] += v[i]


@kernel
def adagrad_update(table, weight, dweight, accumulator, epsilon, start, stop, local):
    rate = weight.dtype.type(table[local[POSITION], 0])
    w, g, a = rows(weight, start, stop), rows(dweight, start, stop), rows(accumulator, start, stop)
    for i in range(len(w)):
        a[i] = fma(g[i], g[i], a[i])
        w[i] -= rate * g[i] / (sqrt(a[i]) + epsilon)


@kernel
def rmsprop_update(table, weight, dweight, mean_square, velocity, rho, momentum, epsilon, start, stop, local):
    real = weight.dtype.type
    rate, rest, rho = real(table[local[POSITION], 0]), real(1 - rho), real(rho)
    w, g, s = rows(weight, start, stop), rows(dweight, start, stop), rows(mean_square, start, stop)
    if not len(velocity):
        for i in range(len(w)):
            s[i] = fma(rho, s[i], rest * g[i] * g[i])
            w[i] -= rate * (g[i] / (sqrt(s[i]) + epsilon))
        return
    v = rows(velocity, start, stop)
    for i in range(len(w)):
        s[i] = fma(rho, s[i], rest * g[i] * g[i])
        v[i] = fma(momentum, v[i], g[i] / (sqrt(s[i]) + epsilon))
        w[i] -= rate * v[i]


@kernel
def adam_update(table, weight, dweight, m, v, beta_1, beta_2, epsilon, weight_decay, start, stop, local):
    real = weight.dtype.type
    rate, c_1, c_2 = table[local[POSITION], 0], table[local[POSITION], 1], real(table[local[POSITION], 2])
    keep, rate = real(1) - real(rate) * weight_decay, real(rate * c_1)
    beta_1, beta_2 = real(beta_1), real(beta_2)
    w, g, m, v = rows(weight, start, stop), rows(dweight, start, stop), rows(m, start, stop), rows(v, start, stop)
    for i in range(len(w)):
        m[i] = fma(beta_1, m[i], g[i])
        v[i] = fma(beta_2, v[i], g[i] * g[i])
        w[i] = keep * w[i] - rate * m[i] / (sqrt(v[i] * c_2) + epsilon)
