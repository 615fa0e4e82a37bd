"""The CuPy backend: kernels on the GPU for arrays of the host, and programs replayed as CUDA graphs.

Everything outside this folder works with NumPy arrays. A launch by itself takes its arrays to the device and what it
wrote back; a replay keeps them there for as long as nobody on the host asks.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from fastnn.capture import Launch, NotCapturable
from fastnn.kernels import numpy_ as reference
from fastnn.kernels import precision
from fastnn.kernels.contract import Kernel
from fastnn.kernels.cupy_ import device, launcher, products, texts, window
from fastnn.kernels.cupy_.replay import CupyReplay
from fastnn.memory import on_host

PRODUCTS = ("dense", "dense_dx", "dense_dweight")


def has(name: str) -> bool:
    """True when the device can run a kernel."""
    return texts.has(name) or name in PRODUCTS


def prepare(kernel: Kernel, values: list[Any], fault: Any = None) -> Any:
    """A launch on device arrays, with nothing left to work out when it is called."""
    if kernel.name in PRODUCTS:
        return products.prepare(kernel.name, values, precision.tf32())
    return launcher.prepare(kernel, values, fault)


class CupyBackend:
    """Launches CUDA kernels; a replay is a CUDA graph of a step, and one of several steps."""

    name = "cupy"

    def __init__(self) -> None:
        device.check()

    def check(self, kernel: Kernel) -> None:
        """Raises NotCapturable where a kernel has no CUDA version."""
        if not has(kernel.name):
            raise NotCapturable(f"kernel {kernel.name} has no CUDA text; its reference runs instead")

    def launch(self, launch: Launch) -> None:
        """Run one kernel now; on the host where it has no CUDA version."""
        if not has(launch.kernel.name):
            self.shuffler.launch(launch)
            return
        if any(isinstance(value, window.Streamed) for value in launch.values):
            getattr(reference, launch.kernel.name)(*(on_host(v) if hasattr(v, "get") else v for v in launch.values))
            return
        arrays = launch.values[: len(launch.kernel.arrays)]
        mine = [array for array in arrays if isinstance(array, np.ndarray)]
        with device.stream():
            places = device.Places(mine, launch.kernel.name)
            for array in mine:
                places.of(array).set(array)
            values = [places.of(v) if isinstance(v, np.ndarray) else v for v in launch.values]
            prepare(launch.kernel, values)()
            written = device.Fetch()
            for array, value in zip(launch.kernel.arrays, arrays, strict=True):
                if array.writes and isinstance(value, np.ndarray):
                    written.add(places.of(value), value)
            written.wait()

    def replay(self, program: Any) -> CupyReplay:
        """Prepare a captured program for replay."""
        return CupyReplay(program, prepare)

    @property
    def shuffler(self) -> Any:
        """Who draws the order of the rows: the host, while the device trains."""
        from fastnn import backends

        return backends.fastest_on_host()

    def adopt(self, value: Any, dtype: np.dtype | None, argument: str) -> Any:
        """An array of somebody's that is on the GPU, as kernels take it: copied only where it has to be.

        dtype: what its elements become, or None for as they are.
        """
        cupy.cuda.get_current_stream().synchronize()  # on which it may still be in the making
        with device.stream() as stream:
            array = cupy.asarray(value) if hasattr(value, "__cuda_array_interface__") else cupy.from_dlpack(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"{argument} must be an array of numbers, got dtype {array.dtype}")
            array = cupy.asarray(array, dtype)
            array = array if array.flags.c_contiguous else array.copy()
            stream.synchronize()
        return array

    def bring(self, *arrays: Any) -> tuple[Any, ...]:
        """Data where programs read them: on the GPU, where they fit, and else behind a window."""
        mine = [array for array in arrays if isinstance(array, np.ndarray)]
        free, total = device.free_memory()
        if sum(array.nbytes for array in mine) > free - total // window.SHARE:
            return tuple(window.Streamed(on_host(array)) for array in arrays)
        with device.stream() as stream:
            brought = [self._copy(array) if isinstance(array, np.ndarray) else array for array in arrays]
            stream.synchronize()
        return tuple(brought)

    def _copy(self, array: np.ndarray) -> Any:
        there = device.empty(array.shape, array.dtype, "the data")
        there.set(np.ascontiguousarray(array))
        return there
