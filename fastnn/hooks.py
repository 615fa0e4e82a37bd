"""What the trainer calls while it works: the hooks of a callback, and several callbacks called as one.

Names and arguments are those of Keras 3. Epochs are counted from 0.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastnn.errors import suggest

Logs = dict[str, Any]


class Callback:
    """Base of all callbacks: override the hooks you need.

    `logs` is a dict of floats, the same one for all callbacks, so that later ones see what earlier ones add.
    `self.model` and `self.params` ("epochs", "steps", "verbose") are set before the first hook. Overriding a
    batch hook makes training come back to Python for every batch, which costs speed on small networks.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: Mapping[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Take the model that is being run."""
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Take the numbers of the run."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Run when `fit` starts."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Run when `fit` is done, stopped early or not."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Run before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Run after an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Run before a training step."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Run after a training step; the values are means over the epoch up to here."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Run when `evaluate`, or the validation of an epoch, starts."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Run when `evaluate`, or the validation of an epoch, is done."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Run before a batch of `evaluate` or validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Run after a batch of `evaluate` or validation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Run when `predict` starts."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Run when `predict` is done."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Run before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Run after a batch of `predict`."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class CallbackList(Callback):
    """Several callbacks called as one, in order.

    `wants_batches` tells the trainer whether any of them overrides a train-batch hook; only then must it come
    back to Python for every batch. `wants_test_batches` and `wants_predict_batches` say the same for the
    other batch hooks. Raises TypeError for anything that is not a Callback.
    """

    def __init__(
        self, callbacks: Iterable[Callback], model: Any, params: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            _check_callback(callback)
        self.set_params(params)
        self.set_model(model)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    @functools.cached_property
    def wants_batches(self) -> bool:
        """True when a callback has hooks of training steps."""
        return self._overrides("on_train_batch_begin", "on_train_batch_end")

    @functools.cached_property
    def wants_test_batches(self) -> bool:
        """True when a callback has hooks of the batches of an evaluation."""
        return self._overrides("on_test_batch_begin", "on_test_batch_end")

    @functools.cached_property
    def wants_predict_batches(self) -> bool:
        """True when a callback has hooks of the batches of a prediction."""
        return self._overrides("on_predict_batch_begin", "on_predict_batch_end")

    def _overrides(self, *hooks: str) -> bool:
        for callback, hook in itertools.product(self.callbacks, hooks):
            method = getattr(callback, hook)
            # A hook may also be a plain function on the object, as LambdaCallback has them.
            if getattr(method, "__func__", method) is not getattr(Callback, hook):
                return True
        return False


def _call_each(hook: str) -> Callable[..., None]:
    """Return the method of CallbackList that calls `hook` of each callback, with a dict even without logs."""

    def call(self: CallbackList, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            getattr(callback, hook)(logs)

    def call_numbered(self: CallbackList, number: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            getattr(callback, hook)(number, logs)

    return call_numbered if "epoch" in hook or "batch" in hook else call


for _hook in HOOKS:
    setattr(CallbackList, _hook, _call_each(_hook))


def _check_callback(callback: object) -> None:
    if not isinstance(callback, Callback):
        hint = ": give an object, not the class" if inspect.isclass(callback) else ""
        raise TypeError(f"callbacks must hold Callback objects, got {callback!r}{hint}")
    for old in ("on_batch_begin", "on_batch_end"):
        # Keras' old names would be ignored silently.
        if hasattr(callback, old):
            new = old.replace("on_", "on_train_")
            raise TypeError(f"{type(callback).__name__}.{old} would never be called: name it {new}")


class LambdaCallback(Callback):
    """A callback made of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs))`.

    Raises ValueError for a name that is no hook, TypeError for a value that cannot be called.
    """

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        super().__init__()
        for name, function in functions.items():
            if name not in HOOKS:
                raise suggest("hook", name, HOOKS)
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be a function, got {function!r}")
        for name, function in functions.items():
            if function is not None:
                setattr(self, name, function)
