"""The doctor's facts are there and add up; how fast a machine is, no test can know."""

from __future__ import annotations

import json
import os
import platform

import numpy as np
import pytest

import fastnn
from fastnn import automatic, backends, doctor
from fastnn.cli import main
from fastnn.cli.doctor import lines
from fastnn.kernels import threads


@pytest.fixture(scope="module")
def report():
    return doctor.examine()


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": False})
    monkeypatch.setattr(doctor, "ceilings", doctor.ceilings.__wrapped__)


def test_versions(report):
    assert report["versions"]["python"] == platform.python_version()
    assert report["versions"]["fastnn"] == fastnn.__version__
    assert report["versions"]["numpy"] == np.__version__
    assert {"numba", "llvmlite", "cupy"} <= report["versions"].keys()
    assert bool(report["versions"]["numba"]) == backends.available()["numba"]


def test_backends(report):
    found = report["backends"]
    assert (found["auto"], found["why"]) == backends.auto()
    assert found["no_gpu"] == automatic.why_no_gpu()
    assert found["available"] == backends.available()
    assert found["available"][found["in_force"]]


def test_processor(report):
    cpu = report["cpu"]
    assert cpu["name"]
    assert 1 <= cpu["cores_allowed"] <= cpu["cores"]
    assert cpu["vector_bits"] in (128, 256, 512)
    assert cpu["thread_counts"] == threads.choices()


@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="the engine plays another processor")
def test_vectors_are_those_of_the_engine(report):
    pytest.importorskip("numba")
    from fastnn.kernels.numba_ import ceilings

    assert report["cpu"]["vector_bits"] == 8 * ceilings.vector_bytes()


def test_ceilings():
    found = doctor.ceilings()
    assert found.gflops.keys() == {"float32", "float64"}
    assert list(found.bandwidth) == doctor._working_sets()
    rates = [rate for table in (found.gflops, found.bandwidth) for of in table.values() for rate in of.values()]
    assert all(rate > 0 for rate in rates)
    if backends.available()["numba"]:
        assert "native" in found.source
        counts = list(found.gflops["float32"])
        assert counts == sorted({1, threads.cores(), *counts})
        assert all(list(of) == counts for table in (found.gflops, found.bandwidth) for of in table.values())


def test_ceilings_are_measured_once():
    assert doctor.ceilings() is doctor.ceilings()


def test_without_numba_numpy_gives_an_estimate_and_says_so(without_numba):
    found = doctor.examine()
    assert found["ceilings"]["source"].startswith("estimated with NumPy (numba is not installed")
    assert all(rate > 0 for of in found["ceilings"]["gflops"].values() for rate in of.values())
    assert all(of[1] > 0 for of in found["ceilings"]["bandwidth_gb_s"].values())
    assert found["kernel_cache"] is None
    assert found["backends"]["auto"] == "numpy"
    assert "estimated with NumPy" in "\n".join(lines(found))


