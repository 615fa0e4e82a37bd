"""A record of a GPU says what ran with which sources, is completed by later runs, and tells when it is out of date."""

from __future__ import annotations

import json

import pytest

from fastnn.gpucheck import checks, record, timings

DEVICE = {"name": "a GPU", "driver": 13000, "cupy": "14.2.0"}


def test_sources_are_all_files_of_the_backend():
    names = record.sources()
    assert {"common.cuh", "loss.cu", "launcher.py", "products.py"} <= set(names)
    assert all(len(digest) == 64 for digest in names.values())


def test_what_has_changed_since_is_named():
    made = record.new(DEVICE)
    assert record.changed(made) == []
    made["sources"]["loss.cu"] = "0" * 64
    made["sources"]["gone.cu"] = "0" * 64
    del made["sources"]["dense.cu"]
    assert record.changed(made) == ["dense.cu", "gone.cu", "loss.cu"]


def test_a_record_of_this_device_and_these_sources_is_completed(tmp_path):
    path = tmp_path / "r.json"
    made = record.resumed(path, DEVICE)
    made["checks"]["repeat"] = {"passed": True}
    record.save(made, path)
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    assert record.resumed(path, DEVICE) == made
    assert record.resumed(path, DEVICE | {"name": "another"})["checks"] == {}
    made["sources"]["loss.cu"] = "0" * 64
    record.save(made, path)
    assert record.resumed(path, DEVICE)["checks"] == {}


@pytest.mark.parametrize("text, what", [("{", "not JSON"), ("[]", "no record"), ('{"format": 0}', "no record")])
def test_other_files_are_refused(tmp_path, text, what):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"r\.json is {what}"):
        record.load(path)


def test_the_newest_counts(tmp_path):
    assert record.newest(tmp_path) is None
    for name, time in ("a", "2026-03-01"), ("b", "2026-05-01"), ("c", "2026-04-01"):
        (tmp_path / f"{name}.json").write_text(json.dumps(record.new(DEVICE) | {"time": time}))
    assert record.newest(tmp_path)["time"] == "2026-05-01"


def test_it_passed_when_something_ran_and_nothing_failed():
    assert not record.passed({"checks": {}})
    assert record.passed({"checks": {"repeat": {"passed": True}}})
    assert not record.passed({"checks": {"repeat": {"passed": True}, "tests": {"passed": False}}})


US = {"fastnn": 20.0, "torch eager, fused Adam": 200.0, "torch, step captured by hand": 19.0}


def cell_of(cell, us, tflops=1.0):
    times = {name: {"median": value} for name, value in us.items()}
    return {"net": cell.net, "batch": cell.batch, "precision": cell.precision, "us": times, "tflops": tflops}


def test_goals_are_ratios_and_losses_are_told():
    small, large = cell_of(timings.MLP, US), cell_of(timings.LARGE, {"fastnn": 3e4}, tflops=45.0)
    found = timings.goals([small, large], {"float32_tflops": 50.0})
    assert [(goal["wanted"], goal["reached"], goal["met"]) for goal in found] == [
        (40.0, 20.0, True), (5.0, 10.0, True), (1.1, 0.95, False), (0.95, 0.9, False)
    ]  # fmt: skip
    assert found[1]["goal"] == "torch eager, fused Adam over fastnn, 784-256-128-10, batch 128, float32"
    assert timings.goals([], {}) == []


def test_operations_of_a_step():
    cell = timings.Cell((30, 16, 2), 8, 1)
    assert cell.flops == 8 * 2 * (2 * 30 * 16 + 3 * 16 * 2)  # the first layer has no gradient of its input


# --- checks that run other programs ---


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project with one good and one bad test of cupy, and one of something else."""
    monkeypatch.setattr(checks, "CHECKOUT", tmp_path)
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "conftest.py").write_text("")
    (folder / "test_it.py").write_text(
        "import os\n"
        "def test_good_cupy():\n    assert os.environ['FASTNN_GPU'] == 'real'\n"
        "def test_bad_cupy():\n    assert os.path.exists('mended')\n"
        "def test_other():\n    assert False\n"
    )
    return tmp_path


def test_the_tests_of_the_checkout_are_counted(checkout):
    result = checks.tests(300)
    assert (result["passed"], result["ran"], result["failed"]) == (False, 2, ["tests.test_it::test_bad_cupy"])
    assert any("test_bad_cupy" in line for line in result["output"])
    (checkout / "mended").touch()
    result = checks.tests(300)
    assert (result["passed"], result["ran"], result["failed"]) == (True, 2, [])
    assert "output" not in result


def test_without_tests_or_time_a_check_fails(checkout, monkeypatch):
    (checkout / "mended").touch()
    assert checks.tests(0.01) == {"passed": False, "reason": "took more than 0 s"}
    (checkout / "tests" / "conftest.py").unlink()
    assert "run this in a checkout" in checks.tests(300)["reason"]


@pytest.mark.parametrize("code", [0, 86])
def test_the_sanitizer_is_asked_where_it_is_installed(checkout, monkeypatch, code):
    monkeypatch.setenv("PATH", str(checkout))
    assert "not installed" in checks.sanitizer(60)["reason"]
    tool = checkout / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\necho $2\nexit {code}\n")
    tool.chmod(0o755)
    result = checks.sanitizer(60)
    assert result["passed"] == (code == 0)
    assert [result[name].get("exit", 0) for name in checks.SANITIZERS] == [code, code]
    assert result["racecheck"].get("output", ["racecheck"]) == ["racecheck"]
