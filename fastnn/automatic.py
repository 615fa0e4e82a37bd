"""What the backend `auto` stands for: the CPU's engine, or a GPU where a step of the model is measured to be faster."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from fastnn import backends
from fastnn.errors import DeviceError

LEAST = 15e-6  # seconds: about what a GPU takes for the launches of a step, whatever their size


def why_no_gpu() -> str:
    """Why no GPU can be used; empty where one can."""
    if not backends.available().get("cupy"):
        return "CuPy is not installed"
    try:  # quick, where importing CuPy takes a second
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no driver for an NVIDIA GPU is installed"
    try:
        backends.get("cupy")
    except (DeviceError, ImportError) as error:
        return str(error)
    return ""


def choose(model: Any, rows: int) -> None:
    """Move a model to the backend on which a training step of so many rows takes the least time.

    The model keeps the reason as `why_backend`. Weights, optimizer and random numbers are not touched.
    """
    model.automatic = False
    here, missing = model.backend.name, why_no_gpu()
    if missing:
        model.why_backend = f"{here}: {missing}"
        return
    on_host = _seconds(model, rows)
    if on_host is None:
        model.why_backend = f"{here}: the model runs without capture"
        return
    told = f"a step of {rows} rows takes {on_host * 1e6:.3g} us on {here}"
    if on_host < LEAST:
        model.why_backend = f"{here}: {told}, less than launches on a GPU"
        return
    try:
        on_gpu = _seconds(model.to("cupy"), rows)
    except MemoryError as error:
        on_gpu, told = None, f"{told}, and {error}"
    if on_gpu is not None:
        told = f"{told} and {on_gpu * 1e6:.3g} us on the GPU"
    if on_gpu is None or on_gpu >= on_host:
        model.to(here)
    model.automatic = False
    model.why_backend = f"{model.backend.name}: {told}"


def _seconds(model: Any, rows: int) -> float | None:
    """The time of a training step on noise; None where the model runs without capture."""
    from fastnn import explain

    with explain.on_noise(model, rows) as step:
        return None if step is None else explain.step_seconds(model, step.feed, step.replay.program.recorded)[0]
