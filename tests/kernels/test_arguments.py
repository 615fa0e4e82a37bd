"""A native kernel finds its arguments in a block of words, and works on the rows that it is told to."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.capture import Launch
from fastnn.kernels.contract import KERNELS

pytest.importorskip("numba")
from fastnn.kernels.numba_ import arguments, engine, loading


def test_an_argument_block_holds_addresses_shapes_and_scalars():
    x, y = np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)
    clock = np.zeros(3, np.int64)
    block = arguments.pack(KERNELS["dropout"], [x, clock, y, 2**62, 5, 7, 1.5])
    wanted = [x.ctypes.data, 3, 2, y.ctypes.data, 3, 2, 2**62, 5, 7, int(np.float64(1.5).view(np.int64))]
    assert block.tolist() == wanted
    assert arguments.pack(KERNELS["dropout"], [x, clock, y, 0, 0, 0, 0.0], scratch=2)[3] == arguments.SCRATCH


def test_a_native_kernel_works_on_its_rows_only():
    z = np.arange(12, dtype=np.float32).reshape(4, 3)
    y = np.full_like(z, -1)
    launch = Launch(KERNELS["softmax"], [z, y], np.dtype(np.float32))
    local = np.zeros(arguments.LOCAL_WORDS, np.int64)
    block = arguments.pack(launch.kernel, launch.values)
    kernel = loading.address("softmax", "float32")
    engine.launch_function()(kernel, block.ctypes.data, 1, 3, local.ctypes.data)
    assert (y[[0, 3]] == -1).all()
    np.testing.assert_allclose(y[1:3].sum(axis=1), 1, rtol=1e-6)
