"""What must hold on a GPU, speed aside: the tests, no access out of bounds, capture, the same bits again."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fastnn.gpucheck.record import CHECKOUT

TESTS = ["-m", "pytest", "-q", "-k", "cupy", "-p", "no:cacheprovider", "--durations=10"]
SANITIZED = ["tests/kernels/test_activation.py", "tests/kernels/test_loss.py", "tests/kernels/test_dense.py"]
SANITIZERS = ("memcheck", "racecheck")
LINES = 15  # of output that a failed check keeps
TOLERANCE = 1e-4  # of weights after training in float32, where sums are taken in another order

Check = dict[str, Any]


def _environment() -> dict[str, str]:
    """Tests must not take the simulated device, which is theirs where there is no GPU."""
    return os.environ | {"FASTNN_GPU": "real", "FASTNN_BACKEND": ""}


def tests(limit: float) -> Check:
    """The project's own tests of this backend, from the checkout that fastnn was imported from."""
    if not (CHECKOUT / "tests" / "conftest.py").exists():
        return {"passed": False, "reason": f"no tests beside {CHECKOUT.name}: run this in a checkout"}
    several = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = _run([sys.executable, *TESTS, *several, f"--junitxml={report}", "tests"], limit)
        return done | (_counts(report) if report.exists() else {"passed": False})


def _counts(report: Path) -> Check:
    """How many tests ran, and which failed."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    names = [f"{case.get('classname')}::{case.get('name')}" for case in failed]
    count = len(cases) - len(skipped)
    passed = count > 0 and not failed
    return {"passed": passed, "ran": count, "skipped": len(skipped), "failed": names}


def _run(command: list[str], limit: float) -> Check:
    """Run a command in the checkout; its last lines are kept where it fails."""
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"passed": False, "reason": f"took more than {limit:.0f} s"}
    result: Check = {"passed": done.returncode == 0, "seconds": round(time.perf_counter() - start, 1)}
    if done.returncode:
        result |= {"exit": done.returncode, "output": done.stdout.splitlines()[-LINES:]}
    return result


def sanitizer(limit: float) -> Check:
    """Kernels under NVIDIA's compute-sanitizer, which sees every access and every race in shared memory."""
    if shutil.which("compute-sanitizer") is None:
        return {"passed": True, "reason": "compute-sanitizer is not installed, so it was not asked"}
    which = "cupy and float32 and ((3, 37) or (100, 10))"  # rows and columns with a rest, and what most networks end in
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", which, *SANITIZED]
    results: Check = {"passed": True}
    for tool in SANITIZERS:
        asked = ["compute-sanitizer", "--tool", tool, "--target-processes", "all", "--error-exitcode", "86"]
        results[tool] = _run([*asked, *tests], limit / len(SANITIZERS))
        results["passed"] &= results[tool]["passed"]
    return results


def _trained(backend: str) -> tuple[Any, list[np.ndarray]]:
    """A network after three epochs with shuffles, dropout, a short last batch and validation; its first weights."""
    from fastnn import Sequential
    from fastnn.layers import Dense, Dropout

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((500, 20)).astype(np.float32), rng.integers(0, 3, 500)
    layers = [Dense(64, "relu"), Dropout(0.3), Dense(33, "tanh"), Dense(3, "softmax")]
    model = Sequential(layers, backend=backend, seed=7)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.build((20,))
    first = [w.copy() for w in model.get_weights()]
    model.fit(x, y, batch_size=32, epochs=3, validation_split=0.2, verbose=0)
    return model, first


def _hash(weights: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest()


def capture(limit: float) -> Check:
    """A model is captured and gives the reference's weights, from the same first weights, shuffles and masks."""
    here, first = _trained("cupy")
    there, reference = _trained("numpy")
    pairs = zip(here.get_weights(), there.get_weights(), strict=True)
    apart = max(float(np.abs(a - b).max()) for a, b in pairs)
    same_start = _hash(first) == _hash(reference)
    passed = here.uncaptured == "" and same_start and apart < TOLERANCE
    return {"passed": passed, "uncaptured": here.uncaptured, "same_first_weights": same_start, "apart": apart}


def repeat(limit: float) -> Check:
    """The same training twice gives the same bits."""
    one, other = (_hash(_trained("cupy")[0].get_weights()) for _ in range(2))
    return {"passed": one == other, "sha256": one}


CHECKS = {"capture": capture, "repeat": repeat, "tests": tests, "sanitizer": sanitizer}
