"""Looks at the machine: what is installed, what the processor can do at best, and what slows it down for no reason."""

from __future__ import annotations

import ctypes
import functools
import glob
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fastnn import backends
from fastnn.kernels import threads as thread_limit

MB = 2**20
WORKING_SETS = (1, 24, 512)  # MB: in a core's own cache, in the shared cache of most processors, in memory
MATMUL = 1024  # rows and columns
_OPENBLAS_KINDS = {"AVX-512": "SkylakeX"}  # vectors -> the OpenBLAS kernels that are made for them


@dataclass(frozen=True)
class Ceilings:
    """What the machine reached at best: no program of that many threads is expected to be faster.

    source: how it was measured. gflops: 1e9 floating-point operations a second, two for a multiply-add, as
    gflops[dtype][threads]. bandwidth: 1e9 bytes a second of a = b + s c, two loads and a store an element, as
    bandwidth[working set in MB of 2**20 bytes][threads].
    """

    source: str
    gflops: dict[str, dict[int, float]]
    bandwidth: dict[int, dict[int, float]]


@functools.cache
def ceilings() -> Ceilings:
    """Measure once per process, in about a second, what this machine can do at best.

    With Numba by native loops, on one thread, on powers of two and on all cores. Without it (or where native code
    does not run: `source` then says why) by NumPy: a product of matrices, which leaves some of the peak unused, on
    the threads that its BLAS takes, and a sum of two arrays on one thread.
    """
    if not backends.available()["numba"]:
        return _numpy_ceilings("estimated with NumPy (numba is not installed)")
    try:
        return _native_ceilings()
    except (ImportError, OSError, RuntimeError) as error:
        return _numpy_ceilings(f"estimated with NumPy (native code failed: {error})")


