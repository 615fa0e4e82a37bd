"""A CuPy without a GPU: just what our GPU backend uses, with kernels that really run and traps for misuse.

`provide()` puts it in the place of CuPy where there is no GPU; what it lacks is missing, so nobody leans on it unseen.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.machinery
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from simulated_cupy import arrays, cublaslt, memory, streams
from simulated_cupy.cpu_module import COMPILER
from simulated_cupy.memory import device

__all__ = ["COMPILER", "FOLDER", "counting", "in_force", "install", "modules", "provide"]

FOLDER = str(Path(__file__).parents[1])  # for the PYTHONPATH of other processes


class Device:
    """The one device: `cupy.cuda.Device(0)`."""

    compute_capability = "90"

    def __init__(self, device: int | None = None) -> None:
        memory.device.check("a look at the device", captured=True)
        if device not in (None, 0):
            raise memory.CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        self.id = 0

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def use(self) -> Device:
        """Make it the current device."""
        return self

    def synchronize(self) -> None:
        """Wait for the default stream; a real device waits for all others, too, so ask the stream that is meant."""
        streams.Stream.null.synchronize()

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        return mem_get_info()


def mem_get_info() -> tuple[int, int]:
    """Free and total bytes."""
    device.check("a look at the memory", captured=True)
    return device.total - device.used, device.total


def get_device_count() -> int:
    """How many devices there are."""
    device.check("a look at the device", captured=True)
    return 1


def driver_version() -> int:
    """The newest CUDA that the driver knows; 0 without a driver."""
    return 0 if device.failure else 13000


def get_device_properties(number: int) -> dict[str, Any]:
    """What the device says of itself."""
    device.check("a look at the device", captured=True)
    return {"name": b"simulated device", "major": 9, "minor": 0, "multiProcessorCount": 132}


def _module(name: str, **content: Any) -> types.ModuleType:
    module = types.ModuleType(name, __doc__)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__path__ = []  # a package: `import cupy.cuda` is no surprise
    vars(module).update(content)
    return module


def modules() -> dict[str, types.ModuleType]:
    """The simulated CuPy, by import names."""
    runtime = _module(
        "cupy.cuda.runtime", CUDARuntimeError=memory.CUDARuntimeError, getDeviceCount=get_device_count,
        memGetInfo=mem_get_info, runtimeGetVersion=lambda: 13000, driverGetVersion=driver_version,
        getDeviceProperties=get_device_properties,
    )
    classes, functions = "Memory UnownedMemory MemoryPointer MemoryPool", "alloc alloc_pinned_memory set_allocator"
    of_memory = {name: getattr(memory, name) for name in f"{classes} {functions}".split()}
    cuda_memory = _module("cupy.cuda.memory", OutOfMemoryError=memory.OutOfMemoryError)
    cuda = _module(
        "cupy.cuda", runtime=runtime, memory=cuda_memory, Device=Device, Stream=streams.Stream, Event=streams.Event,
        Graph=streams.Graph, get_current_stream=streams.get_current_stream,
        get_elapsed_time=streams.get_elapsed_time, using_allocator=memory.using_allocator,
        is_available=lambda: device.failure is None, **of_memory,
    )
    names = ("ndarray", "empty", "zeros", "asarray", "asnumpy", "from_dlpack", "RawModule")
    cupy = _module(
        "cupy", simulated=True, cuda=cuda, __version__="14.2.0", get_default_memory_pool=lambda: memory.pool,
        **{name: getattr(arrays, name) for name in names},
        **{name: getattr(np, name) for name in ("int32", "int64", "uint32", "float32", "float64", "dtype")},
    )
    return {module.__name__: module for module in (cupy, cuda, runtime, cuda_memory)}


def install() -> None:
    """Let `import cupy` find the simulated one in this process, and cuda.pathfinder the simulated cuBLASLt."""
    sys.modules.update(modules())
    pathfinder = cublaslt.pathfinder()
    sys.modules["cuda.pathfinder"] = pathfinder
    sys.modules.setdefault("cuda", _module("cuda")).pathfinder = pathfinder


def provide() -> str:
    """Install it unless there is a GPU with CuPy; returns the device's name.

    With FASTNN_GPU=real in the environment only a GPU will do, and what is missing is raised.
    """
    try:
        ctypes.CDLL("libcuda.so.1")  # the driver: without it, there is no need to wait for the import of CuPy
        import cupy

        return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except (OSError, ImportError, RuntimeError):
        if os.environ.get("FASTNN_GPU") == "real":
            raise
        install()
        return "the simulated device"


def in_force() -> bool:
    """True where `import cupy` finds the simulated one."""
    return getattr(sys.modules.get("cupy"), "simulated", False)


@contextlib.contextmanager
def counting() -> Any:
    """What is done on the device within a block, by kind: allocations, synchronisations, copies to host, launches."""
    before = device.counts.copy()
    seen: dict[str, int] = {}
    yield seen
    seen.update({kind: count - before[kind] for kind, count in device.counts.items()})
