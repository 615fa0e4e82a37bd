"""The script for every backend learns the same on each of them, from the very same first weights."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # as Python does for a script that lies there

script = importlib.import_module("any_backend")


@functools.cache
def results(backend):
    return script.run(backend, epochs=3)


def test_it_learns_the_same_everywhere(backend):
    here, reference = results(backend), results("numpy")
    assert here["backend"] == backend
    assert here["first weights"] == reference["first weights"]
    assert here["test accuracy"] > 0.9
    for name in ("training loss", "test loss"):
        np.testing.assert_allclose(here[name], reference[name], rtol=1e-4)
    for a, b in zip(here["weights"], reference["weights"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


def test_the_program():
    command = [sys.executable, "-W", "error", script.__file__, "--backend", "numpy", "--epochs", "2"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()][:2] == ["backend", "first weights"]
