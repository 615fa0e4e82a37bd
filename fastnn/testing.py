"""Gradient checks, for the library's own layers and losses and for those that a user writes.

Backward code is written by hand here, so each piece of it is compared with the definition of a derivative:
[L(w + epsilon) - L(w - epsilon)] / (2 epsilon), in float64, for every single number that has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import backends, random
from fastnn.capture import Eager
from fastnn.errors import number_in, positive_int
from fastnn.layers.base import Layer, check_shape
from fastnn.losses import Loss
from fastnn.memory import Shape

FLOAT64: np.dtype[Any] = np.dtype(np.float64)
SMALLEST_SCALE = 1e-3  # where all gradients are smaller, rounding (about 1e-10) is measured against this
INPUT, DIRECTION, TARGET = 1, 2, 3  # streams of random numbers


def check_gradients(
    layer: Layer,
    input_shape: Any,
    *,
    batch: int = 3,
    seed: int = 0,
    training: bool = False,
    backend: str | None = None,
    epsilon: float = 1e-6,
    tolerance: float = 1e-6,
) -> float:
    """Compare a layer's backward with central differences in float64; returns the largest relative error.

    For a batch x of standard normals and a random array r of the output's shape, the loss is the linear functional

        L = sum(r * forward(x)),    so that    dL/dx, dL/dw = backward(r),

    and each element w of x and of every trainable parameter must have |backward - numeric| <= tolerance * scale,
    numeric = [L(w + epsilon) - L(w - epsilon)] / (2 epsilon), scale = the largest |numeric| of the same array
    (or 1e-3, if that is more). Backward runs with and without `needs_dx`; parameter gradients must not depend on it.

    layer: a new layer, which is built here in float64 for samples of `input_shape`, or one that was built so
    before and keeps its weights. batch: rows of x. seed: of x, r and the layer's first weights. training: passed to
    forward, which must give the same numbers when called twice. backend: None for the one in force.

    Returns the largest error relative to that scale. Raises AssertionError that names the parameter or 'x', the
    index and both values, or what has a wrong shape; ValueError or TypeError for arguments that do not fit.

    A layer of your own, in plain NumPy or over the kernels of `ops`:

    >>> class Square(Layer):
    ...     def forward(self, ops, x, training):
    ...         self.x = x
    ...         return x * x
    ...     def backward(self, ops, dy, needs_dx):
    ...         return 2 * self.x * dy
    >>> check_gradients(Square(), (4,)) < 1e-6
    True
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer such as layers.Dense(10), got {layer!r}")
    shape = check_shape("input_shape", input_shape)
    ops, batch, seed = _prepare(backend, batch, seed, epsilon, tolerance)
    _build(layer, shape, seed)
    x = random.normal(seed, (batch, *shape), INPUT)
    direction = random.normal(seed, (batch, *layer.output_shape), DIRECTION)

    def output() -> np.ndarray:
        given = x.copy()
        y = np.array(layer.forward(ops, given, training))
        if not np.array_equal(given, x):
            raise AssertionError("forward changed x, which belongs to the layer before")
        return y

    _check_shape("y", output(), direction.shape)
    wanted = {p.name: p for p in layer.parameters if p.trainable and layer.trainable}
    found = []
    for needs_dx in (True, False):
        output()
        for p in wanted.values():
            p.gradient.fill(np.nan)
        dx = layer.backward(ops, direction.copy(), needs_dx)
        found.append({name: p.gradient.copy() for name, p in wanted.items()} | ({"x": dx} if needs_dx else {}))
    _check_shape("dx", found[0]["x"], x.shape)
    values = {name: p.value for name, p in wanted.items()} | {"x": x}
    numeric = {name: _numeric(value, output, direction, epsilon) for name, value in values.items()}
    return max(_compare(name, g, numeric[name], tolerance) for gradients in found for name, g in gradients.items())


