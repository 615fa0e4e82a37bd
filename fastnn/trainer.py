"""Training, evaluation and prediction as Keras' users know them; `passes` has what the three share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import automatic, passes
from fastnn.callbacks import CallbackList
from fastnn.checks import as_finite_pair, as_pair, as_samples, check_finite, unbuilt_if_refused
from fastnn.errors import NonFiniteError, number_in, positive_int
from fastnn.history import History
from fastnn.kernels.contract import POSITION
from fastnn.passes import ADVICE, Logs
from fastnn.progress import ProgressBar

DEFAULT_BATCH = 32
EVALUATION_BATCH = 256


def fit(
    self: Any,
    x: Any,
    y: Any,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: int | str = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    *,
    initial_epoch: int = 0,
    validation_batch_size: int | None = None,
    validation_freq: int = 1,
) -> History:
    """Train on samples x, shape (N, ...), and targets y; returns the History of losses and metrics.

    Each epoch takes all rows once, in batches of `batch_size`, 32 unless told, and a shorter last one, in an order that
    follows from the model's seed and the epoch. `validation_split` keeps the last share of the rows for validation;
    `validation_data` is a pair (x, y). verbose: 0 silent, 1 a bar, 2 a line per epoch, "auto" what fits the output.
    Raises ValueError or TypeError for bad arguments before anything changes, and NonFiniteError when data, loss or
    weights turn NaN or infinite: the weights are then those before that step.
    """
    _must_be_compiled(self)
    _must_be_free(self)
    batch_size = DEFAULT_BATCH if batch_size is None else positive_int("batch_size", batch_size)
    epochs = positive_int("epochs", epochs)
    initial_epoch = positive_int("initial_epoch", initial_epoch, minimum=0)
    validation_freq = positive_int("validation_freq", validation_freq)
    validation_split = number_in("validation_split", validation_split, 0, 1, open_high=True)
    validation_batch = _batch_size("validation_batch_size", validation_batch_size)
    validation = None
    with unbuilt_if_refused(self):
        x, y = as_pair(self, x, y)
        if validation_data is not None:
            validation = as_finite_pair(self, validation_data, "validation_data")
        elif validation_split:
            kept = int(len(x) * (1 - validation_split))
            if kept in (0, len(x)):
                raise ValueError(f"validation_split={validation_split} of {len(x)} rows leaves one part empty")
            check_finite(x[kept:], "x", first=kept)
            validation, x, y = (x[kept:], y[kept:]), x[:kept], y[:kept]
        steps = -(-len(x) // batch_size)
        bar = ProgressBar(verbose, epochs, steps)
        history = History()
        params = {"epochs": epochs, "steps": steps, "verbose": verbose, "validation_freq": validation_freq}
        hooks = CallbackList([*_listed(callbacks), history], self, params)
    if self.automatic:
        automatic.choose(self, min(batch_size, len(x)))
    x, y = self.backend.bring(x, y)
    validation = validation and self.backend.bring(*validation)
    self.history, self.stop_training = history, False
    self.prepare_training()
    logs: Logs = {}
    with _in_fit(self):
        hooks.on_train_begin()
        try:
            for epoch in range(initial_epoch, epochs):
                hooks.on_epoch_begin(epoch)
                self.prepare_training()  # the hook may have changed what is trainable
                bar.begin_epoch(epoch)
                with training(self):
                    logs = _train_epoch(self, x, y, batch_size, shuffle, bar, hooks, epoch)
                if validation is not None and (epoch + 1) % validation_freq == 0:
                    measured = passes.evaluate(self, validation[0], validation[1], validation_batch, hooks)
                    logs |= {f"val_{name}": value for name, value in measured.items()}
                bar.end_epoch(logs)
                hooks.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
        finally:
            bar.close()
            hooks.on_train_end(logs)
    return history


def evaluate(
    self: Any,
    x: Any,
    y: Any,
    batch_size: int | None = None,
    verbose: int | str = 0,
    callbacks: Any = None,
    *,
    return_dict: bool = False,
) -> Any:
    """The loss and the metrics on samples x and targets y, without training.

    Returns the loss, or [loss, metric, ...] where there are metrics, or a dict with `return_dict`.
    """
    _must_be_compiled(self)
    batch_size = _batch_size("batch_size", batch_size)
    bar = ProgressBar(verbose, None, None)
    with unbuilt_if_refused(self):
        x, y = as_pair(self, x, y)
        steps = bar.steps = -(-len(x) // batch_size)
        hooks = CallbackList(_listed(callbacks), self, {"steps": steps, "verbose": verbose})
    bar.begin_epoch(0)
    try:
        logs = passes.evaluate(self, x, y, batch_size, hooks)
        bar.end_epoch(logs)
    finally:
        bar.close()
    return _result(logs, return_dict)


def predict(
    self: Any, x: Any, batch_size: int | None = None, verbose: int | str = 0, callbacks: Any = None
) -> np.ndarray:
    """The network's output for samples x, shape (N, ...)."""
    batch_size = _batch_size("batch_size", batch_size)
    bar = ProgressBar(verbose, None, None)
    with unbuilt_if_refused(self):
        x = as_samples(self, x, "x")
        hooks = CallbackList(_listed(callbacks), self, {"steps": -(-len(x) // batch_size), "verbose": verbose})
    bar.close()
    return passes.predict(self, x, batch_size, hooks)


def train_on_batch(self: Any, x: Any, y: Any, *, return_dict: bool = False) -> Any:
    """One step on the rows of x and y as one batch; returns what `evaluate` returns, measured before the update."""
    _must_be_compiled(self)
    _must_be_free(self)
    x, y = as_pair(self, x, y)
    rows = len(x)
    self.prepare_training()
    with training(self):
        backup = self.steps.backup
        backup.take()
        passes.load(self, "train", x, y, 1)
        step = self.steps.get("train", rows)
        step.refresh()
        try:
            passes.run(self, step, 1, "")
        except NonFiniteError:
            _must_be_finite(backup)
            raise
        if not backup.finite():
            backup.restore()
            self.optimizer.iterations = backup.iterations
            _must_be_finite(backup)
            kept = "the weights would be NaN or infinite after this step; they are those before it"
            raise NonFiniteError(kept + ADVICE)
        return _result(passes.means(self, "train", rows), return_dict)


def _must_be_compiled(model: Any) -> None:
    if not model.compiled:
        raise ValueError("the model is not compiled: call compile(optimizer=..., loss=...) first")


def _must_be_free(model: Any) -> None:
    of_another_thread = model.in_fit[0] == id(model) and model.in_fit[1] != threading.get_ident()
    if model.steps.feeds["train"].busy or of_another_thread:
        raise RuntimeError("the model is being trained: a batch hook or another thread must not train it meanwhile")


def _must_be_finite(backup: Any) -> None:
    if not backup.finite():
        raise NonFiniteError("the weights were NaN or infinite before training: set others")


@contextlib.contextmanager
def _in_fit(model: Any) -> Iterator[None]:
    with model.steps.lock:
        _must_be_free(model)
        before, model.in_fit = model.in_fit, (id(model), threading.get_ident())
    try:
        yield
    finally:
        model.in_fit = before


@contextlib.contextmanager
def training(model: Any) -> Iterator[Any]:
    """Keep others from the arrays of a pass of training until it is over; then the user's data are let go."""
    steps, feed = model.steps, model.steps.feeds["train"]
    with steps.lock:
        _must_be_free(model)
        feed.busy = True
    try:
        yield feed
    finally:
        with steps.lock:
            feed.busy = False
            feed.clear()


def _listed(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def _batch_size(argument: str, value: Any) -> int:
    return EVALUATION_BATCH if value is None else positive_int(argument, value)


def _result(logs: Logs, return_dict: bool) -> Any:
    values = list(logs.values())
    return dict(logs) if return_dict else values if len(values) > 1 else values[0]


def _train_epoch(
    model: Any, x: Any, y: Any, batch_size: int, shuffle: bool, bar: Any, hooks: Any, epoch: int
) -> Logs:
    rows = len(x)
    batch_size = min(batch_size, rows)
    backup = model.steps.backup
    backup.take()
    parts = passes.cut(model.steps, "train", rows, batch_size, shuffle or passes.in_order(x) is not None)
    order = model.steps.shuffle(rows)(model.epochs_trained) if shuffle else None
    passes.load(model, "train", x, y, -(-rows // batch_size), order)
    during = f" of epoch {epoch + 1}"
    try:
        for step, count in parts:
            step.refresh()
            _train_part(model, step, count, batch_size, bar, hooks, during)
            if model.stop_training:
                break
        broken = not backup.finite()
    except NonFiniteError:
        broken = not backup.finite()
        if not broken:
            raise
    if broken:
        where = f"step {backup.rewind(parts) + 1}{during}"
        _must_be_finite(backup)
        kept = "the weights are those before that step"
        raise NonFiniteError(f"the weights would be NaN or infinite after {where}; {kept}{ADVICE}")
    model.epochs_trained += 1
    return passes.means(model, "train", batch_size)


def _train_part(model: Any, step: Any, count: int, batch_size: int, bar: Any, hooks: Any, during: str) -> None:
    """Replay one step `count` times, or until a callback stops the training."""
    feed = step.feed
    # Stopped before its first step, it makes one, as in Keras.
    for size in passes.slices(step, count, hooks.wants_batches or model.stop_training):
        if hooks.wants_batches:
            position = int(feed.clock[POSITION])
            hooks.on_train_batch_begin(position)
            # The hook may have set another rate.
            feed.table.array[position] = model.optimizer.table(model.optimizer.iterations, 1)
        passes.run(model, step, size, during)
        if hooks.wants_batches:
            hooks.on_train_batch_end(int(feed.clock[POSITION]) - 1, passes.means(model, "train", batch_size))
        if bar.live:
            bar.update(int(feed.clock[POSITION]), passes.means(model, "train", batch_size))
        if model.stop_training:
            break
