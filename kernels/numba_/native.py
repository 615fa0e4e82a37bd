"""The table of native kernels: by name, the functions that Numba compiles.

A kernel is written as a function of its arrays and scalars, as the contract lists them (without the clock), then
`start, stop`: the range of rows it may work on. One that needs the thread's own memory, where the clock is, takes
`local` at the end. `kernel` registers it, and `loading.py` compiles it on first use. How the machine code is then given
these arguments is told in `arguments.py`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from fastnn.kernels.contract import BUILT_IN, KERNELS, Kernel
from fastnn.kernels.numba_.internal import INTERNAL

MODULES = ("activation", "data", "dense", "loss", "metric", "optimizer", "random", "slabs")  # where the bodies are

_bodies: dict[str, Callable] = {}


def kernel(body: Callable) -> Callable:
    """Register `body` as the native kernel of its name."""
    add_body(body.__name__, body)
    return body


def add_body(name: str, body: Callable) -> None:
    """Register a native kernel, after checking its arguments against the contract. Raises TypeError."""
    wanted = [a for a in contract_of(name).arguments if a != "clock"] + ["start", "stop"]
    given = [a for a in inspect.signature(body).parameters if a != "local"]
    if given != wanted:
        raise TypeError(f"native kernel {name} takes {given}, the contract wants {wanted}")
    _bodies[name] = body


def remove_body(name: str) -> None:
    """Forget a user's kernel."""
    _bodies.pop(name, None)


def body_of(name: str) -> Callable:
    """The function of a native kernel. Ours are registered when their modules are imported, which takes Numba."""
    for module in MODULES:
        importlib.import_module(f"fastnn.kernels.numba_.{module}")
    return _bodies[name]


def has(name: str) -> bool:
    """True when the kernel has a native version."""
    return name in BUILT_IN or name in _bodies


def is_built_in(name: str) -> bool:
    """True for kernels of ours: others may change from process to process, and are not kept on disk."""
    return name in BUILT_IN or name in INTERNAL


def contract_of(name: str) -> Kernel:
    """The signature of a kernel of the table, or of one that only this backend has."""
    return INTERNAL.get(name) or KERNELS[name]


def variant(launch: Any) -> str:
    """The element type that a launch's kernel is compiled for."""
    for array, value in zip(launch.kernel.arrays, launch.values, strict=False):
        if array.element == "real" and value is not None:
            return value.dtype.name
    return "int64"
