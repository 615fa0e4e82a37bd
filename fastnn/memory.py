"""Memory that training changes: flat blocks on the host, and who has the newest values when a device trains, too."""

from __future__ import annotations

import contextlib
import mmap
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels.numpy_.data import all_finite

Shape = tuple[int, ...]
LINE = 64  # bytes of a cache line
HUGE_PAGE, CHUNK = 2 << 20, 4 << 20  # bytes; a chunk is kept until nobody needs an array that was cut from it

_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}  # after a fork, too

HOST, BOTH, TWIN = "host", "both", "twin"  # where the newest values of a block are

_blocks: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()  # by the id of their flat array


class _Own(threading.local):
    """Each thread cuts arrays from a chunk of its own: a lock could be held while another thread forks."""

    rest = np.zeros(0, np.uint8)


_own = _Own()


def aligned(shape: Shape, dtype: Any) -> np.ndarray:
    """Zeros whose first element lies on a cache line.

    They lie in huge pages where the system has these, and arrays that are made one after the other lie side by side:
    strewn over the memory, they may compete for the same lines of a cache that is nearly full.
    """
    count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    room = -(-count // LINE) * LINE
    if room > CHUNK // 2:
        part = _pages(room)[:count]
    else:
        if room > len(_own.rest):
            _own.rest = _pages(CHUNK)
        part, _own.rest = _own.rest[:count], _own.rest[room:]
    return part.view(dtype).reshape(shape)


def _pages(size: int) -> np.ndarray:
    """So many bytes, all 0, from the beginning of a huge page."""
    memory = mmap.mmap(-1, size + HUGE_PAGE, **_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # of a kernel that was built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(memory, np.uint8)
    return raw[-raw.ctypes.data % HUGE_PAGE :][:size]


def on_host(array: Any) -> np.ndarray:
    """The values of an array, wherever it is, on the host."""
    return array if isinstance(array, np.ndarray) else array.get()


class Block:
    """Arrays side by side in one flat memory, each on a cache line of its own, with zeros between them.

    `flat` is the memory and `arrays` are its parts. So neighbours can be updated by one launch and all be copied at
    once. A device that trains keeps a `twin` of the block, with `upload(flat)` and `download(flat)`; values cross
    only when the side that reads does not have the newest ones.
    """

    def __init__(self, shapes: Sequence[Shape], dtype: Any) -> None:
        self.shapes, self.dtype = [tuple(shape) for shape in shapes], np.dtype(dtype)
        line = LINE // self.dtype.itemsize
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in self.shapes]
        starts = np.cumsum([0, *(-(-size // line) * line for size in sizes)]).tolist()
        self.flat = np.asarray(aligned((starts[-1],), self.dtype).data)  # its parts have a base of their own
        parts = zip(starts, sizes, self.shapes, strict=False)
        self.arrays = [self.flat[start : start + size].reshape(shape) for start, size, shape in parts]
        self.twin: Any = None
        self._newest = HOST
        self._handed_out = False  # to somebody who may change it at any time
        _blocks[id(self.flat)] = self

    def read(self) -> None:
        """Have the newest values on the host, where they will only be read."""
        if self._newest == TWIN:
            self.twin.download(self.flat)
            self._newest = BOTH

    def write(self) -> None:
        """Have the newest values on the host, where they may be changed until the device changes them."""
        self._handed_out = True
        if self.twin is not None:
            self.read()
            self._newest = HOST

    def lend(self, anew: bool = False) -> None:
        """Have the newest values in the twin; `anew`, also those that somebody may have changed since the last time."""
        if self._newest == HOST or (anew and self._newest == BOTH and self._handed_out):
            self.twin.upload(self.flat)
            self._newest = BOTH

    def returned(self) -> None:
        """The device has changed the twin; arrays that somebody on the host kept are old from now on."""
        self._newest, self._handed_out = TWIN, False

    def save(self, copy: Any = None) -> Any:
        """A copy of the newest values, made where they are; in the memory of `copy`, an earlier one, if it fits."""
        if self._newest != HOST:
            return self.twin.save(copy)
        if not isinstance(copy, np.ndarray):
            copy = np.empty_like(self.flat)
        copy[...] = self.flat
        return copy

    def restore(self, copy: Any) -> None:
        """Put back what `save` copied."""
        if isinstance(copy, np.ndarray):
            self.flat[...] = copy
            self._newest = HOST
        else:
            self.twin.restore(copy)
            self._newest = TWIN

    def finite(self) -> bool:
        """True while no value is NaN or infinite."""
        whole = self.twin.finite() if self._newest == TWIN else all_finite(self.flat)
        if whole:
            return True
        self.read()  # a twin's sum may overflow, and NaN between the arrays harms nobody
        return all(map(all_finite, self.arrays))

    def leave_device(self) -> None:
        """Have the newest values on the host, and no twin."""
        self.write()
        self.twin = None

    def __reduce__(self) -> Any:
        self.read()
        return _copy, (self.shapes, self.dtype, self.flat)


def _copy(shapes: list[Shape], dtype: np.dtype, flat: np.ndarray) -> Block:
    block = Block(shapes, dtype)
    block.flat[...] = flat
    return block


def block_of(array: np.ndarray) -> Block | None:
    """The block that an array is a part of, if it is."""
    return _blocks.get(id(array.base))
