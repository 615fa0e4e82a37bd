"""From a kernel of the table and its arrays to a launch: which function, how many threads, which arguments."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.contract import Kernel
from fastnn.kernels.cupy_ import texts

NULL = np.uintp(0)  # a missing array


@functools.cache
def _module(source: str, dtype: str) -> Any:
    import cupy  # where a kernel is wanted, so that arguments can be checked without it

    return cupy.RawModule(code=source, options=texts.options(dtype))


def _function(name: str, dtype: str) -> Any:
    return _module(texts.source(texts.file_of(name)), dtype).get_function(name)


class Prepared(NamedTuple):
    """A launch with all that it needs, so that nothing is left to work out when it is called."""

    function: Any
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    args: tuple[Any, ...]

    def __call__(self) -> None:
        """Launch on the current stream."""
        self.function(self.grid, self.block, self.args)


def prepare(kernel: Kernel, values: Sequence[Any], fault: Any = None) -> Prepared:
    """A launch of `kernel` on device arrays and scalars. fault: the fault word, where the launch is to see one."""
    arrays, scalars = values[: len(kernel.arrays)], values[len(kernel.arrays) :]
    dtype = _dtype(kernel, arrays)
    types = {"int": np.int64, "float": np.dtype(dtype).type, "double": np.float64}
    lengths = dict.fromkeys(texts.axes(kernel), 0)
    for array, value in zip(kernel.arrays, arrays, strict=True):
        if value is not None:
            lengths |= {axis: n for axis, n in zip(array.axes, value.shape, strict=True) if axis in lengths}
    args = [NULL if value is None else value for value in arrays]
    args += [types[kind](value) for (_, kind), value in zip(kernel.scalars, scalars, strict=True)]
    args += map(np.int64, lengths.values())
    if texts.sees_fault(kernel):
        args.append(NULL if fault is None else fault)
    return Prepared(_function(kernel.name, dtype), *texts.layout(kernel, arrays), tuple(args))


def _dtype(kernel: Kernel, arrays: Sequence[Any]) -> str:
    """What REAL stands for: the element type of the network, or of the labels that are gathered."""
    given = (v.dtype.name for a, v in zip(kernel.arrays, arrays, strict=True) if a.element == "real" and v is not None)
    return next(given, "int64")


def advance(clock: Any, fault: Any, rows: int) -> Prepared:
    """The end of a step: the clock goes on by `rows` rows, unless there was a fault."""
    return Prepared(_function("advance", "int64"), (1, 1, 1), (1, 1, 1), (clock, fault, np.int64(rows)))
