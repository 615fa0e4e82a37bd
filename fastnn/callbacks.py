"""Ready-made callbacks: stop early, change the rate, save, log.

Names and arguments are those of Keras 3. Epochs are counted from 0 in hooks and files, from 1 in messages.
"""

from __future__ import annotations

import csv
import inspect
import io
import math
import os
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fastnn.errors import number_in, positive_int, suggest
from fastnn.files import write_whole
from fastnn.hooks import Callback, CallbackList, LambdaCallback, Logs
from fastnn.progress import say

__all__ = [
    "Callback",
    "CallbackList",
    "LambdaCallback",
    "EarlyStopping",
    "ReduceLROnPlateau",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "CSVLogger",
]

# Words in the name of a metric that tell that more of it is better.
_LARGER_IS_BETTER = {"acc", "accuracy", "auc", "f1", "iou", "precision", "r2", "recall", "similarity"}


class _Monitor(Callback):
    """Base of callbacks that follow one value of the logs; `best` is the best so far, None at first."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        super().__init__()
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of a value in the logs, got {monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = number_in("min_delta", min_delta, 0, math.inf, open_high=True)
        words = monitor.lower().split("_")
        upwards = words[-1] != "loss" and bool(_LARGER_IS_BETTER.intersection(words))
        self._sign = 1 if mode == "max" or (mode == "auto" and upwards) else -1
        self.best: float | None = None

    def _current(self, logs: Logs | None) -> float | None:
        """Return this epoch's value, None in an epoch without validation; ValueError for an unknown name."""
        logs = logs or {}
        if self.monitor in logs:
            return float(logs[self.monitor])
        validated = any(name.startswith("val_") for name in logs)
        if self.monitor.startswith("val_") and not validated:
            if self.params.get("validation_freq", 1) != 1:
                return None
            hint = " Values named val_... need validation_data or validation_split."
        else:
            hint = ""
        raise ValueError(f"{suggest('monitor', self.monitor, logs)}{hint}")

    def _improves(self, value: float, reference: float | None) -> bool:
        """Return whether `value` is better than `reference` by more than min_delta; NaN never is."""
        if reference is None:
            return not math.isnan(value)
        return self._sign * (value - reference) > self.min_delta


