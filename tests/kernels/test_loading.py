"""Native kernels are compiled once on a machine, whoever asks first, and loaded by all others without Numba."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import fastnn as fn

pytest.importorskip("numba")
from fastnn.kernels.numba_ import cache, loading

TINY = """
import sys
import numpy as np
import fastnn as fn
from fastnn.capture import Eager

words = np.empty(6, np.int64)
Eager(fn.backends.get("numba"), np.float32).random_bits(np.zeros(3, np.int64), words, 0, 0)
assert [f"{w:08x}" for w in words[:4]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"], words
"""


def run_python(code, **variables):
    env = {key: value for key, value in os.environ.items() if key != "FASTNN_QUIET"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env={**env, **variables}, **pipes)


def finish(process):
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out, err


def network(seed=1):
    model = fn.Sequential([fn.layers.Dense(6, "relu"), fn.layers.Dense(3, "softmax")], backend="numba", seed=seed)
    model.compile("adam", "sparse_categorical_crossentropy", metrics="accuracy")
    return model


def test_processes_that_start_at_once_share_an_empty_cache(tmp_path):
    together = [run_python(TINY, FASTNN_CACHE=str(tmp_path)) for _ in range(3)]
    for process in together:
        _, err = finish(process)
        assert err.count("fastnn: compiling native kernels") == err.count("\n") <= 1
    (folder,) = tmp_path.iterdir()
    path, module = sorted(folder.iterdir(), reverse=True)
    assert (path.name, module.name) == ("random_bits-int64.o", "random_bits-int64.bc")
    assert finish(run_python(TINY, FASTNN_CACHE=str(tmp_path)))[1] == ""

    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    _, err = finish(run_python(TINY, FASTNN_CACHE=str(tmp_path)))
    assert "compiling" in err
    assert path.read_bytes()[-32:] == cache.hashlib.sha256(path.read_bytes()[:-32]).digest()

    path.unlink()
    assert finish(run_python(TINY, FASTNN_CACHE=str(tmp_path), FASTNN_QUIET="1")) == ("", "")


def test_a_warm_process_trains_without_importing_numba():
    code = """
import sys
import numpy as np
import fastnn as fn

model = fn.Sequential([fn.layers.Dense(6, "relu"), fn.layers.Dense(3, "softmax")], backend="numba", seed=1)
model.compile("adam", "sparse_categorical_crossentropy", metrics="accuracy")
model.fit(np.eye(9), np.arange(9) % 3, batch_size=4, verbose=0)
model.evaluate(np.eye(9), np.arange(9) % 3)
print(model.predict(np.eye(9)).tobytes().hex())
print([name for name in ("numba", "llvmlite") if name in sys.modules])
"""
    model = network()
    model.fit(np.eye(9), np.arange(9) % 3, batch_size=4, verbose=0)
    model.evaluate(np.eye(9), np.arange(9) % 3)
    predicted = model.predict(np.eye(9)).tobytes().hex()  # all kernels are compiled now
    out, err = finish(run_python(code))
    assert out.splitlines() == [predicted, "['llvmlite']"]
    assert err == ""


def test_a_second_fit_compiles_nothing(monkeypatch):
    x, y = np.eye(9), np.arange(9) % 3
    network().fit(x, y, batch_size=4, verbose=0, validation_split=0.3)

    def refuse(*args):
        raise AssertionError(f"compiled again: {args}")

    monkeypatch.setattr(loading, "_compile", refuse)
    monkeypatch.setattr(loading._cache, "get", refuse)
    network(seed=2).fit(np.eye(17), np.arange(17) % 3, batch_size=5, epochs=2, verbose=0, validation_split=0.3)


@pytest.mark.parametrize("executable", [sys.executable, "/nowhere/python"])
def test_two_processes_share_a_long_compilation(tmp_path, executable):
    names = ["dense", "record", "check_finite", "sum_slabs"]  # the other begins at the end while we make the longest
    script = f"""
import sys
from fastnn.kernels.numba_ import loading
sys.executable = {executable!r}
compiled = []
own, loading._compile = loading._compile, lambda *key: compiled.append(key[0]) or own(*key)
loading.cores = lambda: 2
wanted = [(name, "float32") for name in {names}]
loading.compile_ahead(wanted)
for key in wanted:
    assert loading.address(*key)
print(*compiled)
"""
    out, err = finish(run_python(script, FASTNN_CACHE=str(tmp_path)))
    assert err.count("fastnn: compiling native kernels") == 1
    (folder,) = tmp_path.iterdir()
    assert {path.stem for path in folder.iterdir()} == {f"{name}-float32" for name in names}
    compiled = out.split()
    assert compiled == names[: len(compiled)]
    assert (len(compiled) < len(names)) == (executable == sys.executable)
