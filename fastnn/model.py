"""Sequential: layers in a row, their weights, and the face that Keras' users know."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import backends, losses, metrics, optimizers, random
from fastnn.capture import Eager, Ops, naming
from fastnn.checks import as_samples, check_dtype, check_result, unbuilt_if_refused
from fastnn.errors import positive_int, suggest
from fastnn.layers import Input, Layer, Parameter
from fastnn.layers.base import assign_all, check_shape, side_by_side
from fastnn.memory import Block, Shape, on_host
from fastnn.steps import Steps
from fastnn.summary import summary_text
from fastnn.trainer import evaluate, fit, predict, train_on_batch


class Sequential:
    """A network of layers in a row.

    layers: any number of layers; more come with `add`. backend: "numpy", "numba", "cupy", "auto" or None for the one
    in force; with "auto" the first `fit` measures whether a GPU is worth it, and `why_backend` gives the reason. seed:
    an int in [0, 2**63) from which first weights, shuffles and dropout masks follow, bit for bit on every backend; None
    draws one and keeps it in `model.seed`. dtype: "float32" or "float64". Raises TypeError, ValueError.
    """

    def __init__(
        self, layers: Any = None, name: str = "sequential", *, backend: str | None = None, seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}")
        self.name = name
        self.backend = backends.get(backend)
        self.automatic = backends.is_auto(backend)  # until the first `fit` has chosen
        self.why_backend = ""
        self.seed = random.fresh_seed() if seed is None else random.check_seed(seed)
        self.dtype = check_dtype(dtype)
        self._layers: list[Layer] = []
        self._given_input_shape: Shape | None = None  # by an Input
        self.built = False
        self.steps = Steps(self)
        self.stop_training = False
        self.in_fit = (0, 0)  # id(self) and the thread, during fit; a copy has another id, so it is free
        self._optimizer: Any = None
        self._loss: Any = None
        self._metrics: list[metrics.Metric] = []
        self.run_eagerly = False
        self.uncaptured = ""  # why training runs without capture, if it does
        self.epochs_trained = 0
        self.history: Any = None
        self._trained: list[Parameter] | None = None  # the parameters that the optimizer's state belongs to
        if layers is not None and not isinstance(layers, (list, tuple)):
            raise TypeError(f"layers must be a list of layers, got {layers!r}")
        fresh = [layer for layer in layers or () if isinstance(layer, Layer) and not layer.built]
        try:
            for layer in layers or ():
                self.add(layer)
        except Exception:
            self.unbuild(fresh)
            raise
        self.settle()

    # What was captured depends on these: they change by `add` and `compile` alone.
    layers = property(lambda self: list(self._layers), doc="The layers, in a list of their own.")
    metrics = property(lambda self: list(self._metrics), doc="What is measured beside the loss.")
    optimizer = property(lambda self: self._optimizer, doc="The optimizer; None before `compile`.")
    loss = property(lambda self: self._loss, doc="The loss; None before `compile`.")

    # --- structure ---

    def add(self, layer: Layer | Input) -> None:
        """Put a layer at the end. Raises TypeError for what is no layer, ValueError for a name that is taken."""
        self._must_not_be_in_fit("get another layer")
        if isinstance(layer, Input):
            if self._layers or self._given_input_shape is not None:
                raise ValueError("Input must come first, and once")
            self._given_input_shape = layer.shape
            return
        if not isinstance(layer, Layer):
            raise TypeError(f"layer must be a layer such as layers.Dense(10), got {layer!r}")
        if any(layer is other for other in self._layers):
            raise ValueError(f"layer {layer.name!r} is in this model already; make a second one")
        taken = [other.name for other in self._layers]
        if layer.name in taken:
            raise ValueError(f"name {layer.name!r} is taken by another layer of this model")
        given, layer.name = layer.name, layer.name or _free_name(type(layer).__name__, taken)
        self._layers.append(layer)
        try:
            first = self._given_input_shape or self._layers[0].given_input_shape
            if self.built:
                self._build_layer(layer, self._layers[-2].output_shape)
            elif first is not None:
                self._build(first)
        except Exception:
            self._layers.pop()
            layer.name = given
            raise
        self._forget_steps()

    def build(self, input_shape: Any) -> None:
        """Make the weights for samples of this shape, without the batch axis."""
        self._build(input_shape)
        self.settle()

    def _build(self, input_shape: Any) -> None:
        if self.built:
            raise ValueError(f"the model was built already, for input_shape {self.input_shape}")
        if not self._layers:
            raise ValueError("the model has no layers; add some first")
        shape = check_shape("input_shape", input_shape)
        with unbuilt_if_refused(self):
            for layer in self._layers:
                shape = self._build_layer(layer, shape)
        self.built = True

    def unbuild(self, layers: list[Layer]) -> None:
        """Take back a build that made the weights of these layers, because it turned out not to fit."""
        self.built = False
        for layer in layers:
            layer.built, layer.parameters = False, []
        self._forget_steps()

    def _build_layer(self, layer: Layer, shape: Shape) -> Shape:
        wanted = layer.input_shape if layer.built else layer.given_input_shape or shape
        if wanted != shape:
            raise ValueError(f"layer {layer.name!r} has input_shape {wanted}, but gets samples of shape {shape}")
        if layer.built and layer.dtype != self.dtype:
            raise ValueError(f"layer {layer.name!r} was built in {layer.dtype}, but the model's dtype is {self.dtype}")
        if not layer.built:  # else it is part of another model, where its masks follow from these
            layer.seed, layer.index, layer.dtype = self.seed, self._layers.index(layer), self.dtype
            layer.ensure_built(shape)
        return layer.output_shape

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that place. Raises TypeError, ValueError where there is none."""
        if (name is None) == (index is None):
            raise ValueError(f"get_layer takes a name or an index, got name={name!r} and index={index!r}")
        if index is not None:
            place = positive_int("index", index, minimum=-len(self._layers))
            if place >= len(self._layers):
                raise ValueError(f"index must be below {len(self._layers)}, the number of layers, got {index}")
            return self._layers[place]
        for layer in self._layers:
            if layer.name == name:
                return layer
        raise suggest("layer", name, [str(layer.name) for layer in self._layers])

    @property
    def input_shape(self) -> Shape:
        """The shape of one sample. Raises ValueError before the model is built."""
        self._must_be_built()
        return self._layers[0].input_shape

    @property
    def output_shape(self) -> Shape:
        """The shape of one prediction. Raises ValueError before the model is built."""
        self._must_be_built()
        return self._layers[-1].output_shape

    @property
    def parameters(self) -> list[Parameter]:
        """All parameters, layer by layer."""
        return [p for layer in self._layers for p in layer.parameters]

    @property
    def trainable_parameters(self) -> list[Parameter]:
        """Those that training changes."""
        return [p for layer in self._layers if layer.trainable for p in layer.parameters if p.trainable]

    @property
    def trainable(self) -> bool:
        """True when training changes any layer; setting it sets it for all."""
        return any(layer.trainable for layer in self._layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._layers:
            layer.trainable = bool(value)

    @property
    def regularized(self) -> list[Parameter]:
        """Those whose size is part of the loss."""
        return [p for p in self.trainable_parameters if p.regularizer is not None]

    def count_params(self) -> int:
        """The number of weights."""
        return sum(p.size for p in self.parameters)

    def summary(self, print_fn: Any = print) -> None:
        """Print the layers, their output shapes and their number of weights."""
        print_fn(summary_text(self))

    # --- running layers ---

    def forward(self, ops: Ops, x: Any, training: bool, head: bool = True) -> Any:
        """Run all layers; without `head`, an activation that the loss applies itself is left out."""
        with self._left_to_the_loss():
            for layer in self._layers:
                with naming(f"layer {layer.name!r}"):
                    x = ops.given(layer.forward(ops, x, training))
                check_result("forward", layer, x, layer.output_shape)
        last = self._layers[-1]
        if head and self.fuses and last.activation is not None:
            z = x.reshape((-1, x.shape[-1]))
            y = ops.empty(z.shape)
            last.activation.forward(ops, z, y)
            x = y.reshape(x.shape)
        return x

    def backward(self, ops: Ops, dy: Any) -> None:
        """Run all layers backward, down to the first that has something to train."""
        wanted = [i for i, layer in enumerate(self._layers) if layer.trainable and layer.parameters]
        with self._left_to_the_loss():
            for i in range(len(self._layers) - 1, min(wanted, default=len(self._layers)) - 1, -1):
                layer, needs_dx = self._layers[i], i > wanted[0]
                with naming(f"layer {layer.name!r}"):
                    dy = layer.backward(ops, dy, needs_dx)
                    if needs_dx:
                        dy = ops.given(dy)
                        check_result("backward", layer, dy, layer.input_shape)

    @property
    def fuses(self) -> bool:
        """True when the loss applies the activation at the end itself."""
        activation = self._layers[-1].activation
        return self.loss is not None and activation is not None and self.loss.fuses(activation.name)

    @contextlib.contextmanager
    def _left_to_the_loss(self) -> Iterator[None]:
        """Meanwhile the last layer emits logits where the loss fuses its activation; it may be part of other models."""
        last = self._layers[-1]
        last.emits_logits = self.fuses
        try:
            yield
        finally:
            last.emits_logits = False

    def __call__(self, x: Any, training: bool = False) -> np.ndarray:
        """Run the network now on a batch, kernel by kernel, without capture."""
        x = on_host(as_samples(self, x, "x")).copy()  # a layer may hand it on, or work in place
        with self.steps.stepping():
            return self.forward(Eager(self.backend, self.dtype), x, training)

    # --- weights ---

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, layer by layer. Raises ValueError before the model is built."""
        self._must_be_built()
        return [p.numpy() for p in self.parameters]

    def set_weights(self, weights: Any) -> None:
        """Copy values into all weights. Raises TypeError, ValueError, before anything changes, unless they fit."""
        self._must_be_built()
        assign_all(self.parameters, weights)

    def _must_not_be_in_fit(self, do: str) -> None:
        if self.in_fit[0] == id(self):
            raise RuntimeError(f"the model is in fit: it must not {do} meanwhile, as by a callback")

    def _must_be_built(self) -> None:
        if not self.built:
            raise ValueError("the model has no weights yet: give input_shape to the first layer, or call build or fit")

    def to(self, backend: str) -> Sequential:
        """Move the model to another backend; weights, optimizer state and random numbers stay. Returns the model."""
        self._must_not_be_in_fit("go to another backend")
        self.backend, self.automatic, self.why_backend = backends.get(backend), backends.is_auto(backend), ""
        for block in self.blocks():
            block.leave_device()
        self._forget_steps()
        return self

    def blocks(self) -> list[Block]:
        """The memory of all that training changes: weights, then what the optimizer keeps."""
        kept = [] if self.optimizer is None else self.optimizer.blocks
        return list(dict.fromkeys([p.block for p in self.parameters] + [block for block in kept if block is not None]))

    def settle(self) -> None:
        """Put the parameters side by side in memory, where they stay: what is captured knows their addresses.

        Layers that are added one by one are settled together, by `compile` or by what runs the model first.
        """
        side_by_side(self.trainable_parameters)
        side_by_side(self.parameters)

    def _forget_steps(self) -> None:
        """Forget what was captured, after a change."""
        self.uncaptured = ""
        self.steps = Steps(self)

    # --- training ---

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Any = None, *, run_eagerly: bool = False
    ) -> None:
        """Choose what to minimise and how. Names work in any case; `metrics` may be one name.

        A softmax or sigmoid at the end is fused with its crossentropy, which is then computed from logits.
        """
        from fastnn.metrics import get as get_metric

        self._must_not_be_in_fit("be compiled")
        if loss is None:
            raise ValueError("loss must be a name such as 'mse' or a Loss, got None")
        chosen = losses.get(loss)
        given = [] if metrics is None else list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        measured = [get_metric(m, chosen) for m in given]
        names = ["loss", *(metric.name for metric in measured)]
        if len(set(names)) < len(names):
            raise ValueError(f"metrics must have names of their own, got {', '.join(names[1:])} beside the loss")
        for metric in measured:
            if metric.integer_labels not in (None, chosen.integer_labels):
                wanted = "integer labels" if metric.integer_labels else "targets like predictions"
                raise ValueError(f"metrics: {metric.name!r} wants {wanted}, unlike the loss {type(chosen).__name__}")
        found = optimizers.get(optimizer)
        if getattr(found, "model", None) not in (None, self):
            raise ValueError("optimizer trains another model already: make a second one")
        found.model = self
        self._optimizer, self._loss, self._metrics = found, chosen, measured
        self.run_eagerly = bool(run_eagerly)
        self.settle()
        self._forget_steps()

    @property
    def begins_anew(self) -> bool:
        """True when the optimizer will forget what it keeps, since other parameters are to be trained by now."""
        return self._trained is not None and self.trainable_parameters != self._trained

    def prepare_training(self) -> None:
        """Make what the optimizer keeps for each parameter; it begins anew when other parameters are to be trained."""
        trained = self.trainable_parameters
        if trained == self.steps.trained and self.optimizer.fits(trained):
            return
        changed = self.begins_anew
        if changed:
            self.optimizer.reset()
        if changed or self.steps.trained is not None:  # they know what was trained and kept until now
            self._forget_steps()
        self.settle()
        self.optimizer.build(trained)
        self._trained = self.steps.trained = trained

    # Written in trainer.py, so that this file is about the network itself.
    fit, evaluate, predict, train_on_batch = fit, evaluate, predict, train_on_batch

    def warmup(self, batch_size: int = 32) -> None:
        """Compile ahead all that training in batches of this size runs, shuffled or in order.

        `fit` compiles as it goes; what was compiled is kept on disk.

        Raises ValueError before the model is compiled and built, TypeError or ValueError for a bad `batch_size`.
        """
        if not self.compiled or not self.built:
            raise ValueError("the model must be compiled and have its weights: call compile, then build or fit")
        rows = positive_int("batch_size", batch_size)
        self.prepare_training()
        for shuffled in (True, False):
            replay = self.steps.get("train", rows, shuffled).replay
            if replay is not None:
                replay.warm_up()

    def explain(self, batch_size: int = 32) -> Any:
        """Measure a training step kernel by kernel: a table to print, with `.rows` and `.plot(path)`."""
        from fastnn.explain import explain

        return explain(self, batch_size)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, weights and the state of training to one safetensors file, all of it or nothing."""
        from fastnn.saving import save_model

        save_model(self, path)

    @property
    def compiled(self) -> bool:
        """True once compiled."""
        return self.optimizer is not None

    def __repr__(self) -> str:
        size = math.prod(self.input_shape) if self.built else "?"
        return f"<Sequential {self.name!r}: {len(self._layers)} layers, {size} inputs, backend {self.backend.name}>"


def _free_name(kind: str, taken: list[str | None]) -> str:
    """BatchNormalization to batch_normalization, batch_normalization_1, ..."""
    base = re.sub("(?<=[a-z])(?=[A-Z])", "_", kind).lower()
    return next(name for name in (f"{base}_{i}" if i else base for i in itertools.count()) if name not in taken)
