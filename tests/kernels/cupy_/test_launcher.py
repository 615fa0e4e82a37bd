"""Every CUDA kernel gives the reference's values and the same bits in whatever order its threads run."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_cupy import cpu_module
from simulated_cupy.cpu_module import GUARD, GUARD_BYTES, ORDERS, CpuModule

from fastnn.kernels import numpy_
from fastnn.kernels.contract import KERNELS, TABLE_COLUMNS
from fastnn.kernels.cupy_ import launcher, texts

pytestmark = pytest.mark.skipif(cpu_module.COMPILER is None, reason="g++ is not installed")

NAMES = [name for name in KERNELS if texts.has(name)]
# Rows and columns with a rest: of a warp, of a block, of a block of rows; one that is wide, and one column alone.
SHAPES = [(67, 37), (5, 300), (130, 1)]
SCALARS = {"kind": 7, "alpha": 0.3, "code": 2, "seed": 2**60 + 9, "step": 3, "stream": 64, "threshold": 2**31,
           "column": 1, "nesterov": 1, "beta_1": 0.9, "beta_2": 0.99, "rho": 0.9}  # fmt: skip
INTEGERS = {
    "clock": lambda shape, limit: np.array([1, 5, 2]),
    "fault": lambda shape, limit: np.zeros(shape, np.int64),
    "permutation": lambda shape, limit: np.random.default_rng(4).permutation(shape[0]),
    "labels": lambda shape, limit: np.arange(shape[0]) % limit,
    "out": lambda shape, limit: np.zeros(shape, np.int64),
}


@pytest.fixture(autouse=True)
def _on_this_processor(monkeypatch):
    monkeypatch.setattr(launcher, "_module", lambda source, dtype: CpuModule(source, texts.options(dtype)))


def arguments(kernel, shape, dtype):
    """Values for all arguments: positive numbers below 1, and integers that mean something."""
    rows, columns = shape
    lengths = {"N": rows, "F": columns, "O": columns, "P": rows, "Q": columns, "M": rows + 3, "S": 4, "K": 3}
    rng = np.random.default_rng(11)
    values = []
    for array in kernel.arrays:
        size = tuple(int(axis) if axis.isdigit() else lengths[axis] for axis in array.axes)
        if array.element == "int":
            values.append(INTEGERS[array.name](size, columns))
        else:
            if array.name == "table":
                size = (size[0], TABLE_COLUMNS[kernel.name])
            values.append(rng.uniform(0.1, 0.9, size).astype(dtype if array.element == "real" else np.float64))
    return [*values, *(SCALARS.get(name, 0.25) for name, _ in kernel.scalars)]


def between_guards(array):
    """The same array on a device that notices what is written beside it."""
    guard = GUARD_BYTES * (GUARD // len(GUARD_BYTES))
    room = bytes(1 << 14)  # for who writes further, so that this process lives to tell
    memory = np.frombuffer(bytearray(room + guard + bytes(array.nbytes) + guard + room), np.uint8)[len(room) :]
    inside = memory[GUARD : GUARD + array.nbytes].view(array.dtype).reshape(array.shape)
    inside[...] = array
    return inside


def results(kernel, values, order, fault=None):
    """What a kernel wrote, with its threads in one of ORDERS."""
    values = [between_guards(v) if isinstance(v, np.ndarray) else v for v in values]
    function, grid, block, args = launcher.prepare(kernel, values, fault)
    ranges = [(v.ctypes.data, v.ctypes.data + v.nbytes) for v in values if isinstance(v, np.ndarray)]
    function.bind(grid, block, args, ranges=ranges).run(order)
    return written(kernel, values)


def written(kernel, values):
    """Those of a kernel's arrays that it writes and whose values mean something: not an optimizer's scratch space."""
    scratch = "dweight" if "table" in kernel.arguments else ""
    return [v for a, v in zip(kernel.arrays, values, strict=False) if a.writes and a.name != scratch]


def disagreement(kernel, shape, dtype):
    """The first order of threads in which a kernel does not write the bits of the first one, if any."""
    values = arguments(kernel, shape, dtype)
    first = [out.tobytes() for out in results(kernel, values, ORDERS[0])]
    return next((o for o in ORDERS if [out.tobytes() for out in results(kernel, values, o)] != first), None)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_threads_changes_no_bit(name, shape, dtype):
    kernel = KERNELS[name]
    assert disagreement(kernel, shape, dtype) is None
    values = arguments(kernel, shape, dtype)
    expected = [value.copy() if isinstance(value, np.ndarray) else value for value in values]
    getattr(numpy_, name)(*expected)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[str(dtype)]
    for out, wanted in zip(results(kernel, values, 0), written(kernel, expected), strict=True):
        np.testing.assert_allclose(out, wanted, rtol=tolerance, atol=tolerance)


def without_barrier(text, number):
    """The text without one of its barriers."""
    parts = text.split("__syncthreads();")
    return "".join(p + ("__syncthreads();" if i != number else "") for i, p in enumerate(parts[:-1])) + parts[-1]


@pytest.mark.parametrize("file, number", [("common.cuh", 0), ("common.cuh", 1), ("dense.cu", 0), ("dense.cu", 1)])
def test_without_a_barrier_threads_disagree(monkeypatch, file, number):
    """So the test above would notice that one is missing."""
    whole = (texts.FOLDER / file).read_text(encoding="utf-8")
    assert whole.count("__syncthreads();") == 2
    source = texts.source
    monkeypatch.setattr(texts, "source", lambda name: source(name).replace(whole, without_barrier(whole, number)))
    names = ["column_sum"] if file == "dense.cu" else ["softmax", "softmax_crossentropy", "penalty"]
    assert any(disagreement(KERNELS[name], (70, 300), np.dtype(np.float32)) is not None for name in names)


@pytest.mark.parametrize("name", [name for name in NAMES if texts.sees_fault(KERNELS[name])])
def test_nothing_is_updated_after_a_fault(name, dtype):
    kernel = KERNELS[name]
    values = arguments(kernel, (67, 37), dtype)
    for fault in (0, 2):
        for out, before in zip(results(kernel, values, 0, np.array([fault])), written(kernel, values), strict=True):
            assert np.array_equal(out, before) == bool(fault)


@pytest.mark.parametrize("fault, expected", [(0, [8, 4, 132]), (1, [7, 3, 100])])
def test_the_clock_goes_on_until_there_is_a_fault(fault, expected):
    clock = np.array([7, 3, 100])
    launcher.advance(clock, np.array([fault]), 32)()
    assert clock.tolist() == expected


def test_scalars_have_the_types_of_the_kernel(dtype):
    """CuPy hands over the bytes of whatever it is given, so a Python number would be read as something else."""
    kernel = KERNELS["rmsprop_update"]
    values = arguments(kernel, (3, 5), dtype)
    values[kernel.arguments.index("velocity")] = None
    function, grid, block, args = launcher.prepare(kernel, values)
    assert [type(value) for value in args[5:]] == [
        np.uintp, np.float64, dtype.type, dtype.type, *[np.int64] * 4, np.uintp
    ]  # fmt: skip
    assert [int(value) for value in args[9:13]] == [4, 1, 3, 5]
    with pytest.raises(TypeError, match=r"argument 7 of rmsprop_update must be float\d\d, got float"):
        function(grid, block, (*args[:7], 0.25, *args[8:]))
