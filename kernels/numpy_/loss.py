"""Losses beside their gradients: one value per row, and the gradient scaled by `scale` (1 / rows for a mean).

`dy` or `dz` may be None where only the value is wanted.
"""

import numpy as np

from fastnn.kernels.coefficients import EPSILON
from fastnn.kernels.numpy_.activation import sigmoid, softmax
from fastnn.kernels.numpy_.rows import number, places, row_sum


def smooth(target, out, keep, rest):
    """out = target keep + rest: targets that are less sure, for a loss with label smoothing."""
    np.multiply(target, number(keep, target.dtype), out=out)
    out += number(rest, target.dtype)


def softmax_crossentropy_sparse(z, labels, y, loss, dz, scale):
    """loss = logsumexp(z) - z[label], y = softmax(z), dz = (y - onehot(label)) scale; finite for any finite z."""
    chosen = places(*z.shape) + labels  # in flat arrays: quicker than pairs [row, label]
    top, total = softmax(z, y)
    at_label = z.take(chosen, mode="clip")
    at_label -= top
    np.subtract(np.log(total), at_label, out=loss)
    if dz is not None:
        scale = number(scale, z.dtype)
        np.multiply(y, scale, out=dz)
        np.subtract.at(dz.reshape(-1), chosen, scale)


def softmax_crossentropy(z, target, y, loss, dz, scale):
    """loss = -sum_f target log softmax(z), y = softmax(z), dz = (y sum(target) - target) scale."""
    top, total = softmax(z, y)
    weight = row_sum(target)
    chosen = row_sum(target * (z - top[:, None]))
    np.subtract(weight * np.log(total), chosen, out=loss)
    if dz is not None:
        np.multiply(y * weight[:, None] - target, scale, out=dz)


def sigmoid_crossentropy(z, target, y, loss, dz, scale):
    """loss = mean_f [max(z,0) - z target + log(1 + exp(-|z|))], y = sigmoid(z), dz = (y - target) scale / F."""
    np.mean(np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z))), axis=1, out=loss)
    sigmoid(z, y)
    if dz is not None:
        np.multiply(y - target, scale / z.shape[1], out=dz)


def _clipped(y):
    return np.clip(y, EPSILON, 1 - EPSILON)


def _inside(y):
    return (y > EPSILON) & (y < 1 - EPSILON)


def sparse_crossentropy(y, labels, loss, dy, scale):
    """loss = -log p[label], with p = y clipped to [1e-7, 1 - 1e-7]; dy = -scale / p[label] there, 0 where clipped."""
    rows = np.arange(len(y))
    chosen = y[rows, labels]
    np.negative(np.log(_clipped(chosen)), out=loss)
    if dy is not None:
        dy.fill(0)
        dy[rows, labels] = -scale * _inside(chosen) / _clipped(chosen)


def categorical_crossentropy(y, target, loss, dy, scale):
    """loss = -sum_f target log p, with p = y clipped to [1e-7, 1 - 1e-7]; dy = -target scale / p, 0 where clipped."""
    p = _clipped(y)
    np.negative((target * np.log(p)).sum(axis=1), out=loss)
    if dy is not None:
        np.multiply(-scale * target / p, _inside(y), out=dy)


def binary_crossentropy(y, target, loss, dy, scale):
    """loss = -mean_f [target log p + (1 - target) log(1 - p)]; dy = (p - target) / (p (1 - p)) scale / F."""
    p = _clipped(y)
    np.negative(np.mean(target * np.log(p) + (1 - target) * np.log(1 - p), axis=1), out=loss)
    if dy is not None:
        np.multiply((p - target) / (p * (1 - p)) * (scale / y.shape[1]), _inside(y), out=dy)


def squared_error(y, target, loss, dy, scale):
    """loss = mean_f (y - target)^2, dy = 2 (y - target) scale / F."""
    error = y - target
    np.mean(error * error, axis=1, out=loss)
    if dy is not None:
        np.multiply(error, 2 * scale / y.shape[1], out=dy)


def absolute_error(y, target, loss, dy, scale):
    """loss = mean_f |y - target|, dy = sign(y - target) scale / F."""
    error = y - target
    np.mean(np.abs(error), axis=1, out=loss)
    if dy is not None:
        np.multiply(np.sign(error), scale / y.shape[1], out=dy)


def huber(y, target, loss, dy, scale, delta):
    """loss = mean_f [e^2 / 2 if |e| <= delta else delta |e| - delta^2 / 2], e = y - target;
    dy = clip(e, -delta, delta) scale / F."""
    error = y - target
    size = np.abs(error)
    np.mean(np.where(size <= delta, 0.5 * error * error, delta * size - 0.5 * delta * delta), axis=1, out=loss)
    if dy is not None:
        np.multiply(np.clip(error, -delta, delta), scale / y.shape[1], out=dy)
