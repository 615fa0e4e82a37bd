"""Compile all native kernels now, so that no first use has to wait."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

from fastnn import backends, doctor
from fastnn.kernels.contract import KERNELS, Kernel

HELP = "compile the native kernels ahead"
DTYPES = ("float32", "float64")

_OF_INTEGERS = ("gather",)  # labels are gathered like numbers
_ENGINE = ("replay", "any")
_LOOPS = (("fma", "float32"), ("fma", "float64"), ("triad", "float32"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype", nargs="+", choices=DTYPES, default=["float32"], metavar="DTYPE",
        help="for networks of these types: float32, float64 or both (default: float32)",
    )  # fmt: skip
    parser.add_argument(
        "--all", action="store_true", help="for both types, and the loops by which `fastnn doctor` measures"
    )


def run(args: argparse.Namespace) -> int:
    backends.get("numba")  # where it is not installed, this says how to install it
    from fastnn.kernels.numba_ import loading

    os.environ["FASTNN_QUIET"] = "1"  # that something is being compiled is what the lines below say
    todo = jobs(DTYPES if args.all else args.dtype, loops=args.all)
    start = time.perf_counter()
    compiled = 0
    for number, (name, dtype) in enumerate(todo, 1):
        kept = loading.cache().load(f"{name}-{dtype}.o") is not None
        before = time.perf_counter()
        _compiler(name, dtype)()
        took = "was there" if kept else f"{time.perf_counter() - before:.1f} s"
        compiled += not kept
        print(f"{number:3}/{len(todo)} {name} {dtype}: {took}", flush=True)
    print(f"{compiled} compiled, {len(todo) - compiled} were there: {time.perf_counter() - start:.1f} s")
    print(f"kept in {kept_in()}")
    return 0


def kept_in() -> str:
    """The folder of the compiled kernels."""
    cache = doctor.kernel_cache()
    if not cache or not cache["kernels"]:
        raise OSError("no folder can be written to, so nothing is kept: set FASTNN_CACHE to one that can")
    return cache["folder"]


def jobs(dtypes: Sequence[str], loops: bool = False) -> list[tuple[str, str]]:
    """The native functions that networks of `dtypes` can need, as (name, type of the elements)."""
    found = [_ENGINE]
    for name, kernel in {**KERNELS, **_internal()}.items():
        real = any(array.element == "real" for array in kernel.arrays)
        found += [(name, dtype) for dtype in dtypes] if real else []
        found += [(name, "int64")] if not real or name in _OF_INTEGERS else []
    return found + list(_LOOPS if loops else ())


def _internal() -> dict[str, Kernel]:
    """The kernels that only the numba backend has."""
    from fastnn.kernels.numba_.internal import INTERNAL

    return INTERNAL


def _compiler(name: str, dtype: str) -> Callable[[], object]:
    """What compiles that function, or loads it."""
    from fastnn.kernels.numba_ import ceilings, engine, loading

    if (name, dtype) == _ENGINE:
        return engine.replay_function
    if name == "fma":
        return lambda: ceilings.load_fma(dtype)
    if name == "triad":
        return ceilings.load_triad
    return lambda: loading.address(name, dtype)
