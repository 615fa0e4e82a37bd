"""Compiling ahead: all that training needs, once, and kept where it says."""

from __future__ import annotations

import re

import pytest

import fastnn
from fastnn.cli import warmup

QUICK = ["--epochs", "2", "--layers", "8", "--verbose", "0"]


def test_warmup_compiles_what_training_needs(fastnn_command, monkeypatch):
    pytest.importorskip("numba")
    from fastnn.kernels.numba_ import loading

    loaded = []
    load = loading.load_or_compile
    monkeypatch.setattr(
        loading, "load_or_compile", lambda name, dtype, make: loaded.append((name, dtype)) or load(name, dtype, make)
    )
    for data in ("digits", "diabetes"):
        fastnn_command("train", "--data", data, "--backend", "numba", "--dropout", 0.1, "--patience", 1, *QUICK)
    assert {name for name, _ in loaded} > {"replay", "gather", "dense", "adam_update"}
    assert set(loaded) <= set(warmup.jobs(["float32"]))


def test_warmup_covers_every_kernel():
    pytest.importorskip("numba")

    def names(jobs):
        return {name for name, _ in jobs}

    both = warmup.jobs(warmup.DTYPES)
    assert names(both) == {*fastnn.kernels.contract.KERNELS, *warmup._internal(), "replay"}
    assert set(both) == {*warmup.jobs(["float32"]), *warmup.jobs(["float64"])}
    assert len(both) == len(set(both))
    assert not any(dtype == "float64" for _, dtype in warmup.jobs(["float32"]))
    assert names(warmup.jobs(["float32"], loops=True)) - names(both) == {"fma", "triad"}


def test_warmup_compiles_once(fastnn_command, tmp_path, monkeypatch):
    pytest.importorskip("numba")
    from fastnn.kernels.numba_ import loading
    from fastnn.kernels.numba_.cache import Cache

    monkeypatch.setenv("FASTNN_QUIET", "1")
    monkeypatch.setattr(loading, "_cache", Cache([tmp_path / "kernels"]))
    monkeypatch.setattr(warmup, "jobs", lambda dtypes, loops: [("replay", "any"), ("gather", dtypes[0])])
    for counts, how in (("2 compiled, 0 were there", r"\d+\.\d s"), ("0 compiled, 2 were there", "was there")):
        monkeypatch.setattr(loading, "_addresses", {})  # as in a new process
        code, out, err = fastnn_command("warmup", "--dtype", "float64")
        assert (code, err) == (0, [])
        assert re.fullmatch(rf"  2/2 gather float64: {how}", out[1])
        assert out[2].startswith(counts)
        assert out[3] == f"kept in {tmp_path / 'kernels'}"
    kept = sorted(path.name for path in (tmp_path / "kernels").iterdir())
    assert kept == ["gather-float64.bc", "gather-float64.o", "replay-any.o"]


def test_warmup_that_can_keep_nothing_says_so(fastnn_command, tmp_path, monkeypatch):
    pytest.importorskip("numba")
    from fastnn.kernels.numba_ import loading
    from fastnn.kernels.numba_.cache import Cache

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTNN_QUIET", "1")
    monkeypatch.setattr(loading, "_cache", Cache([tmp_path / "file" / "kernels"]))
    monkeypatch.setattr(loading, "_addresses", {})
    monkeypatch.setattr(warmup, "jobs", lambda dtypes, loops: [("gather", "float32")])
    code, _, err = fastnn_command("warmup")
    assert code == 2
    assert "FASTNN_CACHE" in err[0]
