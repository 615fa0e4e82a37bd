"""Activations beside their derivatives, and dropout."""

import numpy as np

from fastnn.kernels.contract import ELEMENTWISE, ITERATION
from fastnn.kernels.numpy_.random import words_of_step
from fastnn.kernels.numpy_.rows import SHORT, ones, row_sum
from fastnn.kernels.numpy_.special import erf


def sigmoid(z, y):
    """y = 1 / (1 + exp(-z)), from exp(-|z|) so that nothing overflows."""
    small = np.exp(-np.abs(z))
    np.divide(np.where(z >= 0, 1, small), 1 + small, out=y)


def activation(z, y, kind, alpha):
    """y = f(z), element by element; f is ELEMENTWISE[kind]; y may be z."""
    name = ELEMENTWISE[kind]
    if name == "linear":
        np.copyto(y, z)
    elif name == "step":
        np.greater_equal(z, 0, out=y, casting="unsafe")
    elif name == "sigmoid":
        sigmoid(z, y)
    elif name == "tanh":
        np.tanh(z, out=y)
    elif name == "relu":
        z.clip(0, np.inf, out=y)  # three times as fast as np.maximum
    elif name == "leaky_relu":
        np.copyto(y, np.where(z > 0, z, alpha * z))
    elif name == "elu":
        np.copyto(y, np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))))
    elif name == "gelu":  # exact: z times the normal distribution function
        np.multiply(0.5 * z, 1 + erf(z * np.sqrt(0.5).astype(z.dtype)), out=y)
    elif name == "silu":
        s = np.empty_like(z)
        sigmoid(z, s)
        np.multiply(z, s, out=y)
    elif name == "softplus":
        np.copyto(y, np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))


def activation_gradient(z, y, dy, dz, kind, alpha):
    """dz = f'(z) dy, from y where f' follows from it; dz may be dy."""
    name = ELEMENTWISE[kind]
    if name == "linear":
        np.copyto(dz, dy)
    elif name == "step":
        dz.fill(0)
    elif name == "sigmoid":
        np.multiply(dy, y * (1 - y), out=dz)
    elif name == "tanh":
        np.multiply(dy, 1 - y * y, out=dz)
    elif name == "relu":
        np.multiply(dy, y.astype(bool), out=dz)
    elif name == "leaky_relu":
        np.multiply(dy, np.where(y > 0, 1, alpha).astype(y.dtype), out=dz)
    elif name == "elu":
        np.multiply(dy, np.where(y > 0, 1, y + alpha), out=dz)
    elif name == "gelu":  # d/dz z Phi(z) = Phi(z) + z phi(z)
        density = np.exp(-0.5 * z * z) * np.sqrt(0.5 / np.pi).astype(z.dtype)
        np.multiply(dy, 0.5 * (1 + erf(z * np.sqrt(0.5).astype(z.dtype))) + z * density, out=dz)
    elif name == "silu":
        s = np.empty_like(z)
        sigmoid(z, s)
        np.multiply(dy, s * (1 + z * (1 - s)), out=dz)
    elif name == "softplus":  # sigmoid(z) = 1 - exp(-y)
        np.multiply(dy, -np.expm1(-y), out=dz)


def softmax(z, y):
    """y[n,f] = exp(z[n,f] - top[n]) / total[n]; returns top[n] = max_f z[n,f] and total[n] = sum_f exp(z - top)."""
    short = len(z) > SHORT * z.shape[1]
    columns = z.T.copy() if short else z.T
    top = np.maximum.reduce(columns)
    columns = np.subtract(columns, top, out=columns if short else y.T)
    np.exp(columns, out=columns)
    total = ones(len(columns), y.dtype).dot(columns)
    np.divide(columns, total, out=y.T)
    return top, total


def softmax_gradient(y, dy, dz):
    """dz = y (dy - sum_f y dy), the product with the Jacobian diag(y) - y y^T."""
    np.multiply(y, dy - row_sum(y * dy)[:, None], out=dz)


def dropout(x, clock, y, seed, stream, threshold, scale):
    """y = scale x where the element's random word is at least `threshold`, else 0; the same mask in backward.

    Element i of the batch takes word i of (seed, step = clock[ITERATION], stream). With rate p, threshold = p 2^32
    and scale = 1 / (1 - p).
    """
    words = words_of_step(seed, x.size, int(clock[ITERATION]), stream).reshape(x.shape)
    np.multiply(x, words >= np.uint32(threshold), out=y)
    y *= scale
