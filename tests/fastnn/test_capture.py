"""Under capture kernels are written down, and buffers have a shape and no values."""

from __future__ import annotations

import copy
import math
import operator

import numpy as np
import pytest

import fastnn as fn
from fastnn import backends
from fastnn.capture import Buffer, Eager, Launch, NotCapturable, Recorder
from fastnn.kernels.contract import KERNELS


def recorder():
    return Recorder(backends.get("numpy"), np.float32)


# --- buffers ---

buffer = Buffer(np.ones((2, 3)))
USES = {
    "adding": lambda: buffer + 1,
    "being added": lambda: 1 + buffer,
    "adding in place": lambda: operator.iadd(buffer, 1),
    "floor division": lambda: buffer // 2,
    "a remainder": lambda: 2 % buffer,
    "a power": lambda: 2**buffer,
    "a product of matrices": lambda: buffer @ np.ones((3, 2)),
    "a product with an array": lambda: np.ones((2, 3)) * buffer,
    "a product with a NumPy number": lambda: np.float32(2) * buffer,
    "negation": lambda: -buffer,
    "the absolute value": lambda: abs(buffer),
    "a comparison": lambda: buffer > 0,
    "equality": lambda: buffer == 0,
    "a decision": lambda: 1 if buffer else 0,
    "a float": lambda: float(buffer),
    "math": lambda: math.exp(buffer),
    "an index": lambda: buffer[0],
    "an assignment": lambda: operator.setitem(buffer, slice(None), 0),
    "a loop": lambda: list(buffer),
    "membership": lambda: 1 in buffer,
    "a NumPy function": lambda: np.exp(buffer),
    "a NumPy sum": lambda: np.sum(buffer),
    "a NumPy output": lambda: np.add(1, 2, out=buffer),
    "a conversion": lambda: np.asarray(buffer),
    "stacking": lambda: np.concatenate([buffer, buffer]),
    "a method": lambda: buffer.sum(),
    "the transposed": lambda: buffer.T,
    "text": lambda: f"{buffer:.2f}",
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_a_buffer_refuses_to_be_computed_with(use):
    with pytest.raises(NotCapturable, match=r"its values do not exist yet; call kernels of `ops`"):
        USES[use]()


def test_a_buffer_has_a_shape_a_dtype_and_other_shapes():
    assert (buffer.shape, buffer.ndim, buffer.size, len(buffer), buffer.dtype) == ((2, 3), 2, 6, 2, np.float64)
    assert buffer.reshape((3, 2)).shape == buffer.reshape(3, -1).shape == (3, 2)
    assert copy.deepcopy(buffer).shape == (2, 3)


def test_parameters_and_the_clock_have_no_values_under_capture():
    layer = fn.layers.Dense(2, input_shape=(3,))
    fn.Sequential([layer])
    ops = recorder()
    with ops:
        for value in (layer.kernel.value, layer.kernel.gradient, ops.clock):
            assert isinstance(value, Buffer)
        assert layer.kernel.shape == (3, 2)
    assert isinstance(layer.kernel.value, np.ndarray)


# --- launches ---


def test_a_recorder_writes_down_and_runs_nothing():
    ops = recorder()
    z, y = np.full((2, 3), 5, np.float32), np.full((2, 3), 7, np.float32)
    ops.softmax(z, y)
    assert (y == 7).all()
    assert repr(ops.launches) == "[softmax((2, 3), (2, 3))]"
    Eager(backends.get("numpy"), np.float32).softmax(z, y)
    assert (y != 7).all()


def test_later_axes_are_folded_and_memory_is_shared():
    z = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    launch = Launch(KERNELS["activation"], [z, z, 4, 0.0], np.dtype(np.float32))
    assert [a.shape for a in launch.arrays] == [(2, 12), (2, 12)]
    assert all(np.shares_memory(a, z) for a in launch.arrays)
    assert launch.share == ("rows", 2)
