"""Launches that are better done as one: the updates of parameters that lie side by side in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.capture import Launch
from fastnn.kernels.contract import TABLE_COLUMNS
from fastnn.memory import LINE, block_of


def joined(launches: Sequence[Launch]) -> list[Launch]:
    """The same launches, but where neighbours are updates by one rule of neighbouring arrays, one over all of them.

    An update works element by element, so it may run over the zeros between two arrays of a block, too.
    """
    runs: list[list[Launch]] = []
    for launch in launches:
        if runs and _goes_on(runs[-1][-1], launch):
            runs[-1].append(launch)
        else:
            runs.append([launch])
    return [run[0] if len(run) == 1 else _join(run) for run in runs]


def _of_parameters(launch: Launch) -> list[bool]:
    """Which of the arrays have a parameter's shape."""
    return [array.axes[0] == "P" for array in launch.kernel.arrays]


def _goes_on(first: Launch, second: Launch) -> bool:
    """True when both are updates by one rule, and each array of the second follows that of the first."""
    if first.kernel.name not in TABLE_COLUMNS or first.kernel is not second.kernel:
        return False
    count = len(first.arrays)
    if first.args[count:] != second.args[count:]:
        return False
    pairs = zip(_of_parameters(first), first.arrays, second.arrays, strict=True)
    return all(_follows(a, b) if follows else _same(a, b) for follows, a, b in pairs)


def _same(one: Any, other: Any) -> bool:
    """True for one port or one memory."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.ctypes.data == other.ctypes.data and one.shape == other.shape
    return one is other


def _follows(one: Any, other: Any) -> bool:
    """True when both are arrays of one block, with nothing but zeros between them; or both None."""
    if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)):
        return one is other
    if block_of(one) is None or block_of(one) is not block_of(other):
        return False
    return other.ctypes.data - one.ctypes.data == -(-one.nbytes // LINE) * LINE


def _join(run: list[Launch]) -> Launch:
    first, last = run[0], run[-1]
    args = list(first.args)
    for i, spans in enumerate(_of_parameters(first)):
        if spans and args[i] is not None:
            args[i] = _span(args[i], last.args[i])
    return Launch(first.kernel, args, first.dtype)


def _span(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """All of the memory from the beginning of the first array to the end of the last one, as one column."""
    block = block_of(first)
    assert block is not None
    start, stop = (address - block.flat.ctypes.data for address in (first.ctypes.data, last.ctypes.data + last.nbytes))
    return block.flat[start // first.itemsize : stop // first.itemsize].reshape(-1, 1)
