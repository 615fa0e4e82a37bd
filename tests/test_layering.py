"""Keep the promises about the tree: who may import what, how long a file is, what `import fastnn` costs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ["fastnn", "kernels", "tests", "bench", "examples", "docs"]
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TEXTS = sorted(
    path
    for pattern in ("*.md", "*.cu", "*.h", "*.toml", "*.yaml", "*.sh", "*.ipynb")
    for top in [ROOT, *(ROOT / folder for folder in FOLDERS)]
    for path in (top.glob(pattern) if top == ROOT else top.rglob(pattern))
)

# Import name -> the only folders that may import it; a test of one backend lies under the same folder name.
OWNERS = {"numba": "kernels/numba_", "llvmlite": "kernels/numba_", "cupy": "kernels/cupy_", "kernels": None}
EXTRAS = ["numba", "llvmlite", "cupy", "matplotlib", "tqdm"]
MACHINE_PATH = re.compile(r"(?<![\w.:/-])(?:/(?:home|root|Users|work)/|[A-Za-z]:\\+Users\\+)\w")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def absolute_imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level name) of each import that is not relative."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def trespasses(name: str, source: str) -> list[str]:
    """Say which imports the file called `name` (from the root, with slashes) must not have."""
    folder = name.removeprefix("tests/").replace("support/simulated_cupy/", "kernels/cupy_/")  # asks for the real one
    return [
        f"{name}:{line} imports {library}"
        for line, library in absolute_imports(source)
        if library in OWNERS and not (OWNERS[library] and folder.startswith(f"{OWNERS[library]}/"))
    ]


def run_python(code: str) -> str:
    # Without bytecode files each import would compile the sources again, which is not what a user pays.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_stay_in_their_layer():
    assert [found for path in MODULES for found in trespasses(name_of(path), text_of(path))] == []


@pytest.mark.parametrize(
    "name, source, count",
    [
        ("fastnn/layers/dense.py", "import numba", 1),
        ("fastnn/layers/dense.py", "def f():\n    from llvmlite import ir", 1),
        ("fastnn/backend.py", "import cupy.cuda", 1),
        ("fastnn/backend.py", "from kernels.numpy_ import dense", 1),
        ("kernels/numpy_/dense.py", "from numba import njit", 1),
        ("kernels/cupy_/dense.py", "import numba", 1),
        ("kernels/numba_other.py", "import numba", 1),
        ("kernels/numba_/dense.py", "import numba, llvmlite.ir", 0),
        ("tests/kernels/numba_/test_dense.py", "import numba", 0),
        ("kernels/cupy_/dense.py", "import cupy as cp", 0),
        ("fastnn/backend.py", "from fastnn.kernels import numpy_\nfrom . import kernels", 0),
    ],
)
def test_the_layer_check_itself(name, source, count):
    assert len(trespasses(name, source)) == count


def test_files_are_short():
    lengths = {name_of(path): len(text_of(path).splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_files_open_with_why_they_exist():
    trees = {name_of(path): ast.parse(text_of(path)) for path in MODULES}
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_no_path_of_somebodys_machine():
    found = {name_of(path): MACHINE_PATH.findall(text_of(path)) for path in [*MODULES, *TEXTS]}
    assert {name: paths for name, paths in found.items() if paths} == {}


HOMES = ["/" + "home/ada", "/" + "Users/ada", "C:" + r"\Users\ada", "C:" + r"\\Users\\ada"]


@pytest.mark.parametrize("start", HOMES)
def test_the_path_check_itself(start):
    assert MACHINE_PATH.search(f'open("{start}/data.npz")')
    assert not MACHINE_PATH.search("see example.org" + start)


def test_lint_tools_have_one_version():
    def pins(file: str) -> dict[str, str]:
        return dict(re.findall(r'"(ruff|mypy)==([\d.]+)"', text_of(ROOT / file)))

    assert pins("pyproject.toml").keys() == {"ruff", "mypy"}
    assert pins("pyproject.toml") == pins(".pre-commit-config.yaml")


def test_import_loads_no_extra():
    loaded = run_python(f"import sys, fastnn; print([name for name in {EXTRAS} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_import_takes_little_more_than_numpy():
    def seconds(module: str) -> float:
        clock = "time.perf_counter()"
        return float(run_python(f"import time; start = {clock}; import {module}; print({clock} - start)"))

    rounds = [(seconds("numpy"), seconds("numpy, fastnn")) for _ in range(7)]
    numpy_best, fastnn_best = (min(times) for times in zip(*rounds, strict=True))
    assert fastnn_best - numpy_best <= 0.15
