"""The acceptance of a GPU: without one it exits with 3 and a sentence; here all of it runs on the simulated device."""

from __future__ import annotations

import argparse
import importlib.util

import pytest
import simulated_cupy
from simulated_cupy.memory import altered

from fastnn.gpucheck import __main__, checks, record, timings

on_the_simulated_device = pytest.mark.skipif(
    not simulated_cupy.in_force() or simulated_cupy.COMPILER is None, reason="for the simulated device, which needs g++"
)
SMALL = ["--cells", "6-5-3:16:4", "--rounds", "2"]


@on_the_simulated_device
def test_without_a_gpu_it_says_so(tmp_path, capsys):
    with altered(failure=(100, "cudaErrorNoDevice: no CUDA-capable device is detected")):
        assert __main__.main(["--out", str(tmp_path / "r.json")]) == 3
    said = capsys.readouterr().err
    assert said.startswith("No GPU was checked: backend 'cupy' needs an NVIDIA GPU")
    assert said.endswith(".\n")
    assert not list(tmp_path.iterdir())


def test_without_cupy_it_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cupy" else find(name))
    assert __main__.main(["--out", str(tmp_path / "r.json")]) == 3
    assert 'CuPy is not installed: pip install "fastnn[cuda13]"' in capsys.readouterr().err


@on_the_simulated_device
def test_a_record_is_written_and_completed(tmp_path, capsys):
    path = tmp_path / "r.json"
    assert __main__.main(["--out", str(path), "--only", "capture", "timings", *SMALL]) == 0
    first = record.load(path)
    assert first["checks"]["capture"]["passed"]
    assert first["device"]["name"] == "simulated device"
    assert record.changed(first) == []
    (cell,) = first["timings"]
    assert (cell["net"], cell["batch"], cell["precision"], cell["steps"]) == ("6-5-3", 16, "float32", 4)
    assert set(cell["us"]) | set(cell["missing"]) == set(timings.PEERS)
    assert len(cell["us"]["fastnn"]["runs"]) == 2
    assert cell["us"]["fastnn"]["median"] > 0
    assert cell["loss"]["fastnn"][1] < cell["loss"]["fastnn"][0]
    assert __main__.main(["--out", str(path), "--only", "repeat", "timings", *SMALL]) == 0
    second = record.load(path)
    assert set(second["checks"]) == {"capture", "repeat"}
    assert len(second["checks"]["repeat"]["sha256"]) == 64
    assert len(second["timings"]) == 1
    said = capsys.readouterr().out
    assert "simulated device, CUDA driver 13000" in said
    assert "ok     repeat" in said
    assert "6-5-3, batch 16, float32: microseconds a step" in said


@on_the_simulated_device
def test_a_check_that_fails_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(checks.CHECKS, "repeat", lambda limit: {"passed": False, "reason": "other bits"})
    assert __main__.main(["--out", str(tmp_path / "r.json"), "--only", "repeat"]) == 1
    assert "FAILED repeat other bits" in capsys.readouterr().out


@on_the_simulated_device
def test_ceilings_are_positive():
    from fastnn.kernels.cupy_ import ceilings

    found = ceilings.ceilings(large=8, rows=8, size=1 << 12)
    assert list(found) == [
        "copy_gb_per_s", "float32_tflops", "tf32_tflops", "float64_tflops", "launch_in_a_graph_us"
    ]  # fmt: skip
    assert all(value > 0 for value in found.values())


@pytest.mark.parametrize("text", ["784", "7-1:32", "7-1:0:5", "7-x:32:5", "7-1:32:5:half", "7-1:32:5:tf32:1"])
def test_a_cell_that_cannot_be_read_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="a cell is like 784-100-10:32:500"):
        __main__.cell(text)


def test_cells():
    assert __main__.cell("784-100-10:32:500") == timings.Cell((784, 100, 10), 32, 500, "float32")
    assert __main__.cell("30-2:1:7:tf32") == timings.Cell((30, 2), 1, 7, "tf32")


def test_a_folder_that_is_not_there_is_told_first(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        __main__.main(["--out", str(tmp_path / "no" / "r.json")])
    assert "--out: there is no folder" in capsys.readouterr().err
