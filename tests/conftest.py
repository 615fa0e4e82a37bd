"""What all tests share: each body runs on every backend and in both element types, with a tolerance for each."""

from __future__ import annotations

import contextlib
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads spin, and on a shared machine they wait for each other

import numpy as np
import pytest
import simulated_cupy
from simulated_cupy.cpu_module import NoCompiler

from fastnn import backends

DEVICE = simulated_cupy.provide()  # a GPU, or else the simulated one; before anything of ours looks for CuPy
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}


def pytest_configure(config):
    # Compiling native kernels takes a minute, so they are kept; `pytest --cache-clear` forgets them.
    if hasattr(config, "cache"):
        os.environ.setdefault("FASTNN_CACHE", str(config.cache.mkdir("kernels")))
    os.environ.setdefault("FASTNN_QUIET", "1")


_on_device: set[str] = set()  # tests whose backend was cupy


def pytest_terminal_summary(terminalreporter):
    if _on_device:
        terminalreporter.write_line(f"CUDA: {len(_on_device)} tests ran with the backend cupy on {DEVICE}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test that comes to need the simulated device is skipped where that cannot compile."""
    try:
        return (yield)
    except NoCompiler as missing:
        pytest.skip(str(missing))


@contextlib.contextmanager
def _in_force(name, test):
    """Let models of the block run on that backend; skip the test where it is not installed."""
    if not backends.available()[name]:
        pytest.skip(f"{name} is not installed")
    if name == "cupy" and simulated_cupy.in_force() and simulated_cupy.COMPILER is None:
        pytest.skip("g++ is not installed: without it CUDA text cannot run on this processor")
    with backends.backend(name):
        yield name
    if name == "cupy":
        _on_device.add(test.nodeid)


@pytest.fixture(params=list(backends.available()))
def backend(request):
    """The name of a backend, which is in force during the test; what is not installed is skipped."""
    with _in_force(request.param, request.node) as name:
        yield name


@pytest.fixture(params=[name for name in backends.available() if name != "numpy"])
def other(request):
    """The name of a backend to be compared with the reference; what is not installed is skipped."""
    with _in_force(request.param, request.node) as name:
        yield name


@pytest.fixture(params=list(TOLERANCE), ids=str)
def dtype(request):
    """The element type under test."""
    return request.param


@pytest.fixture
def close():
    """Assert that an array is near a formula in float64, within the tolerance of its dtype.

    Sums lose digits by cancellation, so small elements are measured against the largest one, unless `absolute` says
    what is small.
    """

    def check(actual, expected, *, absolute=None):
        expected = np.asarray(expected, np.float64)
        assert actual.shape == expected.shape
        tolerance = TOLERANCE[actual.dtype]
        finite = np.abs(expected[np.isfinite(expected)])
        largest = finite.max(initial=0.0) if absolute is None else absolute
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * largest)

    return check
