"""`auto` stays on the CPU unless there is a GPU on which the model's own step proved faster, and says why."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastnn as fn
from fastnn import automatic, backends
from fastnn.errors import DeviceError

X, Y = np.ones((64, 4)), np.ones((64, 2))


def network(backend="auto", **options):
    model = fn.Sequential([fn.layers.Dense(3, "relu", input_shape=(4,)), fn.layers.Dense(2)], backend=backend, seed=1)
    model.compile("adam", "mse", **options)
    return model


@pytest.fixture
def times(monkeypatch):
    """Pretend that steps take so many microseconds on the CPU and on the GPU, which can be used."""
    monkeypatch.setattr(automatic, "why_no_gpu", lambda: "")

    def pretend(cpu, gpu):
        def seconds(model, rows):
            found = gpu if model.backend.name == "cupy" else cpu
            if isinstance(found, Exception):
                raise found
            return None if found is None else found * 1e-6

        monkeypatch.setattr(automatic, "_seconds", seconds)

    return pretend


def test_without_a_gpu_it_is_the_cpu_and_the_reason_is_kept(monkeypatch):
    monkeypatch.setattr(automatic, "why_no_gpu", lambda: "no driver for an NVIDIA GPU is installed")
    model = network()
    assert model.automatic
    model.fit(X, Y, verbose=0)
    assert not model.automatic
    assert model.why_backend == f"{model.backend.name}: no driver for an NVIDIA GPU is installed"


@pytest.mark.parametrize(
    "cpu, gpu, chosen, words",
    [
        (2000, 60, "cupy", "cupy: a step of 32 rows takes 2e[+]03 us on .* and 60 us on the GPU"),
        (90, 100, "cpu", "a step of 32 rows takes 90 us on .* and 100 us on the GPU"),
        (3, 1, "cpu", "takes 3 us on .*, less than launches on a GPU"),
        (None, 1, "cpu", "runs without capture"),
        (90, None, "cpu", "takes 90 us on "),
        (90, MemoryError("the model needs 9 MiB"), "cpu", "takes 90 us on .*, and the model needs 9 MiB"),
    ],
)
def test_the_faster_one_is_chosen_at_the_first_fit(times, cpu, gpu, chosen, words):
    times(cpu, gpu)
    model, other = network(), network("numpy")
    host = model.backend.name
    model.fit(X, Y, verbose=0)
    assert model.backend.name == (host if chosen == "cpu" else chosen)
    assert re.search(words, model.why_backend)
    other.fit(X, Y, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    times(1, 1e9)
    model.fit(X, Y, verbose=0)  # it is asked once
    assert re.search(words, model.why_backend)


def test_measuring_changes_nothing(monkeypatch):
    monkeypatch.setattr(automatic, "why_no_gpu", lambda: "")
    monkeypatch.setattr(automatic, "LEAST", 0.0)
    model, other = network(), network(backends.fastest_on_host().name)
    model.fit(X, Y, verbose=0)
    assert " us on the GPU" in model.why_backend
    model.to(other.backend.name)
    assert model.seed == other.seed
    other.fit(X, Y, verbose=0)
    assert model.optimizer.iterations == other.optimizer.iterations
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_a_backend_that_was_named_is_not_measured(times, backend):
    times(1000, 1)
    model = network(backend)
    assert not model.automatic
    model.fit(X, Y, verbose=0)
    assert model.backend.name == backend
    assert model.to("auto").automatic
    assert not model.to("numpy").automatic


def test_data_on_the_gpu_decide(times):
    times(1, 1e9)
    model = network()
    x, y = backends.get("cupy").bring(X, Y)
    model.fit(x, y, verbose=0)
    assert (model.backend.name, model.why_backend) == ("cupy", "cupy: x is on the GPU")


@pytest.mark.parametrize("missing", ["cupy", "driver", "device", ""])
def test_why_there_is_no_gpu(monkeypatch, missing):
    monkeypatch.setattr(backends, "available", lambda: {"cupy": missing != "cupy"})

    def load(name):
        if missing == "driver":
            raise OSError(name)

    def get(name):
        if missing == "device":
            raise DeviceError("the driver reports none")

    monkeypatch.setattr(automatic.ctypes, "CDLL", load)
    monkeypatch.setattr(backends, "get", get)
    told = {"cupy": "CuPy is not installed", "driver": "no driver for an NVIDIA GPU is installed"}
    assert automatic.why_no_gpu() == told.get(missing, "the driver reports none" if missing else "")