@pytest.mark.parametrize("error", [ImportError("no llvmlite"), OSError("noexec"), RuntimeError("no code")])
def test_native_code_that_fails_is_named_and_does_no_harm(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": True})
    monkeypatch.setattr(doctor, "_native_ceilings", fail)
    monkeypatch.setattr(doctor, "_working_sets", lambda: [1])
    assert str(error) in doctor.ceilings.__wrapped__().source


def test_kernel_cache_counts_kernels(report):
    pytest.importorskip("numba")
    from fastnn.kernels.numba_ import loading

    loading.address("gather", "float32")
    before = doctor.kernel_cache()
    assert before["kernels"] >= 1
    assert before["folder"] in map(str, loading.cache().folders)


def test_blas(report):
    found = report["blas"]
    assert found["name"]
    assert all(found["matmul_gflops"][dtype] > 0 for dtype in ("float32", "float64"))
    if "openblas" in found["name"]:
        assert found["core"]
        assert found["threads"] >= 1


def test_json(capsys, monkeypatch, report):
    monkeypatch.setattr(doctor, "examine", lambda: report)
    assert main(["doctor", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read.keys() == {"versions", "backends", "cpu", "kernel_cache", "ceilings", "blas", "hints"}
    rate = report["ceilings"]["gflops"]["float32"]
    assert read["ceilings"]["gflops"]["float32"] == {str(n): value for n, value in rate.items()}


def test_text(capsys, monkeypatch, report):
    monkeypatch.setattr(doctor, "examine", lambda: report)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for fact in (np.__version__, report["cpu"]["name"], backends.auto()[1], report["blas"]["name"], "GB/s on 1 thread"):
        assert fact in text
    assert all(hint in text for hint in report["hints"])
    assert ("all is well" in text) == (not report["hints"])


# --- hints ---


def healthy():
    return {
        "kernel_cache": {"kernels": 3},
        "cpu": {"vectors": "AVX-512", "cores_quota": None, "cores_allowed": 4},
        "ceilings": {"gflops": {"float32": {1: 100.0, 2: 190.0, 4: 360.0}}},
        "blas": {"core": "SkylakeX", "matmul_gflops": {"float32": 100.0}},
    }


def test_a_healthy_machine_gets_no_hints():
    assert doctor.hints(healthy()) == []


@pytest.mark.parametrize(
    "part, change, expected",
    [
        ("kernel_cache", {"kernels": 0}, "fastnn warmup"),
        ("cpu", {"cores_quota": 1.5}, "FASTNN_THREADS=1"),
        ("ceilings", {"gflops": {"float32": {1: 100.0, 4: 120.0}}}, "4 threads do the work of 1.2"),
    ],
)
def test_hints(part, change, expected):
    report = healthy()
    report[part].update(change)
    (hint,) = doctor.hints(report)
    assert expected in hint


def test_a_missing_engine_is_the_first_hint():
    (hint,) = doctor.hints(healthy() | {"kernel_cache": None})
    assert 'pip install "fastnn[numba]"' in hint


@pytest.mark.parametrize(
    "after, expected",
    [(200.0, "faster (100 -> 200 GFLOP/s)"), (104.0, "little difference here (100 -> 104"), (None, "may make")],
)
@pytest.mark.parametrize("core", ["Haswell", "Zen"])
def test_openblas_that_does_not_know_the_processor(monkeypatch, core, after, expected):
    monkeypatch.setattr(doctor, "_matmul_with", {"SkylakeX": after}.get)
    report = healthy()
    report["blas"]["core"] = core
    (hint,) = doctor.hints(report)
    assert f"for {core}: OPENBLAS_CORETYPE=SkylakeX" in hint
    assert expected in hint
    report["cpu"]["vectors"] = "AVX2"
    assert doctor.hints(report) == []


def test_the_comparison_runs_in_a_process_of_its_own():
    rate = doctor._matmul_with("Haswell")
    assert rate is not None
    assert rate > 0


# --- containers ---


@pytest.fixture
def files(monkeypatch):
    """Stand-ins for the system's files, by path."""
    found = {}
    monkeypatch.setattr(doctor, "_text", lambda path: found.get(path, ""))
    return found


@pytest.mark.parametrize("inner, outer, quota", [("150000 100000", "max 100000", 1.5), ("max 100000", "", None)])
def test_quota_of_control_groups(files, inner, outer, quota):
    files["/proc/self/cgroup"] = "0::/outer/inner"
    files["/sys/fs/cgroup/outer/inner/cpu.max"] = inner
    files["/sys/fs/cgroup/outer/cpu.max"] = outer
    assert doctor.cpu_quota() == quota


def test_the_smallest_quota_counts(files):
    files["/proc/self/cgroup"] = "0::/outer/inner"
    files["/sys/fs/cgroup/outer/inner/cpu.max"] = "400000 100000"
    files["/sys/fs/cgroup/cpu.max"] = "50000 100000"
    assert doctor.cpu_quota() == 0.5


@pytest.mark.parametrize("written, quota", [("200000", 2.0), ("-1", None)])
def test_quota_of_the_older_control_groups(files, written, quota):
    files["/proc/self/cgroup"] = "4:memory:/box\n3:cpu,cpuacct:/box"
    files["/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us"] = written
    assert doctor.cpu_quota() == quota


def test_little_memory_makes_the_largest_working_set_smaller(files):
    files["/proc/meminfo"] = "MemTotal: 9 kB\nMemAvailable:    4194304 kB"
    assert doctor.available_memory() == 4096 * doctor.MB
    assert doctor._working_sets() == [1, 24, 512]
    files["/proc/self/cgroup"] = "0::/box"
    files["/sys/fs/cgroup/box/memory.max"] = str(256 * doctor.MB)
    assert doctor._working_sets() == [1, 24, 64]


def test_a_system_without_these_files(files):
    assert doctor.cpu_quota() is None
    assert doctor._working_sets() == list(doctor.WORKING_SETS)
