"""Optimizer updates. The gradient is scratch space for them: it is undefined afterwards.

Row `position` of the table holds the step's learning rate, then the corrections the optimizer computed for it.
Epsilon stands outside the root, as in the papers and in PyTorch.
"""

import numpy as np

from fastnn.kernels.contract import POSITION
from fastnn.kernels.numpy_.rows import number


def regularize(weight, dweight, l1, l2):
    """dweight += l1 sign(weight) + 2 l2 weight."""
    if l1:
        dweight += l1 * np.sign(weight)
    if l2:
        dweight += (2 * l2) * weight


def sgd_update(table, clock, weight, dweight, velocity, momentum, nesterov):
    """weight -= rate dweight; with a velocity: v = momentum v - rate dweight, and weight += v, or
    weight += momentum v - rate dweight after Nesterov (Keras' and Sutskever's form)."""
    (rate,) = table[clock[POSITION]].tolist()
    dweight *= rate
    if velocity is None:
        weight -= dweight
        return
    velocity *= momentum
    velocity -= dweight
    if nesterov:
        weight -= dweight
        np.multiply(velocity, momentum, out=dweight)
        weight += dweight
    else:
        weight += velocity


def adagrad_update(table, clock, weight, dweight, accumulator, epsilon):
    """a += dweight^2, weight -= rate dweight / (sqrt(a) + epsilon)."""
    (rate,) = table[clock[POSITION]].tolist()
    accumulator += dweight * dweight
    dweight *= rate
    dweight /= np.sqrt(accumulator) + epsilon
    weight -= dweight


def rmsprop_update(table, clock, weight, dweight, mean_square, velocity, rho, momentum, epsilon):
    """s = rho s + (1 - rho) dweight^2, step = dweight / (sqrt(s) + epsilon), weight -= rate step;
    with a velocity: v = momentum v + step, weight -= rate v."""
    (rate,) = table[clock[POSITION]].tolist()
    mean_square *= rho
    mean_square += (1 - rho) * dweight * dweight
    dweight /= np.sqrt(mean_square) + epsilon
    if velocity is not None:
        velocity *= momentum
        velocity += dweight
        np.copyto(dweight, velocity)
    dweight *= rate
    weight -= dweight


def adam_update(table, clock, weight, dweight, m, v, beta_1, beta_2, epsilon, weight_decay):
    """m = beta_1 m + g, v = beta_2 v + g^2, g = dweight,
    weight -= rate (m c_1) / (sqrt(v c_2) + epsilon) + rate weight_decay weight, with
    c_i = 1 / (1 + beta_i + ... + beta_i^(t-1)): so m c_1 and v c_2 are the weighted means of g and g^2."""
    rate, c_1, c_2 = table[clock[POSITION]].tolist()
    if weight_decay:
        weight *= 1 - rate * weight_decay
    m *= number(beta_1, m.dtype)
    m += dweight
    dweight *= dweight
    v *= number(beta_2, v.dtype)
    v += dweight
    root = c_2**0.5  # goes into the scalars: that is one pass less
    np.sqrt(v, out=dweight)
    dweight += epsilon / root
    np.divide(m, dweight, out=dweight)
    dweight *= rate * c_1 / root
    weight -= dweight
