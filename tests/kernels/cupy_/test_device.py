"""What the user is told where there is no GPU, a wrong one, one that is full, or one that a fork has lost."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import cupy
import numpy as np
import pytest
import simulated_cupy
from simulated_cupy.memory import altered
from simulated_cupy.memory import device as simulated_device

import fastnn as fn
from fastnn.errors import DeviceError
from fastnn.kernels.cupy_ import device

simulated = pytest.mark.skipif(not simulated_cupy.in_force(), reason="changes the simulated device")


@simulated
def test_no_driver(monkeypatch):
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 0)
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU, but no driver for one is installed"):
        device.check()


@simulated
def test_a_driver_without_a_device(monkeypatch):
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 13000)
    with (
        altered(failure=(100, "cudaErrorNoDevice: no CUDA-capable device is detected")),
        pytest.raises(DeviceError, match="the driver reports none: cudaErrorNoDevice"),
    ):
        device.check()
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 0)
    with pytest.raises(DeviceError, match="the driver reports none"):
        device.check()


@simulated
def test_a_driver_that_is_too_old(monkeypatch):
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 12080)
    words = r'for CUDA 13.0, but the driver knows CUDA 12.8 at most: install "fastnn\[cuda12\]" instead'
    with pytest.raises(DeviceError, match=words):
        device.check()


@simulated
@pytest.mark.parametrize("what", ["the model", "a step of 64 rows"])
def test_memory_that_is_not_there(what):
    """The message says what was wanted, what is free and how much there is; the model is as before."""
    inputs, outputs, rows = {"the model": (2000, 2000, 2), "a step of 64 rows": (2, 20000, 64)}[what]
    model = fn.Sequential([fn.layers.Dense(outputs, input_shape=(inputs,))], backend="cupy", seed=1)
    model.compile("sgd", "mse")
    before = [w.tobytes() for w in model.get_weights()]
    words = rf"{what} needs \d+ MiB of the GPU's memory, where \d of \d+ MiB are free"
    x, y = np.ones((rows, inputs), np.float32), np.ones((rows, outputs), np.float32)
    gc.collect()
    with altered(total=simulated_device.used + (4 << 20)), pytest.raises(MemoryError, match=words):
        model.fit(x, y, batch_size=64, verbose=0)
    assert [w.tobytes() for w in model.get_weights()] == before
    model.fit(x[:2], y[:2], verbose=0)
    assert [w.tobytes() for w in model.get_weights()] != before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told(monkeypatch):
    monkeypatch.setattr(device, "_process", -1)
    model = fn.Sequential([fn.layers.Dense(2, input_shape=(2,))], backend="cupy")
    with pytest.raises(DeviceError, match=r"forked child .* start one with 'spawn'"):
        model.predict(np.ones((1, 2)))


@simulated
def test_without_a_gpu_asking_for_it_says_so_and_changes_nothing():
    """In a process of its own, with the CuPy that is installed."""
    code = """
import fastnn as fn
m = fn.Sequential([fn.layers.Dense(2, input_shape=(2,))], backend="numpy")
for ask in (lambda: fn.use("cupy"), lambda: fn.Sequential(backend="cupy"), lambda: m.to("cupy")):
    try:
        ask()
    except (RuntimeError, ImportError) as error:
        print(type(error).__name__, error)
print(m.backend.name, fn.backends.current() != "cupy")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *told, last = done.stdout.splitlines()
    assert len(set(told)) == 1
    assert len(told) == 3
    assert "needs an NVIDIA GPU" in told[0] or 'pip install "fastnn[cuda13]"' in told[0]
    assert last == "numpy True"


def test_what_overlaps_on_the_host_overlaps_there():
    host = np.arange(20.0)
    parts = [host[2:9], host[5:12].reshape(7, 1), host[15:]]
    places = device.Places(parts, "a test")
    first, second, apart = (places.of(part) for part in parts)
    assert second.data.ptr - first.data.ptr == 3 * 8
    assert [array.shape for array in (first, second, apart)] == [(7,), (7, 1), (5,)]
    with device.stream():
        first.set(parts[0])
        assert second.get()[:4, 0].tolist() == [5, 6, 7, 8]
        apart.set(parts[2])
        assert apart.get().tolist() == parts[2].tolist()
    with pytest.raises(KeyError, match=r"no device memory for an array of shape \(20,\)"):
        places.of(host)
