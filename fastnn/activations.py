"""Activations beside their derivatives, by the names of Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastnn.errors import number_in, suggest
from fastnn.kernels.contract import ELEMENTWISE, NEEDS_Z

DEFAULT_ALPHA = {"leaky_relu": 0.2, "elu": 1.0}  # Keras' slopes
NAMES = (*ELEMENTWISE, "softmax")


class Activation:
    """y = f(z), element by element; softmax over the last axis. The name may be in any case.

        linear      z                                   leaky_relu  z if z > 0 else alpha z, alpha = 0.2
        step        1 if z >= 0 else 0                  elu         z if z > 0 else alpha (exp(z) - 1), alpha = 1
        sigmoid     1 / (1 + exp(-z))                   gelu        z Phi(z), Phi the normal distribution function
        tanh        tanh(z)                             silu        z sigmoid(z), also called swish
        relu        max(z, 0)                           softplus    log(1 + exp(z))
        softmax     exp(z) / sum of exp(z), from z minus its maximum

    alpha: at least 0, for leaky_relu and elu alone. Raises TypeError, ValueError.
    """

    def __init__(self, name: str, alpha: float | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"activation must be a name such as 'relu', got {name!r}")
        self.name = {"swish": "silu"}.get(name.lower(), name.lower())
        if self.name not in NAMES:
            raise suggest("activation", name, NAMES)
        self.alpha = DEFAULT_ALPHA.get(self.name, 0.0)
        if alpha is not None:
            if self.name not in DEFAULT_ALPHA:
                raise ValueError(f"alpha is for {' and '.join(DEFAULT_ALPHA)}, got alpha={alpha!r} for {name!r}")
            self.alpha = number_in("alpha", alpha, 0, math.inf, open_high=True)

    @property
    def in_place(self) -> bool:
        """True when the derivative follows from y alone, so that y may overwrite z."""
        return self.name not in NEEDS_Z

    def forward(self, ops: Any, z: Any, y: Any) -> None:
        """y = f(z); y may be z."""
        if self.name == "softmax":
            ops.softmax(z, y)
        elif self.name != "linear" or y is not z:
            ops.activation(z, y, ELEMENTWISE.index(self.name), self.alpha)

    def backward(self, ops: Any, z: Any, y: Any, dy: Any, dz: Any) -> None:
        """dz = f'(z) dy; dz may be dy."""
        if self.name == "softmax":
            ops.softmax_gradient(y, dy, dz)
        elif self.name != "linear" or dz is not dy:
            ops.activation_gradient(z, y, dy, dz, ELEMENTWISE.index(self.name), self.alpha)


def get(identifier: Any) -> Activation:
    """Return the activation of that name, in any case, or that `serialize` described; None stands for linear.

    Raises TypeError, ValueError.
    """
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, Mapping):
        return Activation(**identifier)
    return Activation("linear" if identifier is None else identifier)


def serialize(activation: Activation) -> str | dict[str, Any]:
    """Return the name, with alpha beside it where that is not the usual one. Raises ValueError for a subclass."""
    if type(activation) is not Activation:
        raise ValueError(f"activation {type(activation).__name__} cannot be described: make it a layer of its own")
    if activation.alpha == Activation(activation.name).alpha:
        return activation.name
    return {"name": activation.name, "alpha": activation.alpha}
