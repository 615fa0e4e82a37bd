"""Times fastnn and its peers in turns, and holds the numbers against the goals."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn.gpucheck.peers import PEERS, Sizes, Train

ROUNDS = 5  # of which the median counts
TURN_SECONDS = 0.1  # as many epochs as take so long, in one call


class Cell(NamedTuple):
    """One network at one batch size and precision, `steps` to an epoch."""

    sizes: Sizes
    batch: int
    steps: int
    precision: str = "float32"  # or "tf32"

    @property
    def net(self) -> str:
        """(784, 100, 10) is called 784-100-10."""
        return "-".join(map(str, self.sizes))

    @property
    def flops(self) -> float:
        """Floating-point operations of a step's products: forward, both gradients, and none for the input's."""
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        return self.batch * sum(2 * i * o * (3 if k else 2) for k, (i, o) in enumerate(pairs))


MLP, LARGE = Cell((784, 256, 128, 10), 128, 468), Cell((4096, 4096, 4096), 8192, 4)
CELLS = [
    MLP, MLP._replace(precision="tf32"), LARGE, LARGE._replace(precision="tf32"),
    Cell((30, 16, 2), 32, 1000), Cell((784, 1024, 1024, 10), 256, 200),
]  # fmt: skip


def data(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal rows and labels, the same for all."""
    rng, rows = np.random.default_rng(0), cell.batch * cell.steps
    return rng.standard_normal((rows, cell.sizes[0]), np.float32), rng.integers(0, cell.sizes[-1], rows)


def measure(cell: Cell, rounds: int = ROUNDS, names: Sequence[str] = tuple(PEERS)) -> dict[str, Any]:
    """Microseconds per step of everybody who can run here, in turns A B C, C B A, ...; who cannot is named with why."""
    x, y = data(cell)
    ready: dict[str, Train] = {}
    missing, loss = {}, {}
    for name in names:
        try:
            train = PEERS[name](cell.sizes, cell.batch, x, y, cell.precision == "tf32")
            loss[name] = [train(1), train(1)]  # which also compile, capture and warm up
            ready[name] = train
        except ImportError as error:
            missing[name] = f"not installed ({error})"
        except Exception as error:  # whatever a library does, the others are still timed
            if name == "fastnn":
                raise
            missing[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    epochs = {name: max(1, math.ceil(TURN_SECONDS / _seconds(train, 1))) for name, train in ready.items()}
    runs: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(rounds):
        for name in list(ready)[:: -1 if turn % 2 else 1]:
            runs[name].append(_seconds(ready[name], epochs[name]) / cell.steps * 1e6)
    us: dict[str, Any] = {name: {"median": statistics.median(times), "runs": times} for name, times in runs.items()}
    return {
        "net": cell.net, "batch": cell.batch, "precision": cell.precision, "steps": cell.steps, "us": us,
        "loss": loss, "missing": missing, "tflops": cell.flops / us["fastnn"]["median"] / 1e6,
    }  # fmt: skip


def _seconds(train: Train, epochs: int) -> float:
    """Of an epoch."""
    start = time.perf_counter()
    train(epochs)
    return max((time.perf_counter() - start) / epochs, 1e-9)


def goals(timings: Sequence[Mapping[str, Any]], ceilings: Mapping[str, float]) -> list[dict[str, Any]]:
    """What was wanted and what was reached, as far as it was measured; ratios above 1 say that fastnn is faster."""
    found: list[dict[str, Any]] = []

    def note(goal: str, wanted: float, reached: float, most: bool = False) -> None:
        met = reached <= wanted if most else reached >= wanted
        found.append({"goal": goal, "wanted": wanted, "reached": reached, "met": met})

    for cell in timings:
        where = f"{cell['net']}, batch {cell['batch']}, {cell['precision']}"
        us = {name: times["median"] for name, times in cell["us"].items()}
        if cell["net"] == MLP.net and cell["batch"] == MLP.batch:
            if cell["precision"] == "float32":
                note(f"microseconds a step of {where}, at most", 40.0, us["fastnn"], most=True)
            for name, wanted in WANTED.items():
                if name in us:
                    note(f"{name} over fastnn, {where}", wanted, us[name] / us["fastnn"])
        elif cell["net"] == LARGE.net and f"{cell['precision']}_tflops" in ceilings:
            rate = cell["tflops"] / ceilings[f"{cell['precision']}_tflops"]
            note(f"share of cuBLASLt's own rate, {where}", 0.95, rate)
    return found


WANTED = {"torch eager, fused Adam": 5.0, "torch.compile reduce-overhead": 2.5, "torch, step captured by hand": 1.1}
