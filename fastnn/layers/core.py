"""The layers of a plain network: Dense, Activation, Flatten, Dropout; and Input, which says what they get."""

from __future__ import annotations

import math
from typing import Any

from fastnn import activations, initializers, random, regularizers
from fastnn.errors import number_in, positive_int
from fastnn.layers.base import Layer, check_shape
from fastnn.memory import Shape


class Input:
    """The shape of one sample, without the batch axis; the first element of a Sequential, but none of its layers."""

    def __init__(self, shape: Any = None, *, name: str | None = None) -> None:
        self.shape, self.name = check_shape("shape", shape), name


class Dense(Layer):
    """y = f(x W + b): x (N, ..., I), W (I, O) with O = `units`, b (O,), f an activation.

    Backward, with dz = f'(z) dy:  dW = x^T dz,  db = sum over rows of dz,  dx = dz W^T.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        *,
        name: str | None = None,
        input_shape: Any = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, input_shape=input_shape, trainable=trainable)
        self.units = positive_int("units", units)
        self.activation: activations.Activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def build(self, input_shape: Shape) -> None:
        if not input_shape:
            raise ValueError("Dense needs samples with at least one axis; got shape ()")
        inputs = input_shape[-1]
        self.kernel = self.add_weight("kernel", (inputs, self.units), self.kernel_initializer, self.kernel_regularizer)
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), self.bias_initializer, self.bias_regularizer)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def forward(self, ops: Any, x: Any, training: bool) -> Any:
        rows = math.prod(x.shape[:-1])
        self.x = x.reshape((rows, x.shape[-1]))
        self.z = ops.empty((rows, self.units))
        ops.dense(self.x, self.kernel.value, self.bias.value if self.use_bias else None, self.z)
        self.y = self.z
        if not self.emits_logits:
            if not self.activation.in_place:
                self.y = ops.empty((rows, self.units))
            self.activation.forward(ops, self.z, self.y)
        return self.y.reshape((*x.shape[:-1], self.units))

    def backward(self, ops: Any, dy: Any, needs_dx: bool) -> Any:
        dz = dy.reshape((len(self.z), self.units))
        if not self.emits_logits:
            self.activation.backward(ops, self.z, self.y, dz, dz)
        ops.dense_dweight(self.x, dz, self.kernel.gradient)
        if self.use_bias:
            ops.column_sum(dz, self.bias.gradient)
        if not needs_dx:
            return None
        dx = ops.empty(self.x.shape)
        ops.dense_dx(dz, self.kernel.value, dx)
        return dx.reshape((*dy.shape[:-1], self.x.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }


class Activation(Layer):
    """y = f(x), element by element (softmax: over the last axis)."""

    def __init__(self, activation: Any, *, name: str | None = None, input_shape: Any = None) -> None:
        super().__init__(name=name, input_shape=input_shape)
        self.activation: activations.Activation = activations.get(activation)

    def forward(self, ops: Any, x: Any, training: bool) -> Any:
        if self.emits_logits:
            return x
        self.z = x.reshape((-1, x.shape[-1]))
        self.y = ops.empty(self.z.shape)
        self.activation.forward(ops, self.z, self.y)
        return self.y.reshape(x.shape)

    def backward(self, ops: Any, dy: Any, needs_dx: bool) -> Any:
        if self.emits_logits or not needs_dx:
            return dy
        dz = dy.reshape(self.y.shape)
        self.activation.backward(ops, self.z, self.y, dz, dz)
        return dy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Flatten(Layer):
    """(N, ...) to (N, product of the other axes), without copying."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, ops: Any, x: Any, training: bool) -> Any:
        self.shape = x.shape
        return x.reshape((len(x), math.prod(x.shape[1:])))

    def backward(self, ops: Any, dy: Any, needs_dx: bool) -> Any:
        return dy.reshape(self.shape)


class Dropout(Layer):
    """In training y = x / (1 - rate) with probability 1 - rate, else 0, for each element by itself; otherwise y = x.

    rate: in [0, 1). seed: instead of the model's. Raises TypeError, ValueError. The mask is a function of (seed, step,
    layer): backward computes it again instead of keeping it. Source: Srivastava et al., "Dropout: A Simple Way to
    Prevent Neural Networks from Overfitting", JMLR 15 (2014).
    """

    def __init__(
        self, rate: float, *, seed: int | None = None, name: str | None = None, input_shape: Any = None
    ) -> None:
        super().__init__(name=name, input_shape=input_shape)
        self.rate = number_in("rate", rate, 0, 1, open_high=True)
        self.own_seed = None if seed is None else random.check_seed(seed)

    def _mask(self, ops: Any, x: Any) -> Any:
        y = ops.empty(x.shape)
        seed = self.seed if self.own_seed is None else self.own_seed
        threshold = int(self.rate * 2**32)
        ops.dropout(x, ops.clock, y, seed, random.stream_of(self.index, 0), threshold, 1 / (1 - self.rate))
        return y

    def forward(self, ops: Any, x: Any, training: bool) -> Any:
        self.active = training and self.rate > 0
        return self._mask(ops, x) if self.active else x

    def backward(self, ops: Any, dy: Any, needs_dx: bool) -> Any:
        return self._mask(ops, dy) if self.active and needs_dx else dy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.own_seed}
