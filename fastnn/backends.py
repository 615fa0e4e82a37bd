"""Backends by name: what runs the kernels, how it is chosen, and why.

`use("numba")` chooses for the whole process, `with backend("numpy"):` for a block, `Sequential(backend=...)` for a
model, the variable FASTNN_BACKEND when nothing else is said. A model carries its backend; it is never guessed from
arrays.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

from fastnn.errors import positive_int, suggest

_CLASSES = {"numpy": "NumpyBackend", "numba": "NumbaBackend", "cupy": "CupyBackend"}
_EXTRAS = {"numba": "numba", "cupy": "cuda13"}  # or cuda12, by the driver
BACKENDS = (*_CLASSES, "auto")
MOST_THREADS = 1024

_loaded: dict[str, Any] = {}
_used: str | None = None  # by `use`
_inside: contextvars.ContextVar[str | None] = contextvars.ContextVar("backend", default=None)  # of `with backend(...)`


def available() -> dict[str, bool]:
    """Which backends are installed: {"numpy": True, "numba": ..., "cupy": ...}. CuPy also needs a GPU."""
    return {name: importlib.util.find_spec(name) is not None for name in _CLASSES}


def auto() -> tuple[str, str]:
    """The backend that `auto` stands for until `fastnn.automatic` has measured a model, and the reason."""
    if available()["numba"]:
        return "numba", "numba is installed: native code, many steps in one call"
    return "numpy", "numba is not installed; the extra [numba] adds the native CPU engine"


def _check(name: Any, argument: str = "backend") -> str:
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be one of {', '.join(BACKENDS)}, got {name!r}")
    name = name.lower()
    if name not in BACKENDS:
        raise suggest(argument, name, BACKENDS)
    if name != "auto" and name not in _loaded and not available()[name]:
        extra = _EXTRAS[name]
        install = f'pip install "fastnn[{extra}]" (from a checkout: ".[{extra}]")'
        raise ImportError(f"{argument} {name!r} is not installed: {install}")
    if name == "cupy":
        _load(name)  # says what is missing where there is no GPU
    return name


def _load(name: str) -> Any:
    if name not in _loaded:
        module = importlib.import_module(f"fastnn.kernels.{name}_.backend")
        _loaded[name] = getattr(module, _CLASSES[name])()
    return _loaded[name]


def _asked() -> str:
    """The name that was given to the innermost `with backend(...)`, to `use` or in FASTNN_BACKEND, or auto."""
    return _inside.get() or _used or _check(os.environ.get("FASTNN_BACKEND") or "auto", "FASTNN_BACKEND")


def current() -> str:
    """The backend in force."""
    name = _asked()
    return auto()[0] if name == "auto" else name


def is_auto(name: str | None = None) -> bool:
    """True where that name, or the one in force, leaves the choice to us."""
    return (_asked() if name is None else _check(name)) == "auto"


def use(name: str) -> None:
    """Choose the backend of models that are made from now on: "numpy", "numba", "cupy" or "auto".

    `with backend(...)` takes precedence. Raises ValueError for an unknown name, ImportError, with the install line, for
    one that is not installed, and DeviceError for "cupy" where no GPU can be used.
    """
    global _used
    _used = _check(name)


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Choose the backend of models that are made inside the block, by this thread."""
    token = _inside.set(_check(name))
    try:
        yield
    finally:
        _inside.reset(token)


def get(name: str | None = None) -> Any:
    """The backend of that name, or the one in force; its module is imported on first use."""
    name = current() if name is None else _check(name)
    return _load(auto()[0] if name == "auto" else name)


def fastest_on_host() -> Any:
    """The fastest backend that needs no GPU."""
    return _load("numba" if available()["numba"] else "numpy")


def set_threads(count: int | None) -> None:
    """Let native programs use up to `count` threads, 1 to 1024; None stands for all cores.

    How many of them a program uses is measured; results do not depend on it. The variable FASTNN_THREADS says the
    same. Raises TypeError, ValueError.
    """
    from fastnn.kernels import threads

    if count is not None and positive_int("count", count) > MOST_THREADS:
        raise ValueError(f"count must be at most {MOST_THREADS}, got {count!r}")
    threads.set_limit(None if count is None else int(count))
