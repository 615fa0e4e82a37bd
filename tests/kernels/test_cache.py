"""What is kept on disk is found whole, or not at all, whatever happens to the files meanwhile."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("numba")
from fastnn.kernels.numba_ import cache

CODE = bytes(range(256)) * 9


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
