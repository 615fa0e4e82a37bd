"""One step of training, evaluation or prediction as code over kernels, and its replay, captured or eager."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import random
from fastnn.backup import Backup
from fastnn.capture import Eager, NotCapturable, Ops, Port, Recorder, naming
from fastnn.interrupts import Deferred
from fastnn.kernels.contract import ITERATION, POSITION, ROW
from fastnn.kernels.host import HostBackend
from fastnn.layers.base import in_use
from fastnn.program import Program

BAD_INPUT, BAD_LOSS = 1, 2  # bits of the fault word
LOSS, PENALTY = 0, 1  # columns of the ring; the metrics follow
FIRST_STEPS = 16  # in the first slice of a pass, before any was timed
_CALLED = {"test": "evaluate", "predict": "predict"}  # what makes such a pass
KEPT = 64  # programs of a model: each holds the memory of one step


class Feed:
    """The arrays that a run of steps reads and writes, as ports: they change between replays."""

    def __init__(self) -> None:
        self.x, self.target, self.order = Port("x"), Port("target"), Port("order")
        self.table, self.ring, self.out = Port("table"), Port("ring"), Port("out")
        self.clock = np.zeros(3, np.int64)
        self.fault = np.zeros(1, np.int64)
        self.busy = False  # with a pass of the thread that holds the lock

    def clear(self) -> None:
        """Let go of the data, which may be large and is not ours."""
        for port in (self.x, self.target, self.order, self.out):
            port.array = None


def predict_step(model: Any, feed: Feed, rows: int, ops: Ops, shuffled: bool) -> None:
    """Rows of feed.x through the network into the same rows of feed.out."""
    x = ops.empty((rows, *model.input_shape))
    ops.gather(feed.x, feed.order if shuffled else None, ops.clock, x)
    ops.scatter(model.forward(ops, x, False), ops.clock, feed.out)


def loss_step(model: Any, feed: Feed, rows: int, ops: Ops, training: bool, shuffled: bool) -> Any:
    """Gather a batch, run forward, write loss and metrics to the ring; in training, return the loss' gradient."""
    loss = model.loss
    x = ops.empty((rows, *model.input_shape))
    order = feed.order if shuffled else None
    ops.gather(feed.x, order, ops.clock, x)
    ops.check_finite(x, ops.fault, BAD_INPUT)
    if loss.integer_labels:
        target = ops.empty((rows,), np.int64)
        ops.gather(feed.target, order, ops.clock, target.reshape((rows, 1)))
    else:
        target = ops.empty((rows, *model.output_shape))
        ops.gather(feed.target, order, ops.clock, target)
        target = target.reshape((rows, -1))
    z = model.forward(ops, x, training, head=False)
    z = z.reshape((rows, -1))
    values = ops.empty((rows,))
    dz = ops.empty(z.shape) if training else None
    y = z
    with naming(f"loss {type(loss).__name__}"):
        wanted = loss.smooth(ops, target)  # metrics take the user's
        if model.fuses or (loss.from_logits and loss.takes_logits):
            probabilities = ops.empty(z.shape)
            y = z if loss.from_logits else probabilities
            loss.compute_from_logits(ops, z, wanted, probabilities, values, dz, 1 / rows)
        else:
            loss.compute(ops, z, wanted, values, dz, 1 / rows)
    ops.check_finite(values.reshape((rows, 1)), ops.fault, BAD_LOSS)
    ops.record(values, ops.clock, feed.ring, LOSS)
    for parameter in model.regularized:
        r = parameter.regularizer
        ops.penalty(parameter.value, ops.clock, feed.ring, PENALTY, r.l1, r.l2)
    for column, metric in enumerate(model.metrics, PENALTY + 1):
        hits = ops.empty((rows,))
        with naming(f"metric {metric.name!r}"):
            metric.compute(ops, y, target, hits)
        ops.record(hits, ops.clock, feed.ring, column)
    return dz


def update_step(model: Any, feed: Feed, ops: Ops) -> None:
    """Change every trainable parameter by its gradient."""
    for parameter in model.regularized:
        r = parameter.regularizer
        ops.regularize(parameter.value, parameter.gradient, r.l1, r.l2)
    with naming(f"optimizer {type(model.optimizer).__name__}"):
        for parameter, slots in zip(model.trainable_parameters, model.optimizer.slots, strict=True):
            model.optimizer.update(ops, parameter, slots, feed.table)