class EarlyStopping(_Monitor):
    """Stop when `monitor` has not become better, by more than `min_delta`, for `patience` epochs in a row.

    mode: "min", "max", or "auto" (max for accuracy and its like, else min). baseline: only epochs that are
    better than this, too, reset the count. start_from_epoch: earlier epochs are not looked at.
    restore_best_weights: at the end of training the model gets the weights of its best epoch back, also when
    training ran to its last epoch and whether or not it beat the baseline; not restored only when training
    ended before start_from_epoch.

    After training: `best` (value), `best_epoch`, `best_weights` (when restored), `stopped_epoch` (0: not
    stopped). As in Keras, training never stops at its very first epoch. Raises ValueError at the end of the
    first epoch when the logs lack `monitor`.
    """

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0,
        mode: str = "auto", baseline: float | None = None, restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = positive_int("patience", patience, minimum=0)
        self.verbose = verbose
        self.baseline = None if baseline is None else number_in("baseline", baseline, -math.inf, math.inf)
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = positive_int("start_from_epoch", start_from_epoch, minimum=0)
        self._forget()

    def _forget(self) -> None:
        self.best = None
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None
        self.stopped_epoch = 0
        self.wait = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._forget()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self._current(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self._improves(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self._improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.verbose and self.stopped_epoch:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                say(f"Restoring the weights of the best epoch, {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate by `factor` when `monitor` has not become better for `patience` epochs.

    `rate = max(rate * factor, min_lr)`; after that `cooldown` epochs are not counted. Adds "learning_rate",
    the rate the epoch was trained with, to the logs. Raises as EarlyStopping does, and TypeError when the
    optimizer has a schedule.
    """

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0,
        mode: str = "auto", min_delta: float = 0.0001, cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = number_in("factor", factor, 0, 1, open_low=True, open_high=True)
        self.patience = positive_int("patience", patience, minimum=0)
        self.verbose = verbose
        self.cooldown = positive_int("cooldown", cooldown, minimum=0)
        self.min_lr = number_in("min_lr", min_lr, 0, math.inf, open_high=True)
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        _learning_rate(self)
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self._current(logs)
        rate = _learning_rate(self)
        if logs is not None:
            logs["learning_rate"] = rate
        if value is None:
            return
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._improves(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                rate = max(rate * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = rate
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    say(f"Epoch {epoch + 1}: ReduceLROnPlateau sets the learning rate to {rate}")


class LearningRateScheduler(Callback):
    """Set the learning rate at the start of each epoch to `schedule(epoch, rate)` or `schedule(epoch)`.

    Adds "learning_rate" to the logs. Raises TypeError for a schedule that cannot be called with one or two
    numbers or gives no number, and when the optimizer has a schedule of its own; ValueError for a rate that
    is negative or not finite.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _accepts(schedule, 0, 0.1)
        if not self._takes_rate and not _accepts(schedule, 0):
            raise TypeError(f"schedule must be a function of (epoch, rate) or (epoch), got {schedule!r}")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = _learning_rate(self)
        rate = self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch)
        rate = number_in(f"the rate that schedule gives for epoch {epoch}", rate, 0, math.inf, open_high=True)
        self.model.optimizer.learning_rate = rate
        if self.verbose:
            say(f"Epoch {epoch + 1}: LearningRateScheduler sets the learning rate to {rate}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = _learning_rate(self)


class ModelCheckpoint(_Monitor):
    """Save the model after each epoch, or with `save_best_only` after each that is better than all before it.

    filepath may name `{epoch}` (counted from 1) and logs, as in "run/{epoch:02d}-{val_loss:.3f}.safetensors";
    missing folders are made. The best value is remembered over several calls of `fit`. Raises ValueError for
    a malformed filepath, and at the end of the first epoch when the logs lack a name.
    """

    def __init__(
        self, filepath: str | os.PathLike[str], monitor: str = "val_loss", verbose: int = 0,
        save_best_only: bool = False, *, mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        self.save_best_only = save_best_only
        self.verbose = verbose
        try:
            parts = list(string.Formatter().parse(self.filepath))
            self._fields = {field for _, field, _, _ in parts if field is not None}
            self.filepath.format(**{**dict.fromkeys(self._fields, 0.5), "epoch": 1})
        except (ValueError, LookupError, AttributeError) as error:
            wanted = "must name its fields as in '{epoch:02d}'"
            raise ValueError(f"filepath {wanted}, got {filepath!r}: {error}") from error

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        names = {**(logs or {}), "epoch": epoch + 1}
        for field in sorted(self._fields - names.keys()):
            raise suggest("field in filepath", field, names)
        value = self._current(logs) if self.save_best_only else None
        if self.save_best_only and (value is None or not self._improves(value, self.best)):
            return
        path = self.filepath.format(**names)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path)
        self.best = value
        if self.verbose:
            say(f"Epoch {epoch + 1}: saved the model to {path}")


class CSVLogger(Callback):
    """Write `epoch,loss,...`, one line per epoch counted from 0, to a file that is complete at every epoch.

    With `append` the lines of an existing file stay; otherwise it is emptied when training starts. A value
    that an epoch lacks is empty; a name that first comes up later gets a column of its own.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = Path(filename)
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator must be one character, got {separator!r}")
        self.separator = separator
        self.append = append
        self._columns: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        with self.filename.open("a+" if self.append else "w+", encoding="utf-8", newline="") as file:
            file.seek(0)
            self._columns = next(csv.reader(file, delimiter=self.separator), [])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row = {"epoch": epoch, **(logs or {})}
        new = [name for name in row if name not in self._columns]
        if new:
            with self.filename.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter=self.separator))
            self._columns = self._columns + new
            names = dict(zip(self._columns, self._columns, strict=True))
            write_whole(self.filename, self._text([names, *rows]).encode())
        with self.filename.open("a", encoding="utf-8", newline="") as file:
            file.write(self._text([row]))

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", delimiter=self.separator, lineterminator="\n")
        writer.writerows(rows)
        return text.getvalue()


def _learning_rate(callback: Callback) -> float:
    rate = callback.model.optimizer.learning_rate
    try:
        return float(rate)
    except TypeError:
        raise TypeError(
            f"{type(callback).__name__} sets the learning rate, but the optimizer already follows {rate!r}: "
            "give the optimizer a number, or leave the callback out"
        ) from None


def _accepts(function: Any, *arguments: Any) -> bool:
    """Return whether `function` can be called with `arguments`, as far as its signature tells."""
    try:
        inspect.signature(function).bind(*arguments)
    except ValueError:
        # Some built-in functions have no signature to look at.
        return True
    except TypeError:
        return False
    return True
