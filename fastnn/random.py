"""Every random number of the library, as a function of (seed, stream, step): the same bits on every machine.

There is no hidden state. A number depends on the model's seed, on who draws it (the stream) and on when (the
step or epoch), so a run that was killed and resumed draws what it would have drawn. Everything is computed
from 32-bit words with + - * / and square root in float64, which IEEE 754 rounds in one way only; `log` and
`cos` differ in the last bit between libraries, so normals come from an inverse CDF, not from Box and Muller.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from fastnn.capture import Launch
from fastnn.errors import positive_int
from fastnn.kernels.contract import ITERATION, KERNELS
from fastnn.kernels.numpy_ import random as reference

STREAMS_PER_LAYER = 64
"""Streams per layer. The first STREAMS_PER_LAYER streams are the library's own, the next are layer 0's, and so on."""

SHUFFLE_STREAM = 0
"""The order of the rows; its step is the epoch."""

TRUNCATED_STDDEV = 0.87962566103423978
"""Standard deviation of a standard normal cut off at -2 and 2."""


def stream_of(layer_index: int, slot: int) -> int:
    """Return the stream of one use of random numbers (a weight, a dropout mask) in one layer.

    (layer_index + 1) * STREAMS_PER_LAYER + slot: no two pairs collide, and none is a stream of the library's own.
    Raises TypeError, ValueError unless 0 <= slot < STREAMS_PER_LAYER and 0 <= layer_index < 2**26 - 1, to fit 32 bits.
    """
    layer = _int_below("layer_index", layer_index, (1 << 26) - 1)
    return (layer + 1) * STREAMS_PER_LAYER + _int_below("slot", slot, STREAMS_PER_LAYER)


def fresh_seed() -> int:
    """Return 63 random bits from the operating system: used when no seed is given."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def check_seed(seed: Any) -> int:
    """Return `seed` as an int in [0, 2**63). Raises TypeError, ValueError."""
    return _int_below("seed", seed, 1 << 63)


def check_shape(shape: Any) -> tuple[int, ...]:
    """Return `shape`, an int or a sequence of ints from 0, as a tuple. Raises TypeError, ValueError."""
    dims = (shape,) if np.ndim(shape) == 0 else shape
    return tuple(positive_int(f"shape[{axis}]", dim, minimum=0) for axis, dim in enumerate(dims))


def uniform(seed: int, shape: int | tuple[int, ...], stream: int, step: int = 0) -> np.ndarray:
    """Return float64 numbers from [0, 1): (word >> 8) * 2**-24, which float32 holds exactly too."""
    return (_words(seed, shape, stream, step) >> 8) * 2.0**-24


def normal(seed: int, shape: int | tuple[int, ...], stream: int, step: int = 0) -> np.ndarray:
    """Return float64 standard normals: the quantile of (word + 0.5) * 2**-32. None is beyond 6.34."""
    return _normal_quantile(_open_uniform(seed, shape, stream, step))


def truncated_normal(seed: int, shape: int | tuple[int, ...], stream: int, step: int = 0) -> np.ndarray:
    """Return float64 standard normals under the condition that they lie in (-2, 2).

    The quantile of a uniform number from (CDF(-2), CDF(2)): one word per number, where drawing again until
    one fits would make the words used depend on their values. The standard deviation is TRUNCATED_STDDEV.
    """
    below = 0.022750131948179207  # the normal CDF at -2
    return _normal_quantile(below + (1.0 - 2.0 * below) * _open_uniform(seed, shape, stream, step))


class Shuffle:
    """The order of n rows in any epoch, by the kernels of a backend; the memory is the same for all epochs.

    Each row draws a word of (seed, step = epoch, SHUFFLE_STREAM), and the rows are sorted by their words; two rows with
    equal words stay in order: a bias of 2**-33. Raises TypeError, ValueError.
    """

    def __init__(self, seed: int, n: int, backend: Any) -> None:
        self.n, self._backend = _int_below("n", n, 1 << 31), backend
        self._clock, self._order = np.zeros(3, np.int64), np.empty(n, np.int64)
        words, work = np.empty(n, np.int64), np.empty(n + 2048, np.int64)
        draw = [self._clock, words, check_seed(seed), SHUFFLE_STREAM]
        self._launches = [
            Launch(KERNELS["random_bits"], draw, np.dtype(np.float64)),
            Launch(KERNELS["order_of"], [words, self._order, work], np.dtype(np.float64)),
        ]

    def __call__(self, epoch: int) -> np.ndarray:
        """The order in one epoch, shape (n,), int64; valid until the next call."""
        self._clock[ITERATION] = _int_below("epoch", epoch, 1 << 32)
        for launch in self._launches:
            self._backend.launch(launch)
        return self._order


def permutation(seed: int, n: int, epoch: int) -> np.ndarray:
    """Return the order of n rows in one epoch, as the reference draws it. Raises TypeError, ValueError."""
    from fastnn import backends

    return Shuffle(seed, n, backends.get("numpy"))(epoch)


def _int_below(argument: str, value: Any, limit: int) -> int:
    number = positive_int(argument, value, minimum=0)
    if number >= limit:
        raise ValueError(f"{argument} must be below {limit}, got {value!r}")
    return number


def _words(seed: int, shape: Any, stream: int, step: int) -> np.ndarray:
    seed, shape = check_seed(seed), check_shape(shape)
    stream, step = _int_below("stream", stream, 1 << 32), _int_below("step", step, 1 << 32)
    return reference.philox_words(seed, math.prod(shape), step, stream).reshape(shape)


def _open_uniform(seed: int, shape: Any, stream: int, step: int) -> np.ndarray:
    """Numbers from (0, 1), at least 2**-33 away from both ends: exact in float64, as is 1 minus them."""
    return (_words(seed, shape, stream, step) + 0.5) * 2.0**-32


# Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics 37 (1988),
# PPND16: numerator and denominator, highest power first. The paper's third pair is for p < exp(-25); our p is
# at least 2**-33.
_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.4178072517745061177e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.7694972214606914055e0, 4.6303378461565452959e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.4810397642748007459e-1,
     6.8976733498510000455e-1, 1.6763848301838038494e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
_LOG_SERIES = tuple(1.0 / (2 * k + 1) for k in range(11, -1, -1))


def _normal_quantile(p: np.ndarray) -> np.ndarray:
    """The z with CDF(z) = p, for p from 2**-33 to 1 - 2**-33: relative error about 1e-15."""
    q = p - 0.5
    central = np.abs(q) <= 0.425
    z = np.empty_like(p)
    r = 0.180625 - q[central] * q[central]
    z[central] = q[central] * _polynomial(_CENTRE[0], r) / _polynomial(_CENTRE[1], r)
    tail = ~central
    r = np.sqrt(-_log(np.minimum(p, 1.0 - p)[tail])) - 1.6
    z[tail] = np.copysign(_polynomial(_TAIL[0], r) / _polynomial(_TAIL[1], r), q[tail])
    return z


def _log(x: np.ndarray) -> np.ndarray:
    """ln x = exponent * ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), with m in [sqrt(1/2), sqrt(2)).

    |s| < 0.172, so the first twelve terms s**(2k + 1) / (2k + 1) leave out less than 2**-60.
    """
    m, exponent = np.frexp(x)
    low = m < 0.7071067811865476
    m = np.where(low, 2.0 * m, m)
    s = (m - 1.0) / (m + 1.0)
    return (exponent - low) * 0.6931471805599453 + 2.0 * s * _polynomial(_LOG_SERIES, s * s)


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """Horner's rule. One NumPy call per rounding, so nothing is contracted into a fused multiply-add."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total
