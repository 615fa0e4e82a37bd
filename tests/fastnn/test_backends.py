"""A backend is chosen by name, loaded when it is asked for, and carried by the model."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import fastnn as fn
from fastnn import backends

both = pytest.mark.skipif(not backends.available()["numba"], reason="numba is not installed")


@pytest.fixture(autouse=True)
def nobody_has_chosen(monkeypatch):
    monkeypatch.setattr(backends, "_used", None)
    monkeypatch.delenv("FASTNN_BACKEND", raising=False)


def run_python(code, **variables):
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_there():
    assert backends.available()["numpy"]
    assert set(backends.available()) == set(backends.BACKENDS) - {"auto"}


@both
def test_who_says_it_last_and_closest_decides(monkeypatch):
    assert backends.current() == "numba"
    monkeypatch.setenv("FASTNN_BACKEND", "NumPy")
    assert backends.current() == "numpy"
    fn.use("numba")
    assert backends.current() == "numba"
    with fn.backend("numpy"):
        assert backends.current() == "numpy"
        with fn.backend("auto"):
            assert backends.current() == "numba"
        assert backends.current() == "numpy"
        assert fn.Sequential(backend="numba").backend.name == "numba"
    assert backends.current() == "numba"


@both
def test_use_within_a_block_counts_after_it():
    with fn.backend("numpy"), fn.backend("numpy"):
        fn.use("numba")
        assert backends.current() == "numpy"
    assert backends.current() == "numba"


@both
def test_an_error_in_a_block_ends_it():
    with pytest.raises(ZeroDivisionError), fn.backend("numpy"):
        raise ZeroDivisionError
    assert backends.current() == "numba"


@both
def test_a_block_is_that_of_one_thread():
    inside, checked, seen = threading.Event(), threading.Event(), []

    def other():
        with fn.backend("numpy"):
            inside.set()
            checked.wait(10)
            seen.append(backends.current())

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    assert backends.current() == "numba"
    checked.set()
    thread.join()
    assert seen == ["numpy"]


def test_auto_gives_a_reason(monkeypatch):
    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": True})
    assert backends.auto() == ("numba", "numba is installed: native code, many steps in one call")
    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": False})
    assert backends.auto()[0] == "numpy"
    assert "[numba]" in backends.auto()[1]


def test_what_is_not_installed_is_told_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": False})
    calls = [lambda: fn.use("numba"), lambda: fn.Sequential(backend="numba"), lambda: fn.Sequential().to("numba")]
    for call in calls:
        with pytest.raises(ImportError, match=r"backend 'numba' is not installed: pip install \"fastnn\[numba\]\""):
            call()
    assert backends.current() == "numpy"
    monkeypatch.setenv("FASTNN_BACKEND", "numba")
    with pytest.raises(ImportError, match="FASTNN_BACKEND 'numba' is not installed"):
        backends.current()


def test_a_backend_is_made_once():
    assert backends.get("numpy") is backends.get("NUMPY") is fn.Sequential(backend="numpy").backend


def test_a_backend_is_loaded_when_it_is_asked_for():
    code = """
import sys, fastnn as fn
fn.Sequential([fn.layers.Dense(2, input_shape=(3,))], backend="numpy").predict([[1.0, 2.0, 3.0]])
print([name for name in sys.modules if "numba" in name or name == "llvmlite"])
"""
    assert run_python(code) == "[]"


def test_everything_works_without_numba():
    code = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
import numpy as np, fastnn as fn
model = fn.Sequential([fn.layers.Dense(2), fn.layers.Dropout(0.1), fn.layers.Dense(2, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics="accuracy")
model.fit(np.eye(8), np.arange(8) % 2, epochs=2, verbose=0, validation_split=0.25)
model.evaluate(np.eye(8), np.arange(8) % 2)
fn.set_threads(2)
print(model.backend.name, model.predict(np.eye(8)).shape)
"""
    assert run_python(code) == "numpy (8, 2)"
    assert run_python(code, FASTNN_BACKEND="auto") == "numpy (8, 2)"