class Step:
    """One kind of step for one number of rows: `run(steps)` repeats it, and advances the clock."""

    def __init__(self, model: Any, feed: Feed, kind: str, rows: int, shuffled: bool) -> None:
        self.model, self.feed, self.kind, self.rows, self.shuffled = model, feed, kind, rows, shuffled
        self.at_once = FIRST_STEPS  # in a slice, between turns of callbacks and progress bar
        self.replay = None if model.run_eagerly else self._capture()
        self._blocks = model.blocks() if isinstance(model.backend, HostBackend) else []

    def _capture(self) -> Any:
        recorder = Recorder(self.model.backend, self.model.dtype, self.feed.clock, self.feed.fault)
        try:
            with self.model.steps.stepping(), recorder:
                self._forward_backward(recorder)
                self._update(recorder)
        except NotCapturable as reason:
            if not self.model.uncaptured:
                warnings.warn(f"{reason}. The model runs without capture, a step at a time in Python.", stacklevel=2)
            self.model.uncaptured = str(reason)
            return None
        program = Program(recorder.launches, self.rows, self.feed.clock, self.feed.fault)
        return self.model.backend.replay(program)

    def _forward_backward(self, ops: Ops) -> None:
        if self.kind == "predict":
            predict_step(self.model, self.feed, self.rows, ops, self.shuffled)
            return
        dy = loss_step(self.model, self.feed, self.rows, ops, self.kind == "train", self.shuffled)
        if self.kind == "train":
            self.model.backward(ops, dy.reshape((self.rows, *self.model.output_shape)))

    def _update(self, ops: Ops) -> None:
        if self.kind == "train":
            update_step(self.model, self.feed, ops)

    def refresh(self) -> None:
        """Take the arrays that now stand in the feed."""
        for block in self._blocks:
            block.write()  # a layer may be part of another model, too, which trains on a device
        if self.replay is not None:
            self.replay.refresh()

    def run(self, steps: int) -> int:
        """Run up to `steps` steps; returns how many were finished before a fault."""
        if self.replay is not None:
            return self.replay.run(steps)
        clock = self.feed.clock
        ops = Eager(self.model.backend, self.model.dtype, clock, self.feed.fault)
        with Deferred() as interrupt:
            for step in range(steps):
                interrupt.check()
                with self.model.steps.stepping():
                    self._forward_backward(ops)
                    if self.feed.fault[0]:
                        return step
                    self._update(ops)
                clock[POSITION] += 1
                clock[ITERATION] += 1
                clock[ROW] += self.rows
        return steps


class Steps:
    """The steps of a model, captured on first use for each kind and number of rows.

    Each kind has a feed of its own, so that a callback may predict while training goes on.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.feeds = {kind: Feed() for kind in ("train", "test", "predict")}
        self.backup = Backup(model)
        self.trained: list[Any] | None = None  # the parameters that these steps change, once that was settled
        self._shuffle: random.Shuffle | None = None
        self._stepping = False
        self.lock = threading.RLock()  # of the feeds
        self._made = functools.lru_cache(KEPT)(self._make)
        _all.add(self)

    def after_fork(self) -> None:
        """In a forked child: what other threads did with them, they do no more."""
        self.lock = threading.RLock()
        if self.model.in_fit[1] != threading.get_ident():
            self.model.in_fit = (0, 0)
        for feed in self.feeds.values():
            feed.busy = False

    @contextlib.contextmanager
    def using(self, kind: str) -> Iterator[Feed]:
        """Keep others from a feed until a pass over the data is over; then the data, which are the user's, are let go.

        Other threads wait. Raises RuntimeError where a hook of a pass asks for another one of that kind.
        """
        feed = self.feeds[kind]
        with self.lock:
            if feed.busy:
                raise RuntimeError(f"a hook of {_CALLED[kind]} must not call {_CALLED[kind]} of the same model")
            feed.busy = True
            try:
                yield feed
            finally:
                feed.busy = False
                feed.clear()

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Run layers, which keep on themselves what backward needs. Other threads wait.

        Raises RuntimeError where what runs within a step, such as a metric, asks for another one.
        """
        with in_use:
            if self._stepping:
                raise RuntimeError("the model runs a step: a layer, loss or metric must not run the model meanwhile")
            self._stepping = True
            try:
                yield
            finally:
                self._stepping = False

    def get(self, kind: str, rows: int, shuffled: bool = False) -> Step:
        """The step of that kind for a batch of so many rows."""
        with self.lock:
            penalized = tuple(self.model.regularized) if kind == "test" else ()  # changes with what is trainable
            return self._made(kind, rows, shuffled, penalized)

    def shuffle(self, rows: int) -> random.Shuffle:
        """The orders of so many rows."""
        if self._shuffle is None or self._shuffle.n != rows:
            self._shuffle = random.Shuffle(self.model.seed, rows, self.model.backend.shuffler)
        return self._shuffle

    def _make(self, kind: str, rows: int, shuffled: bool, _penalized: tuple) -> Step:
        self.model.settle()
        return Step(self.model, self.feeds[kind], kind, rows, shuffled)

    def __reduce__(self) -> Any:
        return Steps, (self.model,)  # a copy of the model captures its own: a program holds addresses of arrays


_all: weakref.WeakSet[Steps] = weakref.WeakSet()


def _after_fork() -> None:
    for steps in _all:
        steps.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
