"""What a training step is made of: every kernel of the captured program, its time and its share of this machine."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastnn.capture import Launch, Port
from fastnn.errors import positive_int
from fastnn.kernels.host import HostBackend
from fastnn.program import Program
from fastnn.steps import PENALTY, Feed
from fastnn.trainer import training

REPEATS = 200
SECONDS = 0.03  # for each kernel, at most


@dataclass(frozen=True)
class Row:
    """One kernel of the program. `flop` counts multiply and add each; `bytes` is what it reads and writes."""

    phase: int
    kernel: str
    shapes: str
    split: str
    group: int  # kernels of one group take turns tile by tile
    microseconds: float  # alone, with its data in the cache, on as many threads as are best for it
    share: float  # of the sum over all kernels
    flop: int
    bytes: int
    gflops: float
    ceiling_share: float | None  # of the measured multiply-add rate of so many cores


class Explanation:
    """The table of a captured program: `rows`, and for the whole step `microseconds`, `threads`, `barriers`."""

    def __init__(self, rows: list[Row], microseconds: float, threads: int, barriers: int, title: str) -> None:
        self.rows, self.microseconds, self.threads, self.barriers = rows, microseconds, threads, barriers
        self.title = title
        self.flop = sum(row.flop for row in rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text."""
        whole = {name: getattr(self, name) for name in ("title", "microseconds", "threads", "barriers", "flop")}
        return {**whole, "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        head = ("phase", "group", "kernel", "shapes", "split", "us", "share", "MFLOP", "KB", "GFLOP/s", "ceiling")
        lines = [head]
        for r in self.rows:
            ceiling = "" if r.ceiling_share is None or not r.flop else f"{r.ceiling_share:.0%}"
            rate = f"{r.gflops:.1f}" if r.flop else ""
            lines.append((
                str(r.phase), str(r.group), r.kernel, r.shapes, r.split, f"{r.microseconds:.2f}", f"{r.share:.0%}",
                f"{r.flop / 1e6:.3f}", f"{r.bytes / 1024:.1f}", rate, ceiling,
            ))  # fmt: skip
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        sides = ">><<<>>>>>>"
        text = ["  ".join(f"{c:{s}{w}}" for c, s, w in zip(line, sides, widths, strict=True)) for line in lines]
        gflops = self.flop / self.microseconds / 1e3
        total = (
            f"whole step: {self.microseconds:.2f} us on {self.threads} thread(s), {self.barriers} barriers, "
            f"{self.flop / 1e6:.2f} MFLOP, {gflops:.1f} GFLOP/s"
        )
        return "\n".join([self.title, *text, total])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A bar for every kernel, as long as its time; returns the Matplotlib figure, saved when a path is given."""
        from fastnn.history import new_figure

        figure = new_figure((8, 0.3 * len(self.rows) + 1.2))
        axes = figure.add_subplot()
        names = [f"{r.kernel} {r.shapes}" for r in self.rows]
        colours = [f"C{r.phase}" for r in self.rows]
        axes.barh(range(len(names)), [r.microseconds for r in self.rows], color=colours)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel("microseconds alone, on as many threads as are best for it; a colour for each phase")
        axes.set_title(self.title, fontsize=9)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def explain(model: Any, batch_size: int = 32) -> Explanation:
    """Measure a training step of a compiled and built model; weights and optimizer come back as they were."""
    from fastnn.doctor import ceilings

    if not model.compiled or not model.built:
        raise ValueError("the model must be compiled and have its weights: call compile, then build or fit")
    rows = positive_int("batch_size", batch_size)
    with on_noise(model, rows) as step:
        if step is None:
            why = model.uncaptured or "run_eagerly"
            raise ValueError(f"the model runs without capture ({why}): there is no program")
        peaks = ceilings().gflops.get(model.dtype.name, {}) if isinstance(model.backend, HostBackend) else {}
        return _measure(model, step, rows, peaks)


@contextlib.contextmanager
def on_noise(model: Any, rows: int) -> Iterator[Any]:
    """A captured training step with noise in its feed, or None; weights and optimizer come back as they were."""
    model.optimizer.build(model.trainable_parameters)
    step = model.steps.get("train", rows, True)
    if step.replay is None:
        yield None
        return
    with training(model) as feed:
        backup = model.steps.backup
        backup.take()
        _load_noise(model, feed, rows)
        try:
            yield step
        finally:
            backup.restore()


def _load_noise(model: Any, feed: Feed, rows: int) -> None:
    """One batch of noise in the feed, with room for as many steps as are measured: its rows do not advance."""
    rng, most = np.random.default_rng(0), REPEATS
    features = int(np.prod(model.input_shape))
    feed.x.array = rng.standard_normal((rows, features)).astype(model.dtype)
    outputs = int(np.prod(model.output_shape))
    if model.loss.integer_labels:
        feed.target.array = rng.integers(0, model.output_shape[-1], (rows, 1))
    else:
        feed.target.array = rng.random((rows, outputs)).astype(model.dtype)
    feed.order.array = np.arange(rows)
    feed.ring.array = np.zeros((most, PENALTY + 1 + len(model.metrics)))
    feed.table.array = model.optimizer.table(model.optimizer.iterations, most)
    feed.table.array[:, 0] = 0  # nothing is learned here
    feed.clock[:] = 0


def step_seconds(model: Any, feed: Feed, launches: list[Launch]) -> tuple[float, Any]:
    """The least time of a step of these launches alone, and the replay that took it."""
    replay = model.backend.replay(Program(launches, 0, feed.clock, feed.fault))
    replay.refresh()
    feed.clock[:] = 0  # the ring and the table have REPEATS rows
    replay.run(1)  # compiles, and fills the caches
    best, spent, steps = np.inf, 0.0, 1
    while spent < SECONDS or not replay.threads:  # which are being measured, too
        feed.clock[:] = 0
        start = time.perf_counter()
        replay.run(steps)
        elapsed = time.perf_counter() - start
        best, spent = min(best, elapsed / steps), spent + elapsed
        steps = max(1, min(REPEATS, int(0.1 * SECONDS / best)))
    return best, replay


def _measure(model: Any, step: Any, rows: int, peaks: dict[int, float]) -> Explanation:
    program, timed = step.replay.program, []
    for phase, launches in enumerate(program.phases):
        timed += [(phase, launch, *step_seconds(model, step.feed, [launch])) for launch in launches]
    whole, replay = step_seconds(model, step.feed, program.launches)
    total = sum(seconds for _, _, seconds, _ in timed)
    table = []
    for phase, launch, seconds, alone in timed:
        peak = peaks.get(alone.threads) or max(peaks.values(), default=None)
        flop, size = flops(launch), _bytes(launch)
        gflops = flop / seconds / 1e9
        table.append(Row(
            phase, launch.kernel.name, _shapes(launch), launch.kernel.split, step.replay.group_of(launch),
            seconds * 1e6, seconds / total, flop, size, gflops, gflops / peak if peak else None,
        ))  # fmt: skip
    title = f"{model.name}: training step, batch {rows}, {model.backend.name}, {model.dtype.name}"
    return Explanation(table, whole * 1e6, replay.threads, len(program.phases), title)


def flops(launch: Launch) -> int:
    """Multiplications and additions of the matrix products; other kernels are bound by memory and count none."""
    if launch.kernel.name not in ("dense", "dense_dx", "dense_dweight"):
        return 0
    sizes: dict[str, int] = {}
    for array, value in zip(launch.kernel.arrays, launch.arrays, strict=True):
        if isinstance(value, np.ndarray):
            sizes |= dict(zip(array.axes, value.shape, strict=True))
    return 2 * sizes["N"] * sizes["I"] * sizes["O"]


def _bytes(launch: Launch) -> int:
    """What a launch reads and writes; of a port, as many rows as the launch has."""
    total = 0
    for value in launch.arrays:
        if isinstance(value, Port) and value.array is not None:
            total += value.array.nbytes // max(len(value.array), 1) * launch.count
        elif isinstance(value, np.ndarray):
            total += value.nbytes
    return total


def _shapes(launch: Launch) -> str:
    """The shape of what is computed from and of what is written."""
    named = zip(launch.kernel.arrays, launch.arrays, strict=True)
    shapes = ["x".join(map(str, v.shape)) for a, v in named if isinstance(v, np.ndarray) and a.name != "clock"]
    return " ".join(shapes[:3])
