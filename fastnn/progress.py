"""Shows how a long run gets on, without freezing notebooks or flooding log files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import perf_counter
from typing import Any

SECONDS_BETWEEN_UPDATES = 0.2


class ProgressBar:
    """One line per finished epoch and, where somebody can watch, a live bar below the lines.

    `verbose`: 0 is silent; "auto" or 1 shows lines and the bar in terminals and notebooks, and only the lines
    when the output goes to a file or a pipe; 2 shows only the lines. A line reads
    `Epoch 3/5 - 1.2s - loss: 0.3456 - accuracy: 0.8765`. With `epochs` None, for a pass that is no epoch
    (evaluate, predict), it starts with the number of steps: `12/12 - 0.1s - loss: 0.3456`. `steps` is the
    number of steps per epoch, None when nobody knows it beforehand.

    Whatever the speed of the run, the screen is touched at most 5 times a second; lines of epochs shorter
    than that come several at once. Raises ValueError for another `verbose`.
    """

    def __init__(self, verbose: int | str, epochs: int | None, steps: int | None) -> None:
        if not isinstance(verbose, (int, str)) or verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
        self.verbose = verbose
        self.epochs = epochs
        self.steps = steps
        self.live = verbose in ("auto", 1) and _somebody_watches()
        self._bar: Any = None
        self._drawn_at = 0.0
        self._waiting: list[str] = []
        self._logs: Mapping[str, float] = {}
        self._epoch = 0
        self._before = 0
        self._step = 0
        self._began_at = perf_counter()

    def begin_epoch(self, epoch: int) -> None:
        """Start the clock of `epoch`, counted from 0."""
        self._before = epoch * self.steps if self.steps else self._before + self._step
        self._epoch, self._step, self._logs = epoch, 0, {}
        self._began_at = perf_counter()
        if self.live and self._bar is None:
            self._bar = self._new_bar()
            self._drawn_at = perf_counter()

    def update(self, step: int, logs: Mapping[str, float] | None = None) -> None:
        """Say that `step` steps of this epoch are done, with the values up to here."""
        self._step, self._logs = step, logs or {}
        self._draw()

    def end_epoch(self, logs: Mapping[str, float] | None = None) -> None:
        """Write the line of the epoch that began last."""
        self._step, self._logs = self.steps or self._step, logs or {}
        if not self.verbose:
            return
        name = self._epoch_name() or f"{self._step}/{self._step}"
        line = " - ".join([name, f"{perf_counter() - self._began_at:.1f}s", *_values(self._logs)])
        if self._bar is not None:
            self._waiting.append(line)
            self._draw()
        else:
            print(line, flush=True)

    def close(self) -> None:
        """Take the bar away and write the lines that wait; for every end of a run, harmless twice."""
        if self._bar is None:
            return
        self._bar.close()
        self._bar = None
        if self._waiting:
            print(*self._waiting, sep="\n", flush=True)
            self._waiting.clear()

    def _epoch_name(self) -> str:
        return "" if self.epochs is None else f"Epoch {self._epoch + 1}/{self.epochs}"

    def _new_bar(self) -> Any:
        from tqdm.auto import tqdm

        # One for all epochs: many would fill a notebook with widgets, and none could tell when the run ends.
        total = self.steps * (self.epochs or 1) if self.steps else None
        return tqdm(total=total, initial=self._before, unit="step", leave=False, dynamic_ncols=True)

    def _draw(self) -> None:
        now = perf_counter()
        if self._bar is None or now - self._drawn_at < SECONDS_BETWEEN_UPDATES:
            return
        self._bar.n = self._before + self._step
        self._bar.set_description(self._epoch_name(), refresh=False)
        self._bar.set_postfix_str(" - ".join(_values(self._logs)), refresh=False)
        if self._waiting:
            # Takes the bar away, writes above it and draws it again.
            self._bar.write("\n".join(self._waiting))
            self._waiting.clear()
        else:
            self._bar.refresh()
        self._drawn_at = now


def say(text: str) -> None:
    """Print a line, above the bar where one is shown."""
    # Only who has shown a bar has tqdm loaded.
    tqdm = sys.modules.get("tqdm")
    (print if tqdm is None else tqdm.tqdm.write)(text)


def _values(logs: Mapping[str, float]) -> list[str]:
    """Return "name: value" for each log, small values as a power of ten so that their digits are seen."""
    return [f"{name}: {value:{'.4e' if 0 < abs(value) < 1e-3 else '.4f'}}" for name, value in logs.items()]


def _somebody_watches() -> bool:
    """Return whether a bar can be redrawn in place: a notebook, or a terminal on both output streams."""
    if type(sys.stdout).__module__.startswith("ipykernel"):
        return True
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
