"""Losses: one value per sample and the gradient with respect to the prediction, from probabilities or from logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.errors import number_in
from fastnn.registry import Configurable, Registry


class Loss(Configurable):
    """Base of all losses. The loss of a batch is the mean of its samples' values.

    A loss of your own overrides `compute(ops, y, target, values, dy, scale)`: write each sample's value into
    `values`, shape (N,), and, unless dy is None, scale times the derivative of that value with respect to y into
    `dy`, shape (N, F). `scale` is 1 / N. With kernels of `ops` it is captured; with NumPy it runs eagerly.
    `fastnn.testing.check_loss_gradients` checks it.
    """

    kernel = ""  # from predictions
    logits_kernel = ""  # from logits, together with the activation `head`
    head = ""
    integer_labels = False
    from_logits = False
    label_smoothing = 0.0

    def fuses(self, activation: str) -> bool:
        """True when this loss takes the logits of a last layer with that activation and applies it itself."""
        return self.takes_logits and not self.from_logits and activation == self.head

    @property
    def takes_logits(self) -> bool:
        """True when a kernel takes logits, unless a subclass overrides `compute` alone, which would be left out."""
        own = next(kind for kind in type(self).__mro__ if {"compute", "logits_kernel"} & vars(kind).keys())
        return bool(self.logits_kernel) and ("logits_kernel" in vars(own) or "compute_from_logits" in vars(own))

    def scalars(self) -> tuple[float, ...]:
        """What the kernel takes after the scale."""
        return ()

    def compute(self, ops: Any, y: Any, target: Any, values: Any, dy: Any, scale: float) -> None:
        """Values, shape (N,), and scaled gradient, both written, from predictions y."""
        if not self.kernel:
            wanted = "compute(ops, y, target, values, dy, scale)"
            raise NotImplementedError(f"{type(self).__name__} must define {wanted}")
        getattr(ops, self.kernel)(y, target, values, dy, scale, *self.scalars())

    def compute_from_logits(self, ops: Any, z: Any, target: Any, y: Any, values: Any, dz: Any, scale: float) -> None:
        """The same from logits z, which also gives y = head(z)."""
        getattr(ops, self.logits_kernel)(z, target, y, values, dz, scale)

    def rest(self, features: int) -> float:
        """What label smoothing adds to each target, after it has taken the share `label_smoothing` of it away."""
        return 0.0

    def smooth(self, ops: Any, target: Any) -> Any:
        """The target that the loss is of, shape (N, F): the user's, t, or t (1 - label_smoothing) + rest."""
        if not self.label_smoothing:
            return target
        smoothed = ops.empty(target.shape)
        ops.smooth(target, smoothed, 1 - self.label_smoothing, self.rest(target.shape[1]))
        return smoothed

    def __call__(self, y_true: Any, y_pred: Any) -> float:
        """The mean loss of a batch, in float64: y_pred (N, F), y_true (N, F) or integers (N,)."""
        from fastnn import backends
        from fastnn.capture import Eager
        from fastnn.checks import as_array, as_labels

        y = np.ascontiguousarray(as_array(y_pred, "y_pred"), np.float64)
        y = y.reshape(len(y), -1)
        ops, values = Eager(backends.get("numpy"), np.float64), np.empty(len(y))
        if self.integer_labels:
            target = as_labels(as_array(y_true, "y_true"), y.shape[1], "y_true").reshape(-1)
        else:
            given = np.ascontiguousarray(as_array(y_true, "y_true"), np.float64)
            if given.size != y.size or len(given) != len(y):
                raise ValueError(f"y_true must have the shape of y_pred, {np.shape(y_pred)}, got {given.shape}")
            target = self.smooth(ops, given.reshape(y.shape))
        if self.from_logits and self.takes_logits:
            self.compute_from_logits(ops, y, target, np.empty_like(y), values, None, 1.0)
        else:
            self.compute(ops, y, target, values, None, 1.0)
        return float(values.mean())


class MeanSquaredError(Loss):
    """mean_f (y - target)^2."""

    kernel = "squared_error"


class MeanAbsoluteError(Loss):
    """mean_f |y - target|, with derivative 0 where they are equal."""

    kernel = "absolute_error"


class Huber(Loss):
    """mean_f of e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2, with e = y - target (Huber, 1964)."""

    kernel = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = number_in("delta", delta, 0, math.inf, open_low=True)

    def scalars(self) -> tuple[float, ...]:
        return (self.delta,)


class _Crossentropy(Loss):
    """What the losses over whole targets share: label smoothing."""

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        self.from_logits = bool(from_logits)
        self.label_smoothing = number_in("label_smoothing", label_smoothing, 0, 1)


class BinaryCrossentropy(_Crossentropy):
    """-mean_f [t log p + (1 - t) log(1 - p)] with p = y, or p = sigmoid(y) when `from_logits`.

    With a sigmoid as last activation it is computed from the logits, stable for any size of them. From
    probabilities, p is clipped to [1e-7, 1 - 1e-7], as in Keras. `label_smoothing` s replaces t by t (1 - s) + s / 2.
    """

    kernel, logits_kernel, head = "binary_crossentropy", "sigmoid_crossentropy", "sigmoid"

    def rest(self, features: int) -> float:
        return self.label_smoothing / 2


class CategoricalCrossentropy(_Crossentropy):
    """-sum_f t_f log p_f with p = y, or p = softmax(y) when `from_logits`; t one-hot or a distribution.

    With a softmax as last activation it is computed from the logits, stable for any size of them. From
    probabilities, p is clipped to [1e-7, 1 - 1e-7], and not divided by its sum. `label_smoothing` s replaces t by
    t (1 - s) + s / F.
    """

    kernel, logits_kernel, head = "categorical_crossentropy", "softmax_crossentropy", "softmax"

    def rest(self, features: int) -> float:
        return self.label_smoothing / features


class SparseCategoricalCrossentropy(Loss):
    """-log p_label, for integer labels: equal to CategoricalCrossentropy on their one-hot rows."""

    kernel, logits_kernel, head = "sparse_crossentropy", "softmax_crossentropy_sparse", "softmax"
    integer_labels = True

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = bool(from_logits)


_registry = Registry(
    "loss",
    Loss,
    [
        MeanSquaredError,
        MeanAbsoluteError,
        Huber,
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
    ],
    {"mse": MeanSquaredError, "mae": MeanAbsoluteError, "bce": BinaryCrossentropy},
)
get, serialize, deserialize = _registry.get, _registry.serialize, _registry.deserialize
