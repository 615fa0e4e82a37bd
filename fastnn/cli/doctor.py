"""Say what is installed, which backend `auto` takes, what this machine can do at best, and what slows it down."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastnn import doctor

HELP = "look at the machine and measure its ceilings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    report = doctor.examine()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(lines(report)))
    return 0


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as text, a fact a line."""
    yield "versions"
    for name, version in report["versions"].items():
        yield _fact(name, version or "not installed")
    yield "backends"
    chosen = report["backends"]
    for name, there in chosen["available"].items():
        yield _fact(name, "available" if there else "not installed")
    yield _fact("GPU", chosen["no_gpu"] or "ready; with `auto` a model's first fit measures whether it is faster there")
    yield _fact("auto", f"{chosen['auto']}: {chosen['why']}")
    if chosen["in_force"] != chosen["auto"]:
        yield _fact("in force", f"{chosen['in_force']}, by FASTNN_BACKEND or fastnn.use")
    yield "processor"
    yield from _processor(report["cpu"])
    yield "kernel cache"
    cache = report["kernel_cache"]
    yield _fact("folder", cache["folder"] if cache else "none without numba")
    if cache:
        yield _fact("kernels", f"{cache['kernels']} compiled")
    yield f"ceilings, {report['ceilings']['source']}"
    yield from _ceilings(report["ceilings"], report["blas"])
    yield "hints"
    yield from (f"  {hint}" for hint in report["hints"] or ["none: all is well"])


def _fact(name: str, value: Any) -> str:
    return f"  {name:<14} {value}"


def _processor(cpu: Mapping[str, Any]) -> Iterator[str]:
    bits = cpu["vector_bits"]
    yield _fact("name", f"{cpu['name']} ({cpu['architecture']})")
    yield _fact("vectors", f"{cpu['vectors']}: {bits} bits, {bits // 32} float32 or {bits // 64} float64")
    quota = "no quota" if cpu["cores_quota"] is None else f"quota {cpu['cores_quota']:g}"
    yield _fact("cores", f"{cpu['cores']} visible, {cpu['cores_allowed']} allowed to this process, {quota}")
    yield _fact("threads", f"fastnn tries {' and '.join(map(str, cpu['thread_counts']))} and keeps the fastest")


def _ceilings(ceilings: Mapping[str, Any], blas: Mapping[str, Any]) -> Iterator[str]:
    for dtype, rates in ceilings["gflops"].items():
        yield _fact(dtype, _by_threads(rates, "GFLOP/s"))
        found = f"{blas['matmul_gflops'][dtype]:.0f} GFLOP/s"
        yield _fact("", f"{found} by NumPy's product of two 1024 x 1024 matrices, on its own threads")
    for size, rates in ceilings["bandwidth_gb_s"].items():
        yield _fact(f"{size} MB", _by_threads(rates, "GB/s"))
    details = [f"kernels for {blas['core']}"] if blas["core"] else []
    details += [f"{blas['threads']} threads"] if blas["threads"] else []
    yield _fact("NumPy's BLAS", ", ".join([f"{blas['name']} {blas['version'] or ''}".strip(), *details]))


def _by_threads(rates: Mapping[int, float], unit: str) -> str:
    return ", ".join(f"{rate:.0f} {unit} on {n} thread{'s' if n > 1 else ''}" for n, rate in rates.items())
