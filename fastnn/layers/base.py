"""What a layer is: parameters, forward and backward over kernels."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import activations, initializers, random, regularizers
from fastnn.capture import while_recording
from fastnn.errors import positive_int
from fastnn.memory import Block, Shape
from fastnn.registry import Configurable


class Parameter:
    """An array that training changes: its value, the gradient of the loss with respect to it, its regularizer."""

    def __init__(self, name: str, value: np.ndarray, regularizer: Any = None, trainable: bool = True) -> None:
        self.name, self.regularizer, self.trainable = name, regularizer, trainable
        self.shape: Shape = value.shape
        self.size = value.size
        self.block, self._gradients, self._index = _alone(value), Block([value.shape], value.dtype), 0
        self._settled = False

    @property
    def value(self) -> Any:
        """The array itself, to be changed in place; under capture a buffer, which only kernels can use.

        Ask for it anew after `compile`, which may move it, and after training on a GPU, which leaves old values in it.
        """
        return _now(self.block, self._index)

    @property
    def gradient(self) -> Any:
        """The array that backward writes; under capture a buffer."""
        return _now(self._gradients, self._index)

    def __repr__(self) -> str:
        return f"<Parameter {self.name!r} {self.shape} {self.block.dtype}>"

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        self.block.read()
        return self.block.arrays[self._index].copy()

    def assign(self, value: Any) -> None:
        """Copy `value` into the array."""
        self.value[...] = value

    def __getstate__(self) -> dict[str, Any]:  # a copy of the parameter stands alone
        alone = {"block": _alone(self.numpy()), "_gradients": _alone(self.gradient), "_index": 0, "_settled": False}
        return self.__dict__ | alone


def _alone(value: np.ndarray) -> Block:
    block = Block([value.shape], value.dtype)
    block.flat[: value.size] = value.ravel()
    return block


def _now(block: Block, index: int) -> Any:
    block.write()
    return while_recording(block.arrays[index])


def side_by_side(parameters: Sequence[Parameter]) -> None:
    """Move values, and gradients, into one block each; parameters that were moved before stay where they are."""
    moving = [p for p in parameters if not p._settled]
    for dtype in {p.block.dtype for p in moving}:
        some = [p for p in moving if p.block.dtype == dtype]
        values, gradients = (Block([p.shape for p in some], dtype) for _ in range(2))
        for index, p in enumerate(some):
            values.arrays[index][...], gradients.arrays[index][...] = p.value, p.gradient
            p.block, p._gradients, p._index, p._settled = values, gradients, index, True


# Layers keep on themselves what backward needs, and may be part of several models: one thread runs them at a time.
in_use = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child must not find it held by a thread that it does not have
    os.register_at_fork(before=in_use.acquire, after_in_parent=in_use.release, after_in_child=in_use.release)


class Layer(Configurable):
    """Base of all layers. A layer of your own overrides these, with N the rows of the batch:

        build(input_shape)                 make parameters with add_weight; input_shape is that of one sample
        compute_output_shape(input_shape)  the shape of one output sample (the input's by default)
        forward(ops, x, training)          return y; keep on self what backward needs
        backward(ops, dy, needs_dx)        write the parameters' gradients; return dx, or None unless needs_dx

    `ops` has the kernels as methods and `ops.empty(shape)` for memory. A layer that computes with NumPy instead
    works too: the model then says so and runs without capture. `fastnn.testing.check_gradients` checks it.

    To be saved, it keeps its constructor's arguments under their own names, or gives them in `get_config`.
    """

    activation: activations.Activation | None = None
    emits_logits = False  # while a model runs whose loss applies the activation of this, its last layer

    def __init__(self, *, name: str | None = None, input_shape: Any = None, trainable: bool = True) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}")
        self.name = name
        self.given_input_shape = None if input_shape is None else check_shape("input_shape", input_shape)
        self.trainable = trainable
        self.built = False
        self.parameters: list[Parameter] = []
        self.input_shape: Shape = ()
        self.output_shape: Shape = ()
        self.dtype = np.dtype(np.float32)
        self.seed, self.index = 0, 0  # set by the model: where the layer's random numbers come from

    def build(self, input_shape: Shape) -> None:
        """Make the parameters for samples of this shape."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of one output sample."""
        return input_shape

    def forward(self, ops: Any, x: Any, training: bool) -> Any:
        """Return y for a batch x."""
        raise NotImplementedError(f"layer {self.name!r}: {type(self).__name__} must define forward(ops, x, training)")

    def backward(self, ops: Any, dy: Any, needs_dx: bool) -> Any:
        """Write the gradients of the parameters and return dx, given dy."""
        raise NotImplementedError(f"layer {self.name!r}: {type(self).__name__} must define backward(ops, dy, needs_dx)")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; a layer that keeps one in another form or name puts it in here."""
        config = super().get_config()
        if "input_shape" in config:
            config["input_shape"] = None if self.given_input_shape is None else list(self.given_input_shape)
        return config

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def ensure_built(self, input_shape: Shape) -> None:
        """Build once for samples of this shape."""
        if not self.built:
            self.parameters = []  # of a build that failed
            self.build(input_shape)
            self.input_shape, self.output_shape = input_shape, self.compute_output_shape(input_shape)
            self.built = True

    def add_weight(
        self,
        name: str,
        shape: Shape,
        initializer: Any = "glorot_uniform",
        regularizer: Any = None,
        trainable: bool = True,
    ) -> Parameter:
        """Make a parameter; its initial value depends on the model's seed and the layer's place alone."""
        shape, stream = random.check_shape(shape), random.stream_of(self.index, len(self.parameters))
        value = initializers.get(initializer)(shape, seed=self.seed, stream=stream)
        value = np.asarray(value, self.dtype)
        if value.shape != shape:
            raise ValueError(f"initializer of {name} must give an array of shape {shape}, got {value.shape}")
        self.parameters.append(Parameter(name, value, regularizers.get(regularizer), trainable))
        return self.parameters[-1]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the parameters' values."""
        return [p.numpy() for p in self.parameters]

    def set_weights(self, weights: Any) -> None:
        """Copy values into the parameters. Raises TypeError, ValueError, before anything changes, unless they fit."""
        assign_all(self.parameters, weights)

    def count_params(self) -> int:
        """The number of weights."""
        return sum(p.size for p in self.parameters)

    def __call__(self, x: Any, training: bool = False) -> np.ndarray:
        """Run the layer now on a batch, shape (N, ...); builds it on first use, from a random seed."""
        from fastnn import backends
        from fastnn.capture import Eager
        from fastnn.checks import as_array

        x = np.ascontiguousarray(as_array(x, "x"), self.dtype)
        if self.built and x.shape[1:] != self.input_shape:
            raise ValueError(f"x must have shape (N, {', '.join(map(str, self.input_shape))}), got {x.shape}")
        if not self.built:
            self.seed = random.fresh_seed()
        with in_use:
            self.ensure_built(x.shape[1:])
            return self.forward(Eager(backends.get(), self.dtype), x, training)


def assign_all(parameters: Sequence[Parameter], weights: Any) -> None:
    """Copy an array into each parameter. Raises TypeError, ValueError, before anything changes, unless they fit."""
    if not isinstance(weights, (list, tuple)):
        raise TypeError(f"weights must be a list of arrays, as get_weights gives it, got {type(weights).__name__}")
    values = [np.asarray(w) for w in weights]
    if len(values) != len(parameters):
        raise ValueError(f"weights must be a list of {len(parameters)} arrays, got {len(values)}")
    for i, (p, value) in enumerate(zip(parameters, values, strict=True)):
        if value.shape != p.shape:
            raise ValueError(f"weights[{i}] ({p.name}) must have shape {p.shape}, got {value.shape}")
        if value.dtype.kind not in "fiu":
            raise TypeError(f"weights[{i}] ({p.name}) must hold numbers, got {value.dtype}")
    for p, value in zip(parameters, values, strict=True):
        p.assign(value)


def check_shape(argument: str, shape: Any) -> Shape:
    """Return `shape` as a tuple of positive ints; an int stands for a one-element shape."""
    if isinstance(shape, int):
        shape = (shape,)
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{argument} must be a tuple of positive integers such as (784,), got {shape!r}")
    return tuple(positive_int(argument, n) for n in shape)
