"""Kernels of your own: one function per backend, under a line of the contract's table."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable

from fastnn.kernels import numpy_ as reference
from fastnn.kernels.contract import BUILT_IN, KERNELS, Kernel, parse
from fastnn.kernels.cupy_ import texts


def register(line: str, numpy: Callable, numba: Callable | None = None, cupy: str | None = None) -> Kernel:
    """Add a kernel to the table; layers then call it as `ops.name(...)`.

    line: as in `contract.py`, such as "swish x[N,F] -> y[N,F] ; beta:float ; split rows y". numpy: the reference, a
    function of the line's arguments that writes the outputs. numba: the same as a function that Numba can compile,
    which takes `start, stop` at the end and works on those rows only; it is given no clock. cupy: CUDA text in which
    the function has the line's arguments and then the lengths of its axes. Without one of them the reference runs on
    that backend too, and a model that uses it says so and runs without capture. See docs/own_kernel.md.
    Raises ValueError for a name that is taken and TypeError for a function with other arguments.
    """
    kernel = parse(line)
    if kernel.name in KERNELS:
        raise ValueError(f"line: a kernel named {kernel.name!r} is in the table already")
    given = tuple(inspect.signature(numpy).parameters)
    if given != kernel.arguments:
        raise TypeError(f"numpy must be a function of {', '.join(kernel.arguments)}; got {', '.join(given)}")
    KERNELS[kernel.name] = kernel
    setattr(reference, kernel.name, numpy)
    try:
        if cupy is not None:
            texts.add_source(kernel, cupy)
        if numba is not None and importlib.util.find_spec("numba") is not None:
            from fastnn.kernels.numba_.native import add_body

            add_body(kernel.name, numba)
    except (TypeError, ValueError):
        unregister(kernel.name)
        raise
    return kernel


def unregister(name: str) -> None:
    """Take a kernel of your own out of the table. Raises ValueError for any other name."""
    if name in BUILT_IN or name not in KERNELS:
        raise ValueError(f"name must be that of a kernel you registered, got {name!r}")
    del KERNELS[name]
    delattr(reference, name)
    texts.remove_source(name)
    if importlib.util.find_spec("numba") is not None:
        from fastnn.kernels.numba_ import loading, native

        native.remove_body(name)
        loading.forget(name)
