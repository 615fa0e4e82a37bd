"""Data that do not fit into the GPU's memory: a window of two halves; steps read one while the other is filled.

Rows come in the order in which the steps take them, so row i of the epoch lies at place i mod (rows of the window).
That is what the program's `gather` is given as the order, and all else is as with data that fit: the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from fastnn.kernels.cupy_ import device

HALF = 64 * device.MIB  # bytes of a half, of all arrays together
SHARE = 8  # a half takes at most one part of so many of the GPU's free memory; data leave one of all there is


class Source:
    """Where streamed rows come from, whatever shape they have; the first one of several knows their window."""

    window: Window | None = None


class Streamed:
    """A host array that is read through a window."""

    def __init__(self, host: np.ndarray, source: Source | None = None) -> None:
        self.host, self.source = host, source or Source()
        self.shape, self.ndim, self.dtype, self.nbytes = host.shape, host.ndim, host.dtype, host.nbytes

    @property
    def order(self) -> np.ndarray:
        """The order of the rows where nothing else is said: even then a step reads them at places of the window."""
        return np.arange(len(self.host))

    def __len__(self) -> int:
        return len(self.host)

    def __getitem__(self, rows: Any) -> Streamed:
        return Streamed(self.host[rows])

    def reshape(self, *shape: Any) -> Streamed:
        """The same rows in another shape."""
        return Streamed(self.host.reshape(*shape), self.source)

    def get(self) -> np.ndarray:
        """The array on the host."""
        return self.host


class Window:
    """The device's part of some streamed arrays of as many rows, for one pass after another.

    A half is filled on a second stream, after the steps that read what it held before (`_free`), and by way of memory
    that the device can read while the host goes on; steps wait until it is full (`_full`).
    """

    def __init__(self, arrays: Sequence[Streamed], batch: int) -> None:
        row = sum(array.nbytes // len(array) for array in arrays)
        size = min(HALF, device.free_memory()[0] // SHARE)
        self.half = max(size // row, batch)  # rows; a step needs two halves at most
        self.rows = len(arrays[0])
        self.arrays = {a.source: device.empty((2 * self.half, *a.shape[1:]), a.dtype, "the window") for a in arrays}
        self._sources = [array.host for array in arrays]
        self._landings = [[device.pinned((self.half, *a.shape[1:]), a.dtype) for a in arrays] for _ in range(2)]
        self._copies = cupy.cuda.Stream(non_blocking=True)
        self._full, self._free = ([cupy.cuda.Event() for _ in range(2)] for _ in range(2))
        self.places = device.empty((self.rows,), np.int64, "the window")
        self.places.set(np.arange(self.rows) % (2 * self.half))

    @staticmethod
    def of(arrays: Sequence[Streamed], batch: int) -> Window:
        """The window of these arrays: the same one for all programs of a pass, as steps go on where others ended."""
        source = arrays[0].source
        if source.window is None or source.window.half < batch:
            source.window = Window(arrays, batch)
        return source.window

    def begin(self, order: np.ndarray) -> None:
        """Begin a pass over the rows in that order."""
        self._order, self._filled, self._read = order, 0, 0

    def fill(self, stream: Any) -> int:
        """Fill what is free, and let the stream wait for it; returns how many rows of the pass are there."""
        while self._filled < min(self._read + 2 * self.half, self.rows):
            self._fill_half(stream)
        return self._filled

    def _fill_half(self, stream: Any) -> None:
        half, rows = self._filled // self.half % 2, self._order[self._filled : self._filled + self.half]
        self._full[half].synchronize()  # what was copied from here before is on the device
        for source, landing in zip(self._sources, self._landings[half], strict=True):
            np.take(source, rows, axis=0, out=landing[: len(rows)], mode="clip")  # which needs no buffer
        with self._copies:
            self._copies.wait_event(self._free[half])
            for array, landing in zip(self.arrays.values(), self._landings[half], strict=True):
                target = array[half * self.half :]
                target.data.copy_from_host_async(landing.ctypes.data, landing[: len(rows)].nbytes)
            self._full[half].record(self._copies)
        stream.wait_event(self._full[half])
        self._filled += len(rows)

    def done(self, row: int, stream: Any) -> None:
        """Steps were put into the stream that read all rows before `row`: what lies there may be overwritten."""
        while self._read + self.half <= row:
            self._free[self._read // self.half % 2].record(stream)
            self._read += self.half
