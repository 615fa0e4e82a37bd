"""One pass over data: arrays go into the feed, steps are replayed, sums come out, and faults are told in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn.callbacks import CallbackList
from fastnn.capture import Port
from fastnn.errors import NonFiniteError
from fastnn.kernels.contract import ITERATION, POSITION, ROW
from fastnn.memory import Shape, on_host
from fastnn.steps import BAD_INPUT, PENALTY, Step, Steps

SLICE_SECONDS = 0.05
ADVICE = ": try a smaller learning rate"

Logs = dict[str, float]


def cut(steps: Steps, kind: str, rows: int, batch_size: int, ordered: bool) -> list[tuple[Any, int]]:
    """The full batches of a pass, and the short last one, as (step, how often); `ordered` where there is an order."""
    full, rest = divmod(rows, batch_size)
    parts = [(batch_size, full), (rest, 1)]
    return [(steps.get(kind, size, ordered), count) for size, count in parts if size and count]


def slices(step: Step, count: int, one_by_one: bool) -> Iterator[int]:
    """Numbers that add up to `count`: so many steps are run before callbacks, progress bar and keyboard get a turn.

    One by one where a callback wants every batch, else as many as take about SLICE_SECONDS by what the last ones took,
    in this pass or in one before.
    """
    while count:
        size = 1 if one_by_one else min(step.at_once, count)
        start = time.perf_counter()
        yield size
        elapsed = time.perf_counter() - start
        count -= size
        fitting = int(size * SLICE_SECONDS / max(elapsed, 1e-6))
        if not one_by_one and (size == step.at_once or fitting < step.at_once):
            step.at_once = max(1, min(8 * step.at_once, fitting))


def as_rows(array: Any) -> Any:
    """The same with two axes; the array itself where it has."""
    return array if array.ndim == 2 else array.reshape(len(array), -1)


def in_order(x: Any) -> np.ndarray | None:
    """The order of rows that are not shuffled; only data that do not fit into a device's memory need one."""
    return getattr(x, "order", None)


def _room(port: Port, shape: Shape) -> np.ndarray:
    """Memory of this shape in a port: what is there, if it fits, so that its address need not be told anew."""
    if port.array is None or port.array.shape != shape:
        port.array = np.empty(shape)
    return port.array


def load(model: Any, kind: str, x: Any, y: Any, steps: int, order: np.ndarray | None = None) -> None:
    """Put data, an empty ring and rates to train with into the feed, and the clock at the beginning of a pass."""
    feed = model.steps.feeds[kind]
    feed.x.array, feed.target.array = as_rows(x), as_rows(y)
    feed.order.array = in_order(x) if order is None else order
    _room(feed.ring, (steps, PENALTY + 1 + len(model.metrics))).fill(0)
    optimizer = model.optimizer
    if kind == "train":
        optimizer.fill(_room(feed.table, (steps, optimizer.columns)), optimizer.iterations)
    feed.clock[POSITION], feed.clock[ITERATION], feed.clock[ROW] = 0, optimizer.iterations, 0
    feed.fault[0] = 0


def run(model: Any, step: Any, count: int, during: str) -> None:
    """Run steps and raise where data or loss were not finite."""
    try:
        with model.steps.lock:
            step.run(count)
    finally:  # also where the keyboard interrupts
        if step.kind == "train":
            model.optimizer.iterations = int(step.feed.clock[ITERATION])
    if step.feed.fault[0]:
        _raise_fault(step, during)


def _raise_fault(step: Any, during: str) -> None:
    feed = step.feed
    code, first = int(feed.fault[0]), int(feed.clock[ROW])
    feed.fault[0] = 0
    where = f"step {int(feed.clock[POSITION]) + 1}{during}"
    if code & BAD_INPUT:
        rows = np.arange(first, first + step.rows)
        if step.shuffled:
            rows = feed.order.array[rows]
        bad = min(row for row in rows.tolist() if not np.isfinite(on_host(feed.x.array[row])).all())
        kept = "; the weights are those before that step" if step.kind == "train" else ""
        raise NonFiniteError(f"x must be finite, got NaN or infinity in row {bad} (at {where}){kept}")
    kept = "; the weights are those before that step" + ADVICE if step.kind == "train" else ""
    raise NonFiniteError(f"the loss is NaN or infinite at {where}{kept}")


def means(model: Any, kind: str, batch_size: int) -> Logs:
    """Means over the steps of the pass that are done; all but the last one took `batch_size` rows."""
    feed = model.steps.feeds[kind]
    steps, _, rows = feed.clock.tolist()
    ring = feed.ring.array[:steps]
    loss, penalty, *sums = ring.T.copy().sum(axis=1).tolist()  # a sum over rows this short takes four times as long
    if penalty:
        sizes = np.full(steps, float(batch_size))
        sizes[-1] = rows - batch_size * (steps - 1)
        loss += float(ring[:, PENALTY] @ sizes)
    values = {"loss": loss / rows}
    for metric, total in zip(model.metrics, sums, strict=True):
        values[metric.name] = total / rows
    return values


def evaluate(model: Any, x: Any, y: Any, batch_size: int, hooks: CallbackList) -> Logs:
    """The means of loss and metrics over all rows."""
    batch_size = min(batch_size, len(x))
    steps = -(-len(x) // batch_size)
    if steps > 1:
        x, y = model.backend.bring(x, y)
    with model.steps.using("test") as feed:
        load(model, "test", x, y, steps)
        hooks.on_test_begin()
        for step, count in cut(model.steps, "test", len(x), batch_size, in_order(x) is not None):
            step.refresh()
            for size in slices(step, count, hooks.wants_test_batches):
                if hooks.wants_test_batches:
                    hooks.on_test_batch_begin(int(feed.clock[POSITION]))
                run(model, step, size, " of the evaluation")
                if hooks.wants_test_batches:
                    hooks.on_test_batch_end(int(feed.clock[POSITION]) - 1, means(model, "test", batch_size))
        logs = means(model, "test", batch_size)
    hooks.on_test_end(logs)
    return logs


def predict(model: Any, x: Any, batch_size: int, hooks: CallbackList) -> np.ndarray:
    """The network's output for all rows."""
    out = np.empty((len(x), *model.output_shape), model.dtype)
    if len(x) > batch_size:
        (x,) = model.backend.bring(x)
    with model.steps.using("predict") as feed:
        feed.x.array, feed.out.array, feed.order.array = x.reshape(len(x), -1), out.reshape(len(x), -1), in_order(x)
        feed.clock[POSITION] = feed.clock[ROW] = 0
        hooks.on_predict_begin()
        for step, count in cut(model.steps, "predict", len(x), batch_size, in_order(x) is not None):
            step.refresh()
            for size in slices(step, count, hooks.wants_predict_batches):
                hooks.on_predict_batch_begin(int(feed.clock[POSITION]))
                run(model, step, size, "")
                hooks.on_predict_batch_end(int(feed.clock[POSITION]) - 1)
    hooks.on_predict_end()
    return out