def check_loss_gradients(
    loss: Loss,
    shape: Any,
    *,
    batch: int = 3,
    seed: int = 0,
    backend: str | None = None,
    epsilon: float = 1e-6,
    tolerance: float = 1e-6,
) -> float:
    """Compare a loss' gradient with central differences in float64; returns the largest relative error.

    `compute` must write L = sum(values) / N of predictions y and its derivative dL/dy; and where the loss also
    has a kernel for logits, `compute_from_logits` the same of logits z. Errors are measured as in
    `check_gradients`.

    shape: of one prediction, such as (10,); N = batch. Predictions and targets are uniform in (0.1, 0.9), labels
    are integers below the last axis, logits are normal with standard deviation 3.

    Raises AssertionError that names 'y' or 'z', the index and both values; ValueError or TypeError for arguments
    that do not fit. A loss of your own:

    >>> class LogCosh(Loss):
    ...     def compute(self, ops, y, target, values, dy, scale):
    ...         values[...] = np.log(np.cosh(y - target)).sum(axis=1)
    ...         if dy is not None:
    ...             dy[...] = scale * np.tanh(y - target)
    >>> check_loss_gradients(LogCosh(), (4,)) < 1e-6
    True
    """
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a Loss such as losses.MeanSquaredError(), got {loss!r}")
    features = math.prod(check_shape("shape", shape))
    ops, batch, seed = _prepare(backend, batch, seed, epsilon, tolerance)
    y, target = (0.1 + 0.8 * random.uniform(seed, (batch, features), stream) for stream in (INPUT, TARGET))
    if loss.integer_labels:
        target = (target[:, 0] * features).astype(np.int64)
    else:
        target = loss.smooth(ops, target)

    def from_predictions(values: np.ndarray, dy: np.ndarray | None) -> None:
        loss.compute(ops, y, target, values, dy, 1 / batch)

    error = _check_loss("y", y, from_predictions, epsilon, tolerance)
    if loss.logits_kernel:
        z, head = 3 * random.normal(seed, y.shape, DIRECTION), np.empty_like(y)

        def from_logits(values: np.ndarray, dz: np.ndarray | None) -> None:
            loss.compute_from_logits(ops, z, target, head, values, dz, 1 / batch)

        error = max(error, _check_loss("z", z, from_logits, epsilon, tolerance))
    return error


def _prepare(backend: str | None, batch: Any, seed: Any, epsilon: Any, tolerance: Any) -> tuple[Eager, int, int]:
    number_in("epsilon", epsilon, 0, 1, open_low=True)
    number_in("tolerance", tolerance, 0, 1)
    return Eager(backends.get(backend), np.float64), positive_int("batch", batch), random.check_seed(seed)


def _build(layer: Layer, shape: Shape, seed: int) -> None:
    if layer.built and (layer.dtype != np.float64 or layer.input_shape != shape):
        raise ValueError(
            f"layer must be new, or built in float64 for samples of shape {shape}; "
            f"this one is {layer.dtype} for {layer.input_shape}"
        )
    if not layer.built:
        layer.dtype, layer.seed = FLOAT64, seed
        layer.ensure_built(shape)


def _check_loss(name: str, y: np.ndarray, compute: Callable, epsilon: float, tolerance: float) -> float:
    def output() -> np.ndarray:
        values = np.full(len(y), np.nan)
        compute(values, None)
        return values

    values, gradient = np.full(len(y), np.nan), np.full_like(y, np.nan)
    compute(values, gradient)
    if not np.array_equal(values, output()):
        raise AssertionError(f"values must not depend on whether the gradient is wanted, got {values} and {output()}")
    mean = np.full(len(y), 1 / len(y))
    return _compare(name, gradient, _numeric(y, output, mean, epsilon), tolerance)


def _numeric(array: np.ndarray, output: Callable[[], np.ndarray], direction: np.ndarray, epsilon: float) -> np.ndarray:
    """The derivative of sum(direction * output()) with respect to each element of `array`, by central differences."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        before = array[index]
        array[index] = high = before + epsilon
        above = output()
        array[index] = low = before - epsilon
        # Outputs are subtracted before they are summed: what does not depend on this element cancels exactly.
        gradient[index] = (direction * (above - output())).sum() / (high - low)
        array[index] = before
    return gradient


def _check_shape(name: str, array: Any, shape: Shape) -> None:
    if np.shape(array) != shape:
        raise AssertionError(f"{name} must have shape {shape}, got {None if array is None else np.shape(array)}")


def _compare(name: str, analytic: np.ndarray, numeric: np.ndarray, tolerance: float) -> float:
    """The largest error relative to the array's largest gradient; raises AssertionError beyond the tolerance."""
    if numeric.size == 0:
        return 0.0
    errors = np.abs(analytic - numeric) / max(np.abs(numeric).max(), SMALLEST_SCALE)
    worst = np.unravel_index(int(np.argmax(errors)), errors.shape)  # NaN, a gradient never written, counts as largest
    if not errors[worst] <= tolerance:
        index = ", ".join(map(str, worst))
        raise AssertionError(
            f"gradient of {name}[{index}]: backward gives {analytic[worst]:.9g}, differences {numeric[worst]:.9g} "
            f"(relative error {errors[worst]:.2g}, tolerance {tolerance:g})"
        )
    return float(errors[worst])
