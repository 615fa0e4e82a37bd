"""What the GPU is, and what it can do at best: no step is expected to be faster than its bytes and its products."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from fastnn.kernels.cupy_ import launcher, products

GIB = 1 << 30
ROUNDS = 5  # of which the median counts
SECONDS = 0.02  # of work in each, where one repetition takes less
CHAIN = 64  # launches of a graph that wait for each other


def facts() -> dict[str, Any]:
    """The device and the CUDA that it runs, as a record of measurements names them."""
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "name": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "memory_bytes": runtime.memGetInfo()[1],
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def on_device(array: np.ndarray) -> Any:
    """A copy in the GPU's memory, there when this returns, whichever stream looks."""
    copy = cupy.asarray(array)
    cupy.cuda.Stream.null.synchronize()
    return copy


def seconds(stream: Any, enqueue: Callable[[], Any]) -> float:
    """Seconds that the device needs for what `enqueue` gives to the stream: median of rounds, measured by events."""
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()

    def of(repeats: int) -> float:
        start.record(stream)
        for _ in range(repeats):
            enqueue()
        stop.record(stream)
        stop.synchronize()
        return cupy.cuda.get_elapsed_time(start, stop) / 1e3 / repeats

    of(1)  # warms up
    repeats = max(1, min(1000, int(SECONDS / max(of(1), 1e-6))))
    return statistics.median(of(repeats) for _ in range(ROUNDS))


def copy_rate(size: int) -> float:
    """Bytes a second that a copy within the device reads and writes, both counted."""
    source, target = cupy.zeros(size, np.uint8), cupy.zeros(size, np.uint8)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        return 2 * size / seconds(stream, lambda: target.data.copy_from_device_async(source.data, size))


def product_rate(rows: int, inputs: int, outputs: int, dtype: str = "float32", tf32: bool = False) -> float:
    """Floating-point operations a second of cuBLASLt's (rows, inputs) by (inputs, outputs), on random numbers."""
    rng = np.random.default_rng(0)
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    x, weight, z = (cupy.asarray(rng.standard_normal(shape, np.float32).astype(dtype)) for shape in shapes)
    cupy.cuda.Stream.null.synchronize()  # the copies are there, for the stream below does not wait for them
    with cupy.cuda.Stream(non_blocking=True) as stream:
        product = products.prepare("dense", [x, weight, None, z], tf32)
        return 2.0 * rows * inputs * outputs / seconds(stream, product)


def launch_seconds() -> float:
    """Seconds that a launch adds to a graph in which each one waits for the one before: the floor of a long chain."""
    clock, fault = cupy.zeros(3, np.int64), cupy.zeros(1, np.int64)
    advance = launcher.advance(clock, fault, 1)
    advance()  # CUDA loads a kernel when it first runs, which it must not do during a capture
    cupy.cuda.Stream.null.synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        for _ in range(CHAIN):
            advance()
        graph = stream.end_capture()
        return seconds(stream, lambda: graph.launch(stream)) / CHAIN


def ceilings(large: int = 4096, rows: int = 8192, size: int = GIB) -> dict[str, float]:
    """All of them, by name, in units of the name."""
    return {
        "copy_gb_per_s": copy_rate(size) / 1e9,
        "float32_tflops": product_rate(rows, large, large) / 1e12,
        "tf32_tflops": product_rate(rows, large, large, tf32=True) / 1e12,
        "float64_tflops": product_rate(rows // 2, large // 2, large // 2, "float64") / 1e12,
        "launch_in_a_graph_us": launch_seconds() * 1e6,
    }
