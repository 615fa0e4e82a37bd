"""The command as a whole: a mistake costs one line and not a traceback, and who leaves is let go quietly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import simulated_cupy

import fastnn
from fastnn import backends
from fastnn.cli import COMMANDS, main, train
from fastnn.errors import DeviceError

QUICK = ["--epochs", "2", "--layers", "8", "--verbose", "0"]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["trian"], "trian"),
        (["train", "--epochs", "ten"], "--epochs: must be an integer of at least 1, got 'ten'"),
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--epoch", "3"], "--epoch"),
        (["train", "--layers", "64,x"], "--layers: must be sizes such as 128,64, got '64,x'"),
        (["train", "--layers", "64,0"], "--layers"),
        (["train", "--dropout", "1"], "--dropout"),
        (["train", "--learning-rate", "-1"], "--learning-rate"),
        (["train", "--learning-rate", "nan"], "--learning-rate"),
        (["train", "--backend", "nmpy"], "did you mean 'numpy'"),
        (["train", "--optimizer", "adm"], "did you mean 'adam'"),
        (["train", "--data", "digit"], "did you mean 'digits'"),
        (["train", "--data", "missing.csv"], "missing.csv"),
        (["train", "--data", "table.txt"], ".npz or .csv"),
        (["train", "--data", "digits", "--task", "regression"], "--task regression"),
        (["train", "--threads", "0"], "--threads"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--dtype", "float16"], "float16"),
        (["train", "--optimizer", "sgd", "--learning-rate", "1e30", *QUICK], "NaN or infinite"),
        (["doctor", "--xml"], "--xml"),
        (["warmup", "--dtype", "int8"], "int8"),
    ],
)
def test_a_mistake_costs_one_line(fastnn_command, arguments, expected):
    code, _, err = fastnn_command(*arguments)
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith("fastnn: error: ")
    assert expected in err[0]


def test_a_mistake_in_a_variable_names_it(fastnn_command, monkeypatch):
    monkeypatch.setenv("FASTNN_BACKEND", "nmpy")
    code, out, err = fastnn_command("train", *QUICK)
    assert (code, out, len(err)) == (2, [], 1)
    assert "FASTNN_BACKEND 'nmpy': did you mean 'numpy'" in err[0]


def test_a_folder_that_cannot_be_written_is_refused_before_training(fastnn_command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, out, err = fastnn_command("train", "--out", tmp_path / "file", "--verbose", 0)
    assert (code, out, len(err)) == (2, [], 1)
    assert str(tmp_path / "file") in err[0]


@pytest.mark.parametrize("arguments", [["train", "--backend", "numba"], ["warmup"]])
def test_without_numba_it_says_how_to_install_it(fastnn_command, monkeypatch, arguments):
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": False})
    code, out, err = fastnn_command(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert 'pip install "fastnn[numba]"' in err[0]


def test_without_a_gpu_it_says_so(fastnn_command, monkeypatch):
    def load(name):
        raise DeviceError("backend 'cupy' needs an NVIDIA GPU, but no driver for one is installed")

    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": True, "cupy": True})
    monkeypatch.setattr(backends, "_load", load)
    told = "fastnn: error: backend 'cupy' needs an NVIDIA GPU, but no driver for one is installed"
    assert fastnn_command("train", "--backend", "cupy") == (2, [], [told])


def test_without_numba_it_trains_on_numpy_and_says_why(fastnn_command, monkeypatch):
    monkeypatch.delenv("FASTNN_BACKEND", raising=False)
    monkeypatch.setattr(backends, "available", lambda: {"numpy": True, "numba": False})
    code, out, _ = fastnn_command("train", *QUICK)
    assert code == 0
    assert any(line.startswith("backend    numpy (auto: numba is not installed") for line in out)


def test_without_a_command_it_shows_the_commands(fastnn_command):
    code, out, err = fastnn_command()
    assert (code, out) == (2, [])
    assert all(any(name in line for line in err) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(capsys, command):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert COMMANDS[command].__doc__.splitlines()[0] in text


def test_ctrl_c_is_quiet(fastnn_command, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", interrupt)
    code, _, err = fastnn_command("train")
    assert (code, err) == (130, [])


def start(*arguments, **options):
    command = [sys.executable, *options.pop("python", ()), "-m", "fastnn", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_version_as_a_module():
    process = start("--version")
    assert process.communicate()[0] == f"fastnn {fastnn.__version__}\n"
    assert process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_during_training(backend):
    options = {}
    if backend == "cupy" and simulated_cupy.in_force():  # which the other process must put in the place of CuPy, too
        options = {"python": ["-m", "simulated_cupy"], "env": {**os.environ, "PYTHONPATH": simulated_cupy.FOLDER}}
    process = start("train", "--epochs", "1000000", "--verbose", "2", "--backend", backend, **options)
    for line in process.stdout:
        if line.startswith("Epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_leaves():
    process = start("train", "--epochs", "1000000", "--verbose", "2", "--backend", "numpy")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


def test_developers_see_the_traceback():
    process = start("train", "--data", "missing.csv", python=["-X", "dev"])
    _, err = process.communicate()
    assert process.returncode == 1
    assert "Traceback" in err
    assert "FileNotFoundError" in err
