"""Penalties on large weights, under Keras' names: what is added to the loss, and its gradient beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastnn.errors import number_in
from fastnn.registry import Configurable, Registry


class Regularizer(Configurable):
    """The penalty l1 * sum |w| + l2 * sum w**2, of which L1, L2 and L1L2 set one coefficient or both.

    Keras' convention: the gradient of the second term is 2 * l2 * w, where others halve the penalty. The
    coefficients say everything, so a kernel takes `l1` and `l2` and needs no method.
    Raises TypeError, ValueError unless both are finite and at least 0. A subclass may set them, no more.
    """

    def __init_subclass__(cls) -> None:
        for name in ("__call__", "gradient"):
            if name in vars(cls):
                raise TypeError(f"{cls.__name__} overrides {name}, which training does not call: only l1 and l2 count")


    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1 = number_in("l1", l1, 0.0, math.inf, open_high=True)
        self.l2 = number_in("l2", l2, 0.0, math.inf, open_high=True)

    def __call__(self, w: np.ndarray) -> float:
        """Return l1 * sum |w| + l2 * sum w**2, summed in float64. `w` may have any shape."""
        w = np.asarray(w, dtype=np.float64)
        return float(self.l1 * np.abs(w).sum() + self.l2 * np.square(w).sum())

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Return l1 * sign(w) + 2 * l2 * w, in the shape and dtype of `w`; sign(0) = 0."""
        return self.l1 * np.sign(w) + 2.0 * self.l2 * w


class L1(Regularizer):
    """l1 * sum |w|: drives weights to 0 exactly (the lasso)."""

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=l1)


class L2(Regularizer):
    """l2 * sum w**2: shrinks weights in proportion (ridge; with plain SGD, weight decay of 2 * l2)."""

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=l2)


class L1L2(Regularizer):
    """l1 * sum |w| + l2 * sum w**2 (the elastic net)."""


l1, l2, l1_l2 = L1, L2, L1L2  # Keras has both, and its users write regularizers.l2(0.01)

_registry = Registry("regularizer", Regularizer, [L1, L2, L1L2])


def get(identifier: Any) -> Regularizer | None:
    """Return the regularizer that a name in any case, an instance, class or config stands for; None for none.

    Raises ValueError for an unknown name (with the nearest known one), TypeError for anything else.
    """
    return None if identifier is None else _registry.get(identifier)


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """Return {"class_name", "config"}, which JSON can hold; None for none."""
    return None if regularizer is None else _registry.serialize(regularizer)


def deserialize(config: Mapping[str, Any] | None) -> Regularizer | None:
    """Return the regularizer that `serialize` described. Raises ValueError for anything else."""
    return None if config is None else _registry.deserialize(config)
