"""Native kernels are compiled once on a machine, whoever asks first and whatever happens to the files meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import fastnn as fn
from fastnn.capture import Launch
from fastnn.kernels.contract import KERNELS

pytest.importorskip("numba")
from fastnn.kernels.numba_ import arguments, cache, engine, loading, native
from fastnn.kernels.numba_.internal import INTERNAL

CODE = bytes(range(256)) * 9
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


# --- files ---


@pytest.fixture
def store(tmp_path):
    return cache.Cache([tmp_path / "kernels"])


def test_what_is_stored_is_loaded(store, tmp_path):
    assert store.load("a.o") is None
    store.store("a.o", CODE)
    assert store.load("a.o") == CODE
    assert store.load("b.o") is None
    store.store("a.o", CODE[:9])
    assert store.load("a.o") == CODE[:9]
    assert [path.name for path in (tmp_path / "kernels").iterdir()] == ["a.o"]


@pytest.mark.parametrize("damage", [
    lambda whole: b"",
    lambda whole: whole[: len(whole) // 2],
    lambda whole: whole[:-1],
    lambda whole: whole[:-32],
    lambda whole: whole[:100] + b"\0" + whole[101:],
    lambda whole: whole + b"\0",
])  # fmt: skip
def test_a_damaged_file_is_made_again(store, damage):
    store.store("a.o", CODE)
    path = store.folders[0] / "a.o"
    path.write_bytes(damage(path.read_bytes()))
    assert store.load("a.o") is None
    made = []
    assert store.get("a.o", lambda: made.append(1) or CODE) == CODE
    assert store.get("a.o", lambda: made.append(1) or CODE) == CODE
    assert made == [1]


def test_a_write_that_fails_leaves_the_file_that_was_there(store, monkeypatch):
    store.store("a.o", CODE)

    def full(path, content):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    store.store("a.o", b"new")
    assert store.load("a.o") == CODE
    monkeypatch.setattr(Path, "write_bytes", full)
    store.store("a.o", b"new")
    assert [path.name for path in store.folders[0].iterdir()] == ["a.o"]
    assert store.load("a.o") == CODE


def test_where_nothing_can_be_written_the_next_folder_serves(tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = cache.Cache([tmp_path / "file" / "kernels", tmp_path / "other"])
    store.store("a.o", CODE)
    assert (tmp_path / "other" / "a.o").is_file()
    assert store.load("a.o") == CODE
    nowhere = cache.Cache([tmp_path / "file" / "kernels"])
    assert nowhere.get("a.o", lambda: CODE) == CODE
    assert nowhere.load("a.o") is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
def test_code_of_others_in_the_temporary_folder_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    theirs = cache.Cache([tmp_path / "planted"])
    theirs.store("a.o", CODE)
    assert theirs.load("a.o") == CODE
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert theirs.load("a.o") is None
    theirs.store("b.o", CODE)
    assert not (tmp_path / "planted" / "b.o").exists()


def test_other_sources_or_another_compiler_have_another_folder(tmp_path, monkeypatch):
    source = tmp_path / "dense.py"
    source.write_text("a")
    monkeypatch.setattr(cache, "SOURCES", [source])
    first = cache.folders("llvm 20")
    assert cache.folders("llvm 20") == first
    assert cache.folders("llvm 21") != first
    source.write_text("b")
    assert not set(cache.folders("llvm 20")) & set(first)


def test_all_sources_count():
    folder = Path(cache.__file__).parent
    assert {*folder.glob("*.py"), folder.parent / "contract.py"} <= set(cache.SOURCES)


def test_the_folder_follows_the_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("FASTNN_CACHE", str(tmp_path / "own"))
    assert cache.folders("")[0].parent == tmp_path / "own"
    monkeypatch.delenv("FASTNN_CACHE")
    assert cache.folders("")[0].parent == tmp_path / "xdg" / "fastnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folders("")[0].parent == Path.home() / ".cache" / "fastnn"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert [folder.parent for folder in cache.folders("")] == [Path(tempfile.gettempdir())]


# --- processes ---


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


# --- in one process ---


def test_a_second_fit_compiles_nothing(monkeypatch):
    x, y = np.eye(9), np.arange(9) % 3
    network().fit(x, y, batch_size=4, verbose=0, validation_split=0.3)

    def refuse(*args):
        raise AssertionError(f"compiled again: {args}")

    monkeypatch.setattr(loading, "_compile", refuse)
    monkeypatch.setattr(loading._cache, "get", refuse)
    network(seed=2).fit(np.eye(17), np.arange(17) % 3, batch_size=5, epochs=2, verbose=0, validation_split=0.3)


def test_a_broken_kernel_tells_its_name(monkeypatch):
    def dense(x, weight, z):
        pass

    with pytest.raises(TypeError, match=r"native kernel dense takes \['x', 'weight', 'z'\], the contract wants"):
        native.kernel(dense)
    assert native.has("dense")
    assert not native.has("sparkle")


def test_every_kernel_of_the_contract_has_a_native_body():
    assert native.body_of("dense").__name__ == "dense"
    assert set(native._bodies) == {*KERNELS, *INTERNAL}


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
