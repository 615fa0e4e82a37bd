"""The GPU itself: whether there is one that can be used, its memory, and copies to it and back.

Each thread has a stream of its own, on which all that it asks of the device is done in order.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import cupy
import numpy as np

from fastnn.errors import DeviceError
from fastnn.kernels.contract import KERNELS
from fastnn.kernels.cupy_ import launcher

MIB = 1 << 20


def check() -> None:
    """Raises DeviceError where there is no driver, no device, or one that is too old for this CuPy."""
    runtime = cupy.cuda.runtime
    driver, built = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        raise DeviceError("backend 'cupy' needs an NVIDIA GPU, but no driver for one is installed")
    if driver // 1000 < built // 1000:
        raise DeviceError(
            f"backend 'cupy' is installed for CUDA {_version(built)}, but the driver knows CUDA {_version(driver)} at "
            f'most: install "fastnn[cuda{driver // 1000}]" instead, or a newer driver'
        )
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise DeviceError(f"backend 'cupy' needs an NVIDIA GPU, but the driver reports none: {error}") from error
    if count == 0:
        raise DeviceError("backend 'cupy' needs an NVIDIA GPU, but the driver reports none")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def describe() -> str:
    """The name of the GPU in use."""
    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


_mine = threading.local()
_process = os.getpid()


@contextmanager
def stream() -> Iterator[Any]:
    """This thread's stream, in force; nothing else on the device waits for it, nor it for them."""
    if os.getpid() != _process:
        raise DeviceError("a GPU cannot be used by a forked child of a process that used it: start one with 'spawn'")
    if not hasattr(_mine, "stream"):
        _mine.stream = cupy.cuda.Stream(non_blocking=True)
    with _mine.stream:
        yield _mine.stream


def empty(shape: tuple[int, ...], dtype: Any, what: str) -> Any:
    """New device memory. Raises MemoryError that says what was needed and what is free."""
    try:
        return cupy.empty(shape, dtype)
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise _too_much(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, what) from error


def check_room(size: int, what: str) -> None:
    """Raises MemoryError where so many bytes, of all that is needed, are not free."""
    if size > free_memory()[0]:
        raise _too_much(size, what)


def _too_much(size: int, what: str) -> MemoryError:
    free, total = (number / MIB for number in free_memory())
    need = f"{what} needs {size / MIB:.0f} MiB of the GPU's memory"
    return MemoryError(f"{need}, where {free:.0f} of {total:.0f} MiB are free")


def free_memory() -> tuple[int, int]:
    """Bytes that can still be had, and all there are. What the pool holds for later counts as free."""
    free, total = cupy.cuda.runtime.memGetInfo()
    return free + cupy.get_default_memory_pool().free_bytes(), total


def pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Memory of the host that the device can reach while the host goes on."""
    count = int(np.prod(shape, dtype=np.int64))
    memory = cupy.cuda.alloc_pinned_memory(max(count * np.dtype(dtype).itemsize, 1))
    return np.frombuffer(memory, dtype, count).reshape(shape)


class Fetch:
    """Copies to the host that are under way on the stream in force, until `wait`: then all of them are there."""

    def __init__(self) -> None:
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, array: Any, host: np.ndarray) -> None:
        """Copy a contiguous array from the device into `host`, by way of memory that the device can write to."""
        landing = pinned(array.shape, array.dtype)
        array.data.copy_to_host_async(landing.ctypes.data, array.nbytes)
        self._pairs.append((host, landing))

    def wait(self) -> None:
        """Wait for the stream, and hand over."""
        cupy.cuda.get_current_stream().synchronize()
        for host, landing in self._pairs:
            np.copyto(host, landing)


class Twin:
    """The device's side of a `Block`: the same flat memory. Each call leaves the stream empty."""

    def __init__(self, flat: np.ndarray) -> None:
        self.start, self.values = flat.ctypes.data, empty(flat.shape, flat.dtype, "the model")

    def view(self, host: np.ndarray) -> Any:
        """An array of the block as the device has it."""
        return cupy.ndarray(host.shape, host.dtype, self.values.data + (host.ctypes.data - self.start))

    def upload(self, flat: np.ndarray) -> None:
        with stream() as current:
            self.values.set(flat)
            current.synchronize()

    def download(self, flat: np.ndarray) -> None:
        with stream():
            self.values.get(out=flat)

    def save(self, copy: Any) -> Any:
        """A copy on the device, in the memory of `copy` if that is one."""
        if copy is None or isinstance(copy, np.ndarray):
            copy = empty(self.values.shape, self.values.dtype, "the weights to go back to")
        self._copy(self.values, copy)
        return copy

    def restore(self, copy: Any) -> None:
        self._copy(copy, self.values)

    def _copy(self, source: Any, target: Any) -> None:
        with stream() as current:
            target.data.copy_from_device_async(source.data, source.nbytes)
            current.synchronize()

    def finite(self) -> bool:
        """True while no value is NaN or infinite."""
        with stream():
            fault = empty((1,), np.int64, "a check")
            fault.fill(0)
            launcher.prepare(KERNELS["check_finite"], [self.values.reshape(-1, 1), fault, 1])()
            return not fault.get()[0]


class Places:
    """Device memory for host arrays: those that overlap on the host overlap there, too."""

    def __init__(self, arrays: Iterable[np.ndarray], what: str) -> None:
        spans: list[list[int]] = []
        for start, stop in sorted({(a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays}):
            if spans and start < spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], stop)
            else:
                spans.append([start, stop])
        self._spans = [(start, stop) for start, stop in spans]
        check_room(sum(stop - start for start, stop in self._spans), what)
        self._memories = [empty((stop - start,), np.uint8, what) for start, stop in self._spans]

    def of(self, host: np.ndarray) -> Any:
        """The array as the device has it."""
        first = host.ctypes.data
        for (start, stop), memory in zip(self._spans, self._memories, strict=True):
            if start <= first and first + host.nbytes <= stop:
                return cupy.ndarray(host.shape, host.dtype, memory.data + (first - start))
        raise KeyError(f"no device memory for an array of shape {host.shape}")
