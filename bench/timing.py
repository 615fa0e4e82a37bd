"""Time contestants side by side: they take turns, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastnn import doctor

TURN_SECONDS = 0.05  # shorter work is repeated within a turn, so that waking up from the pause does not count
PAUSE_SECONDS, LONGEST_REST = 0.02, 1.0  # a rest takes as many pauses as the threads need, but not for ever
WARM_UPS = 2  # compiling, tracing, and measuring how many threads are best
DISTRIBUTIONS = ("fastnn", "numpy", "numba", "torch", "jax", "optax", "keras", "scikit-learn")


@dataclass(frozen=True)
class Contestant:
    """Work to be timed: `run()` does `units` of it (steps, calls)."""

    run: Callable[[], Any]
    units: int


def seconds_of(run: Callable[[], Any], repeats: int = 1) -> float:
    """Mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def rest() -> None:
    """Wait until no thread of this process works: pools spin after their work, and would take a core from the next.

    OpenBLAS' threads do so for 0.1 s. The system may count their time in whole ticks, so a pause has several of these.
    """
    end = time.perf_counter() + LONGEST_REST
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(PAUSE_SECONDS)
        if time.process_time() - before < 0.1 * PAUSE_SECONDS:
            return


def take_turns(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Seconds per unit of each contestant in each of `rounds` turns: A B C, C B A, A B C, ..."""
    repeats = {}
    for name, contestant in contestants.items():
        rest()
        for _ in range(WARM_UPS):
            contestant.run()
        repeats[name] = max(1, math.ceil(TURN_SECONDS / max(seconds_of(contestant.run), 1e-9)))
    turns: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for _ in range(rounds):
        for name in order:
            rest()
            turns[name].append(seconds_of(contestants[name].run, repeats[name]) / contestants[name].units)
        order.reverse()
    return turns


def assemble(
    makers: Mapping[str, Callable[[], Contestant]], missing: dict[str, str], where: str = ""
) -> dict[str, Contestant]:
    """Make the contestants and run each once; one that cannot is named in `missing` with the reason, never hidden.

    A maker raises ImportError where its library is not there, and NotImplementedError where it does not do this work.
    """
    ready = {}
    for name, make in makers.items():
        try:
            contestant = make()
            contestant.run()
            ready[name] = contestant
        except ImportError as error:
            missing[name] = f"not installed ({error})"
        except NotImplementedError as error:
            missing[f"{name}{where}"] = str(error)
        except Exception as error:  # whatever a library does, the others are still timed
            missing[f"{name}{where}"] = f"{type(error).__name__}: {error}".splitlines()[0][:150]
    return ready


def machine() -> dict[str, Any]:
    """What the numbers depend on: the processor, its cores, the system and NumPy's BLAS."""
    cpu, blas = doctor.cpu(), doctor.blas()
    return {
        "cpu": cpu["name"],
        "cores": cpu["cores_allowed"],
        "vectors": cpu["vectors"],
        "system": f"{platform.system()} {platform.machine()}",
        "commit": commit(),
        "python": platform.python_version(),
        "NumPy's BLAS": f"{blas['name']} {blas['version']}, kernels for {blas['core'] or 'unknown'}",
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set"),
    }


def commit() -> str:
    """The commit of this checkout, with a + where files differ from it; "unknown" where git does not tell."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        number, changes = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return number + "+" * bool(changes)


def versions() -> dict[str, str]:
    """The versions of all libraries that take part and are installed."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def busy_share(seconds: float = 0.5) -> float | None:
    """The share of all cores that others keep busy while this process sleeps; None where Linux' /proc/stat is not."""

    def ticks() -> tuple[int, int]:
        user, nice, system, idle, wait, *others = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
        return user + nice + system + sum(others), idle + wait

    try:
        before = ticks()
        time.sleep(seconds)
        after = ticks()
    except (OSError, ValueError):
        return None
    busy, idle = after[0] - before[0], after[1] - before[1]
    return busy / max(busy + idle, 1)


def ceiling_gflops() -> float | None:
    """GFLOP/s of float32 multiply-adds on all cores, measured now; None where native loops cannot measure it."""
    measured = doctor.ceilings()
    return max(measured.gflops["float32"].values()) if measured.source.startswith("native") else None
