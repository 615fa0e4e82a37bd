"""Metrics: one value per sample, whose mean over an epoch is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastnn.errors import number_in
from fastnn.losses import BinaryCrossentropy, CategoricalCrossentropy, Loss
from fastnn.registry import Configurable, Registry


class Metric(Configurable):
    """Base of all metrics. One of your own overrides `compute(ops, y, target, values)`: write each sample's value
    into `values`, shape (N,), from predictions y (N, F) and targets. With kernels of `ops` it is captured."""

    name = ""
    integer_labels: bool | None = None  # True: takes integers; False: takes targets like predictions; None: either

    def compute(self, ops: Any, y: Any, target: Any, values: Any) -> None:
        """Write one value per sample."""
        raise NotImplementedError(f"{type(self).__name__}.compute")


class SparseCategoricalAccuracy(Metric):
    """Share of samples whose largest prediction is at the integer label."""

    name = "sparse_categorical_accuracy"
    integer_labels = True

    def compute(self, ops: Any, y: Any, target: Any, values: Any) -> None:
        ops.sparse_accuracy(y, target, values)


class CategoricalAccuracy(Metric):
    """Share of samples whose largest prediction is where the target is largest."""

    name = "categorical_accuracy"
    integer_labels = False

    def compute(self, ops: Any, y: Any, target: Any, values: Any) -> None:
        ops.categorical_accuracy(y, target, values)


class BinaryAccuracy(Metric):
    """Share of elements with (prediction > threshold) equal to the target."""

    name = "binary_accuracy"
    integer_labels = False

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = number_in("threshold", threshold, -np.inf, np.inf)

    def compute(self, ops: Any, y: Any, target: Any, values: Any) -> None:
        ops.binary_accuracy(y, target, values, self.threshold)


class MeanSquaredError(Metric):
    """mean_f (y - target)^2."""

    name = "mean_squared_error"
    integer_labels = False

    def compute(self, ops: Any, y: Any, target: Any, values: Any) -> None:
        ops.squared_error(y, target, values, None, 1.0)


class MeanAbsoluteError(Metric):
    """mean_f |y - target|."""

    name = "mean_absolute_error"
    integer_labels = False

    def compute(self, ops: Any, y: Any, target: Any, values: Any) -> None:
        ops.absolute_error(y, target, values, None, 1.0)


class FunctionMetric(Metric):
    """A user's function (y_true, y_pred) -> values, of shape (N,) or a number; it runs in Python, so eagerly."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "metric")

    def compute(self, ops: Any, y: Any, target: Any, values: Any) -> None:
        result = self.function(_to_read(target), _to_read(y))
        if result is None or np.shape(result) not in ((), values.shape):
            found = "None" if result is None else f"shape {np.shape(result)}"
            raise ValueError(f"metric {self.name!r} must return a number, or one for each of the rows, got {found}")
        values[...] = result


def _to_read(array: Any) -> Any:
    """The same array, which the user's code cannot change: the step goes on with it."""
    if isinstance(array, np.ndarray):
        array = array.view()
        array.flags.writeable = False
    return array


_registry = Registry(
    "metric",
    Metric,
    [SparseCategoricalAccuracy, CategoricalAccuracy, BinaryAccuracy, MeanSquaredError, MeanAbsoluteError],
    {"mse": MeanSquaredError, "mae": MeanAbsoluteError},
    wrapper=FunctionMetric,
)


def serialize(metric: Metric) -> dict[str, Any]:
    """{"class_name", "config", "name"} of a metric, with the name it reports under. Raises as `Registry.serialize`."""
    return {**_registry.serialize(metric), "name": metric.name}


def deserialize(data: Mapping[str, Any]) -> Metric:
    """The metric that `serialize` described. Raises ValueError."""
    metric = _registry.deserialize({key: data[key] for key in ("class_name", "config")})
    metric.name = data["name"]
    return metric


def get(identifier: Any, loss: Loss | None = None) -> Metric:
    """The metric for a name, an instance or a function. "accuracy" is the one that suits the loss.

    Raises ValueError for an unknown name or for "accuracy" with a loss of no classes, TypeError for anything else.
    """
    if isinstance(identifier, str):
        if identifier.lower() in ("accuracy", "acc"):
            metric = _accuracy(loss)
        else:
            try:
                metric = _registry.find(identifier)()
            except ValueError as error:
                raise ValueError(str(error).replace("Known: ", "Known: accuracy, ")) from None
        metric.name = identifier.lower()
        return metric
    return _registry.get(identifier)


def _accuracy(loss: Loss | None) -> Metric:
    if loss is not None and loss.integer_labels:
        return SparseCategoricalAccuracy()
    if isinstance(loss, CategoricalCrossentropy):
        return CategoricalAccuracy()
    if isinstance(loss, BinaryCrossentropy):
        return BinaryAccuracy(0.0 if loss.from_logits else 0.5)
    raise ValueError(
        f"metrics: 'accuracy' fits a crossentropy, not {type(loss).__name__}; name the one you mean, "
        "such as 'binary_accuracy' or 'categorical_accuracy'"
    )
