"""The error function, which NumPy lacks and the exact GELU needs."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.coefficients import ERF_FLOAT32, ERF_FLOAT64, ERF_LIMIT, ERF_SPLIT


def erf(x: np.ndarray) -> np.ndarray:
    """Return erf(x) = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x, elementwise; odd, nan for nan.

    x is float32 or float64 of any shape. Relative error below 1e-15 in float64 and within 4 units in the last place in
    float32. Raises TypeError for another dtype.
    Source: W. J. Cody, Math. Comp. 23 (1969), 631-637.
    """
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"x must be float32 or float64, got {x.dtype}")
    c = ERF_FLOAT64 if x.dtype == np.float64 else ERF_FLOAT32
    a = np.minimum(np.abs(x), ERF_LIMIT)
    square = a * a
    near = a * _polynomial(c.near_top, square) / _polynomial(c.near_bottom, square)
    far = 1 - np.exp(-square) * _polynomial(c.far_top, a) / _polynomial(c.far_bottom, a)
    return np.copysign(np.where(a < ERF_SPLIT, near, far), x)


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """Return sum(coefficients[k] * x**k) by Horner's rule, in the dtype of x."""
    y = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        y *= x
        y += coefficient
    return y
