"""The CuPy backend: kernels on the GPU for arrays of the host, and programs replayed as CUDA graphs.

Everything outside this folder works with NumPy arrays. A launch by itself takes its arrays to the device and what it
wrote back; a replay keeps them there for as long as nobody on the host asks.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from fastnn.capture import Launch, NotCapturable
from fastnn.kernels import precision
from fastnn.kernels.contract import Kernel
from fastnn.kernels.cupy_ import device, launcher, products, texts
from fastnn.kernels.cupy_.replay import CupyReplay

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
            from fastnn import backends

            backends.on_host().launch(launch)
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

    def adopt(self, value: Any, dtype: np.dtype) -> Any:
        """An array of somebody's that is on the GPU, as kernels take it: copied only where it has to be."""
        array = cupy.from_dlpack(value) if not hasattr(value, "__cuda_array_interface__") else cupy.asarray(value)
        array = cupy.asarray(array, dtype)
        return array if array.flags.c_contiguous else array.copy()

    def bring(self, array: Any) -> Any:
        """Data where programs read them: on the GPU."""
        if not isinstance(array, np.ndarray):
            return array
        with device.stream() as stream:
            there = device.empty(array.shape, array.dtype, "the data")
            there.set(np.ascontiguousarray(array))
            stream.synchronize()
        return there