def _native_ceilings() -> Ceilings:
    from fastnn.kernels.numba_ import ceilings as native

    cores = thread_limit.cores()
    counts = sorted({n for n in (2**i for i in range(10)) if n < cores} | {cores})
    gflops = {dtype: {n: native.fma_rate(dtype, n) / 1e9 for n in counts} for dtype in ("float32", "float64")}
    rates = native.triad_rates([mb * MB for mb in _working_sets()], counts)
    bandwidth = {size // MB: {n: rate / 1e9 for n, rate in of.items()} for size, of in rates.items()}
    return Ceilings("native loops of multiply-adds in registers, and of a = b + s c in memory", gflops, bandwidth)


def _numpy_ceilings(source: str) -> Ceilings:
    threads = blas()["threads"] or thread_limit.cores()
    gflops = {dtype: {threads: matmul_gflops(dtype)} for dtype in ("float32", "float64")}
    bandwidth = {}
    for mb in _working_sets():
        a, b, c = np.ones((3, mb * MB // 12), np.float32)
        seconds = best_seconds(functools.partial(np.add, b, c, out=a))
        bandwidth[mb] = {1: 3 * a.nbytes / seconds / 1e9}
    return Ceilings(source, gflops, bandwidth)


def _working_sets() -> list[int]:
    """WORKING_SETS, the last one smaller where memory is scarce: a measurement must not end the process."""
    most = max(32, available_memory() // MB // 4)
    return [min(mb, most) for mb in WORKING_SETS]


def best_seconds(run: Callable[[], Any], budget: float = 0.1) -> float:
    """The shortest time of `run()`, called again and again for about `budget` seconds, and at least three times."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def matmul_gflops(dtype: str = "float32", size: int = MATMUL) -> float:
    """1e9 operations a second of NumPy's product of two square matrices."""
    a, b, out = np.ones((3, size, size), dtype)
    return 2 * size**3 / best_seconds(functools.partial(np.matmul, a, b, out=out)) / 1e9


def examine() -> dict[str, Any]:
    """Everything that `fastnn doctor` reports, as JSON can hold it (save that keys of thread counts are integers)."""
    from fastnn import automatic

    name, why = backends.auto()
    measured = ceilings()
    report: dict[str, Any] = {
        "versions": versions(),
        "backends": {
            "available": backends.available(),
            "auto": name,
            "why": why,
            "in_force": backends.current(),
            "no_gpu": automatic.why_no_gpu(),
        },
        "cpu": cpu(),
        "kernel_cache": kernel_cache(),
        "ceilings": {"source": measured.source, "gflops": measured.gflops, "bandwidth_gb_s": measured.bandwidth},
        "blas": blas() | {"matmul_gflops": {d: matmul_gflops(d) for d in ("float32", "float64")}},
    }
    report["hints"] = hints(report)
    return report


def versions() -> dict[str, str | None]:
    """The version of each distribution, None where it is not installed; nothing is imported for it."""
    from fastnn import __version__

    found: dict[str, str | None] = {"python": platform.python_version(), "fastnn": __version__}
    names = {name: (name,) for name in ("numpy", "numba", "llvmlite")}
    for name, distributions in (names | {"cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy")}).items():
        found[name] = next(filter(None, map(_version, distributions)), None)
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu() -> dict[str, Any]:
    """The processor, its vectors, and how much of it this process may use."""
    vectors, width = _vectors()
    return {
        "name": _cpu_name(),
        "architecture": platform.machine(),
        "vectors": vectors,
        "vector_bits": width,
        "cores": os.cpu_count() or 1,
        "cores_allowed": thread_limit.cores(),
        "cores_quota": cpu_quota(),
        "thread_counts": thread_limit.choices(),
    }


def _cpu_name() -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor() or "unknown"


def _vectors() -> tuple[str, int]:
    """The widest vectors with multiply-add that NumPy found, and their bits."""
    features = getattr(_numpy_core(), "__cpu_features__", {})
    for feature, name, bits in (("AVX512F", "AVX-512", 512), ("AVX2", "AVX2", 256), ("NEON", "NEON", 128)):
        if features.get(feature):
            return name, bits
    return "unknown", 128


def _numpy_core() -> Any:
    return importlib.import_module("numpy._core._multiarray_umath")


def cpu_quota() -> float | None:
    """The cores' worth of time that a container may use, None without a limit."""
    limits = []
    for text in _cgroup("cpu.max", "cpu", "cpu.cfs_quota_us"):
        quota, _, period = text.partition(" ")
        if quota not in ("max", "-1"):
            # The older kind has its period in another file; 0.1 s is what everybody leaves it at.
            limits.append(int(quota) / int(period or 100_000))
    return min(limits, default=None)


def available_memory() -> int:
    """Bytes that may still be allocated without swapping, as far as the system tells."""
    limits = [int(text) for text in _cgroup("memory.max", "memory", "memory.limit_in_bytes") if text.isdigit()]
    lines = _text("/proc/meminfo").splitlines()
    limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min(limits, default=4096 * MB)


def _cgroup(name: str, controller: str, old_name: str) -> list[str]:
    """What the files of that name say in this process's control groups and those around them, of Linux's both kinds."""
    found = []
    for line in _text("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controller in controllers.split(","):
            old = number != "0"
            root = PurePosixPath("/sys/fs/cgroup", controller if old else "")
            inner = PurePosixPath(path.lstrip("/"))
            found += [_text(str(root / folder / (old_name if old else name))) for folder in (inner, *inner.parents)]
    return [text for text in found if text]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def kernel_cache() -> dict[str, Any] | None:
    """Where compiled kernels are kept and how many there are; None without Numba."""
    if not backends.available()["numba"]:
        return None
    from fastnn.kernels.numba_ import loading

    folders = loading.cache().folders
    folder = next((f for f in folders if f.is_dir()), folders[0])
    return {"folder": str(folder), "kernels": len(list(folder.glob("*.o")))}


def blas() -> dict[str, Any]:
    """NumPy's BLAS: name and version; for OpenBLAS also the kernels it picked (`core`) and its number of threads."""
    config: Any = np.show_config("dicts")
    built = config.get("Build Dependencies", {}).get("blas", {})
    found: dict[str, Any] = {"name": built.get("name", "unknown"), "version": built.get("version"), "core": None}
    core = _openblas("get_corename", ctypes.c_char_p)
    threads = _openblas("get_num_threads", ctypes.c_int)
    found["core"] = core().decode() if core else None
    found["threads"] = threads() if threads else None
    return found


def _openblas(name: str, result: Any) -> Any:
    """A function of the OpenBLAS that NumPy uses, under whichever of its names, or None."""
    # Where the core library is linked to BLAS, as on all but Windows, what is looked up in it is found there too.
    package = Path(np.__file__).parent
    libraries = [_numpy_core().__file__, *glob.glob(str(package.parent / "numpy.libs" / "*openblas*"))]
    symbols = [f"{prefix}openblas_{name}{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "", "_64")]
    for path in libraries:
        try:
            library = ctypes.CDLL(path)
        except (OSError, TypeError):
            continue
        for symbol in symbols:
            if hasattr(library, symbol):
                function = getattr(library, symbol)
                function.restype = result
                return function
    return None


def hints(report: dict[str, Any]) -> list[str]:
    """What would make this machine faster, one sentence each."""
    found = []
    if report["kernel_cache"] is None:
        found.append('The native engine is not installed: pip install "fastnn[numba]" (from a checkout: ".[numba]").')
    elif not report["kernel_cache"]["kernels"]:
        found.append("No kernel is compiled yet: `fastnn warmup` compiles them, else each is compiled on first use.")
    processor = report["cpu"]
    quota, allowed = processor["cores_quota"], processor["cores_allowed"]
    if quota and quota < allowed:
        found.append(f"This container may use {quota:g} of {allowed} cores: set FASTNN_THREADS={max(1, int(quota))}.")
    rates = report["ceilings"]["gflops"]["float32"]
    if 1 in rates and max(rates) > 1 and rates[max(rates)] < 0.6 * max(rates) * rates[1]:
        ratio = rates[max(rates)] / rates[1]
        found.append(f"{max(rates)} threads do the work of {ratio:.1f}: others use the cores, or share them with you.")
    wanted = _OPENBLAS_KINDS.get(processor["vectors"])
    if wanted and report["blas"]["core"] in ("Haswell", "Zen"):
        found.append(_openblas_hint(report["blas"], wanted))
    return found


def _openblas_hint(report: dict[str, Any], wanted: str) -> str:
    before, after = report["matmul_gflops"]["float32"], _matmul_with(wanted)
    text = f"OpenBLAS takes this AVX-512 processor for {report['core']}"
    if after is None:
        return f"{text}: OPENBLAS_CORETYPE={wanted} may make NumPy's matrix products faster."
    verdict = "makes NumPy's matrix products faster" if after > 1.1 * before else "makes little difference here"
    return f"{text}: OPENBLAS_CORETYPE={wanted} {verdict} ({before:.0f} -> {after:.0f} GFLOP/s)."


def _matmul_with(core: str) -> float | None:
    """`matmul_gflops` in a process whose OpenBLAS is told which kernels to take, None where that fails."""
    code = "from fastnn.doctor import matmul_gflops; print(matmul_gflops())"
    environment = os.environ | {"OPENBLAS_CORETYPE": core}
    try:
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=20)
        return float(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
