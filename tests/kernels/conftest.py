"""Runs one kernel on one backend so that a test sees all it does: what it wrote, and what it should not have."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import simulated_cupy
from simulated_cupy.cpu_module import ORDERS
from simulated_cupy.memory import altered

from fastnn import backends
from fastnn.capture import Launch
from fastnn.kernels.contract import KERNELS

GUARD = 67  # elements on both sides of an array; odd, so that no array begins where a vector would like to
POISON = {"f": np.nan, "i": -(1 << 60)}


def guarded(array, dtype):
    """A contiguous copy (or, of a shape, poisoned memory) between guard cells: (all memory, the array itself)."""
    shape = array if isinstance(array, tuple) else array.shape
    size = int(np.prod(shape))
    memory = np.full(size + 2 * GUARD, POISON[np.dtype(dtype).kind], dtype)
    view = memory[GUARD : GUARD + size].reshape(shape)
    if not isinstance(array, tuple):
        view[...] = array
    return memory, view


def same_bits(left, right):
    return left.tobytes() == right.tobytes()


class Run:
    """`run("dense", x=x, weight=w, bias=None, z=(3, 5)).z`: outputs are given by shape, or as arrays where read before.

    Arrays lie between guard cells of NaN, which must not change and, where they are read, spoil the result. Outputs
    hold NaN before the call, and what is only read must keep its bits. `in_place={"y": "z"}` lets two arguments share
    memory. Where a backend lets threads share the work, each launch is repeated in pieces, which must touch
    only their own rows and give the same bits. On the simulated GPU it is repeated with its threads in other orders;
    that device puts guards of its own around what it is sent.
    """

    def __init__(self, backend, dtype):
        self.backend, self.dtype = backend, np.dtype(dtype)

    def __call__(self, name, *, in_place=None, **arguments):
        self.kernel = KERNELS[name]
        self.arguments, self.in_place = arguments, in_place or {}
        assert set(arguments) | set(self.in_place) == set(self.kernel.arguments)
        launch, arrays = self._fresh()
        backends.get(self.backend).launch(launch)
        self._check_untouched(arrays)
        if self.backend == "numba" and self.kernel.split in ("rows", "params"):
            self._check_pieces({0, 1, launch.count // 2, launch.count}, launch)
            self._check_pieces({*range(0, launch.count, 1 + launch.count // 9), launch.count}, launch)
        if self.backend == "cupy" and simulated_cupy.in_force():
            self._check_orders(launch)
        written = [array.name for array in self.kernel.arrays if array.writes]
        return SimpleNamespace(**{n: arrays[n][1] for n in written if arrays.get(n) is not None})

    def _element(self, array, value):
        if array.element == "real":
            labels = self.kernel.name == "gather" and getattr(self.arguments["data"], "dtype", None) == np.int64
            return np.dtype(np.int64) if labels else self.dtype
        return np.dtype({"int": np.int64, "double": np.float64}[array.element])

    def _fresh(self):
        """A launch on new copies of all arguments, and its arrays by name, each as (all memory, array)."""
        arrays = {}
        for array in self.kernel.arrays:
            value = self.arguments.get(array.name)
            if array.name == "clock":
                value = np.array(value, np.int64)
            if value is not None:
                arrays[array.name] = guarded(value, self._element(array, value))
        for name, source in self.in_place.items():
            arrays[name] = arrays[source]
        names = [array.name for array in self.kernel.arrays]
        values = [arrays[n][1] if n in arrays else None for n in names]
        return Launch(self.kernel, [*values, *(self.arguments[n] for n, _ in self.kernel.scalars)], self.dtype), arrays

    def _check_untouched(self, arrays):
        _, before = self._fresh()
        written = {array.name for array in self.kernel.arrays if array.writes}
        written |= {source for name, source in self.in_place.items() if name in written}
        for name, (memory, _) in arrays.items():
            old = before[name][0]
            assert same_bits(memory[:GUARD], old[:GUARD]), f"wrote before {name}"
            assert same_bits(memory[-GUARD:], old[-GUARD:]), f"wrote behind {name}"
            if name not in written:
                assert same_bits(memory, old), f"changed {name}, which is only read"

    def _check_pieces(self, cuts, whole):
        """Run from the last piece to the first: no piece may write rows of another, and the sum of all is the whole."""
        cuts = sorted(cuts)
        launch, arrays = self._fresh()
        _, untouched = self._fresh()
        axis = self.kernel.arrays[self.kernel.owner].axes[0]
        owned = [a.name for a in self.kernel.arrays if a.writes and a.axes[0] == axis and a.name in arrays]
        for start, stop in reversed(list(itertools.pairwise(cuts))):
            run_native(launch, start, stop)
            for name in owned:
                now, before = arrays[name][1][:start], untouched[name][1][:start]
                assert same_bits(now, before), f"wrote {name} before row {start}"
        self._check_untouched(arrays)
        self._check_same(launch, whole, f"when rows are cut at {cuts}")

    def _check_orders(self, whole):
        """Threads may run in any order."""
        for order in ORDERS:
            launch, arrays = self._fresh()
            with altered(order=order):
                backends.get(self.backend).launch(launch)
            self._check_untouched(arrays)
            self._check_same(launch, whole, f"with threads in order {order}")

    def _check_same(self, launch, whole, when):
        for array, now, before in zip(self.kernel.arrays, launch.arrays, whole.arrays, strict=True):
            if array.writes and now is not None:
                assert same_bits(now, before), f"{array.name} differs {when}"


def run_native(launch, start, stop):
    """Launch for rows start..stop alone, as a thread of a replay does."""
    from fastnn.kernels.numba_.backend import Bound

    Bound(launch)(start, stop)


@pytest.fixture
def run(backend, dtype):
    """Runs a kernel on the backend and in the dtype of the test."""
    return Run(backend, dtype)


@pytest.fixture
def draw(dtype):
    """Standard normals of a shape in the dtype of the test; the same in every test that asks in the same order."""
    rng = np.random.default_rng(20)
    return lambda *shape: rng.standard_normal(shape).astype(dtype)
