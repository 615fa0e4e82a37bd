"""Every kernel of the contract with arguments of a size, beside the plain NumPy expression for the same thing.

Arguments follow from the table: a letter stands for a length, an argument's name for its values. A kernel with a
letter or a scalar that is not known here, or without a plain expression, is named by `reason_against`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastnn.kernels.contract import ELEMENTWISE, KERNELS, POSITION, ROW, TABLE_COLUMNS
from fastnn.memory import aligned

# Lengths by letter: N batch, I in, O out, F features, M data set, P and Q axes of a parameter, S steps, K columns.
SIZES: dict[str, dict[str, int]] = {
    "small": {"N": 32, "I": 30, "O": 16, "F": 16, "M": 512, "P": 30, "Q": 16, "S": 256, "K": 3},
    "medium": {"N": 256, "I": 784, "O": 100, "F": 100, "M": 4096, "P": 784, "Q": 100, "S": 256, "K": 3},
}
STREAM, SEED = 3, 7
# With these values and the rates below, an update leaves its gradient as large as it was: one that shrinks from launch
# to launch would end in denormal numbers, which are slow.
SCALARS: dict[str, Any] = {
    "code": 1, "seed": SEED, "step": 0, "stream": STREAM, "kind": ELEMENTWISE.index("sigmoid"), "alpha": 0.2,
    "threshold": 2**31, "scale": 2.0, "delta": 1.0, "column": 1, "l1": 1e-6, "l2": 1e-6, "momentum": 0.9, "nesterov": 0,
    "keep": 0.9, "rest": 0.01, "rho": 0.9, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0.0,
}  # fmt: skip
OF_KERNEL: dict[tuple[str, str], Any] = {("binary_accuracy", "threshold"): 0.5}
ORDER_WORK = 2048  # integers beside the words that `order_of` works in
RANDOM = ("random_bits", "dropout")  # their plain expression draws other numbers

Arguments = dict[str, Any]


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _one_hot(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.eye(like.shape[1], dtype=like.dtype)[labels]


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _gather(a: SimpleNamespace) -> Any:
    return a.data[a.permutation[a.clock[ROW] : a.clock[ROW] + len(a.out)]]


def _scatter(a: SimpleNamespace) -> Any:
    out = a.out
    out[a.clock[ROW] : a.clock[ROW] + len(a.values)] = a.values
    return out


def _softmax_crossentropy(a: SimpleNamespace, target: np.ndarray) -> Any:
    y = _softmax(a.z)
    return y, -(target * np.log(y)).sum(axis=1), (y - target) * a.scale


def _crossentropy(a: SimpleNamespace, target: np.ndarray) -> Any:
    return -(target * np.log(a.y)).sum(axis=1), -target / a.y * a.scale


def _sigmoid_crossentropy(a: SimpleNamespace) -> Any:
    y = _sigmoid(a.z)
    loss = -(a.target * np.log(y) + (1 - a.target) * np.log(1 - y)).mean(axis=1)
    return y, loss, (y - a.target) * a.scale / y.shape[1]


def _binary_crossentropy(a: SimpleNamespace) -> Any:
    loss = -(a.target * np.log(a.y) + (1 - a.target) * np.log(1 - a.y)).mean(axis=1)
    return loss, (a.y - a.target) / (a.y * (1 - a.y)) * a.scale / a.y.shape[1]


def _huber(a: SimpleNamespace) -> Any:
    e = a.y - a.target
    loss = np.where(abs(e) <= a.delta, e**2 / 2, a.delta * abs(e) - a.delta**2 / 2).mean(axis=1)
    return loss, np.clip(e, -a.delta, a.delta) * a.scale / e.shape[1]


def _record(a: SimpleNamespace) -> Any:
    a.ring[a.clock[POSITION], a.column] = a.values.sum()
    return a.ring


def _penalty(a: SimpleNamespace) -> Any:
    a.ring[a.clock[POSITION], a.column] += a.l1 * abs(a.weight).sum() + a.l2 * (a.weight**2).sum()
    return a.ring


def _sgd(a: SimpleNamespace) -> Any:
    velocity = a.momentum * a.velocity - a.table[a.clock[POSITION], 0] * a.dweight
    return a.weight + velocity, None, velocity


def _adagrad(a: SimpleNamespace) -> Any:
    total = a.accumulator + a.dweight**2
    return a.weight - a.table[a.clock[POSITION], 0] * a.dweight / (np.sqrt(total) + a.epsilon), None, total


def _rmsprop(a: SimpleNamespace) -> Any:
    square = a.rho * a.mean_square + (1 - a.rho) * a.dweight**2
    velocity = a.momentum * a.velocity + a.dweight / (np.sqrt(square) + a.epsilon)
    return a.weight - a.table[a.clock[POSITION], 0] * velocity, None, square, velocity


def _adam(a: SimpleNamespace) -> Any:
    rate, c_1, c_2 = a.table[a.clock[POSITION]]
    m = a.beta_1 * a.m + a.dweight
    v = a.beta_2 * a.v + a.dweight**2
    return a.weight - rate * (m * c_1) / (np.sqrt(v * c_2) + a.epsilon), None, m, v


# What a user would write, returning what the kernel writes, in order; None for a gradient that is scratch afterwards.
PLAIN: dict[str, Callable[[SimpleNamespace], Any]] = {
    "gather": _gather,
    "scatter": _scatter,
    "check_finite": lambda a: np.array([0 if np.isfinite(a.values).all() else a.code]),
    "order_of": lambda a: (np.argsort(a.words, kind="stable"), None),
    "random_bits": lambda a: np.random.default_rng(a.seed).integers(0, 2**32, len(a.out)),
    "dense": lambda a: a.x @ a.weight + a.bias,
    "dense_dx": lambda a: a.dz @ a.weight.T,
    "dense_dweight": lambda a: a.x.T @ a.dz,
    "column_sum": lambda a: a.dz.sum(axis=0),
    "activation": lambda a: _sigmoid(a.z),
    "activation_gradient": lambda a: a.dy * a.y * (1 - a.y),
    "softmax": lambda a: _softmax(a.z),
    "softmax_gradient": lambda a: a.y * (a.dy - (a.y * a.dy).sum(axis=1, keepdims=True)),
    "dropout": lambda a: a.x * (np.random.default_rng(a.seed).random(a.x.shape, np.float32) < 0.5) * a.scale,
    "smooth": lambda a: a.target * a.keep + a.rest,
    "softmax_crossentropy_sparse": lambda a: _softmax_crossentropy(a, _one_hot(a.labels, a.z)),
    "softmax_crossentropy": lambda a: _softmax_crossentropy(a, a.target),
    "sigmoid_crossentropy": _sigmoid_crossentropy,
    "sparse_crossentropy": lambda a: _crossentropy(a, _one_hot(a.labels, a.y)),
    "categorical_crossentropy": lambda a: _crossentropy(a, a.target),
    "binary_crossentropy": _binary_crossentropy,
    "squared_error": lambda a: (((a.y - a.target) ** 2).mean(axis=1), 2 * (a.y - a.target) * a.scale / a.y.shape[1]),
    "absolute_error": lambda a: (abs(a.y - a.target).mean(axis=1), np.sign(a.y - a.target) * a.scale / a.y.shape[1]),
    "huber": _huber,
    "sparse_accuracy": lambda a: a.y.argmax(axis=1) == a.labels,
    "categorical_accuracy": lambda a: a.y.argmax(axis=1) == a.target.argmax(axis=1),
    "binary_accuracy": lambda a: ((a.y > a.threshold) == (a.target > a.threshold)).mean(axis=1),
    "record": _record,
    "penalty": _penalty,
    "regularize": lambda a: a.dweight + a.l1 * np.sign(a.weight) + 2 * a.l2 * a.weight,
    "sgd_update": _sgd,
    "adagrad_update": _adagrad,
    "rmsprop_update": _rmsprop,
    "adam_update": _adam,
}


def reason_against(name: str) -> str | None:
    """Why a kernel is not timed, or None."""
    kernel = KERNELS[name]
    letters = {axis for array in kernel.arrays for axis in array.axes if axis.isalpha()} - set(SIZES["small"])
    scalars = {scalar for scalar, _ in kernel.scalars} - set(SCALARS)
    if letters or scalars or name not in PLAIN:
        unknown = ", ".join(sorted(letters | scalars)) or "the plain expression"
        return f"bench/kernel_cases.py does not know {unknown} of the kernel {name}"
    return None


def arguments(name: str, size: Mapping[str, int], dtype: Any = np.float32) -> Arguments:
    """Arrays and scalars for a kernel by name, in the contract's order; the same in every call."""
    kernel, rng = KERNELS[name], np.random.default_rng(5)
    columns = size["N"] + ORDER_WORK if name == "order_of" else TABLE_COLUMNS.get(name, size["K"])
    size = {**size, "K": columns}
    found: Arguments = {}
    for array in kernel.arrays:
        shape = tuple(size[axis] if axis.isalpha() else int(axis) for axis in array.axes)
        element = {"real": dtype, "int": np.int64, "double": np.float64}[array.element]
        found[array.name] = values = aligned(shape, element)
        values[...] = _values(array.name, shape, size, rng)
    return found | {scalar: OF_KERNEL.get((name, scalar), SCALARS[scalar]) for scalar, _ in kernel.scalars}


def _values(name: str, shape: tuple[int, ...], size: Mapping[str, int], rng: np.random.Generator) -> Any:
    if name == "permutation":
        return rng.permutation(shape[0])
    if name == "words":
        return rng.integers(0, 2**32, shape)
    if name == "labels":
        return rng.integers(0, size["F"], shape)
    if name == "target":  # of every kind of crossentropy: one column is 1
        return np.eye(shape[1])[rng.integers(0, shape[1], shape[0])]
    if name == "y":  # a probability away from 0 and 1
        return rng.uniform(0.1, 0.9, shape)
    if name in ("clock", "fault", "ring", "m", "velocity"):
        return 0
    if name == "table":  # rates and corrections near 1, but not alike
        return 1 + 0.01 * np.arange(shape[1])
    if name in ("v", "mean_square", "accumulator"):
        return 1
    if name == "dweight":  # so small that adding its square to 1 changes nothing
        return 1e-4 * rng.standard_normal(shape)
    return rng.standard_normal(shape) / math.sqrt(shape[-1])
