"""The acceptance on a GPU, in one command.

    python -m fastnn.gpucheck --out bench/records/h200.json
    python -m fastnn.gpucheck --out FILE --only tests sanitizer       a part; a record that is there is completed

Runs the tests on the real backend, compute-sanitizer where it is installed, a captured training beside the reference
and twice; measures what the card can do at best, and times training beside PyTorch and JAX. The record is written
after each part. Exits with 0 when all checks passed, 1 when one failed, 2 for wrong arguments, 3 without a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastnn.errors import DeviceError
from fastnn.gpucheck import checks, record, timings

PARTS = ("capture", "repeat", "ceilings", "timings", "tests", "sanitizer")
NO_GPU = 3


def why_not() -> str:
    """Why there is no GPU to be checked, in a sentence; empty where there is one."""
    if importlib.util.find_spec("cupy") is None:
        return 'CuPy is not installed: pip install "fastnn[cuda13]" (from a checkout: ".[cuda13]")'
    from fastnn.kernels.cupy_ import device

    try:
        device.check()
    except DeviceError as error:
        return str(error)
    return ""


def cell(text: str) -> timings.Cell:
    """`784-100-10:32:500:tf32` is that network, batches of 32 rows, 500 steps to an epoch, in TF32."""
    net, *rest = text.split(":")
    try:
        sizes, (batch, steps) = tuple(map(int, net.split("-"))), map(int, rest[:2])
        precision, = rest[2:] or ["float32"]
    except ValueError:
        sizes, batch, steps, precision = (), 0, 0, ""
    if len(sizes) < 2 or min(*sizes, batch, steps) < 1 or precision not in ("float32", "tf32"):
        raise argparse.ArgumentTypeError(f"a cell is like 784-100-10:32:500 or 784-100-10:32:500:tf32, got {text!r}")
    return timings.Cell(sizes, batch, steps, precision)


def run(part: str, found: dict[str, Any], options: argparse.Namespace) -> None:
    """Run one part and put into the record what it found."""
    if part == "ceilings":
        from fastnn.kernels.cupy_ import ceilings

        found["ceilings"] = ceilings.ceilings()
    elif part == "timings":
        for each in options.cells:
            measured = timings.measure(each, options.rounds)
            same = [measured[key] for key in ("net", "batch", "precision")]
            others = [old for old in found["timings"] if [old[key] for key in ("net", "batch", "precision")] != same]
            found["timings"] = [*others, measured]
            record.save(found, options.out)
    else:
        found["checks"][part] = checks.CHECKS[part](options.limit)
    found["goals"] = timings.goals(found["timings"], found["ceilings"])


def summary(found: dict[str, Any]) -> list[str]:
    """The record in a few lines."""
    device = found["device"]
    lines = [f"{device['name']}, CUDA driver {device['driver']}, CuPy {device['cupy']}"]
    for name, check in found["checks"].items():
        lines.append(f"{'ok    ' if check['passed'] else 'FAILED'} {name} {check.get('reason', '')}".rstrip())
    lines += [f"{value:10.2f} {name}" for name, value in found["ceilings"].items()]
    for measured in found["timings"]:
        lines.append(f"{measured['net']}, batch {measured['batch']}, {measured['precision']}: microseconds a step")
        lines += [f"{times['median']:10.2f} {name}" for name, times in measured["us"].items()]
        lines += [f"           {name}: {why}" for name, why in measured["missing"].items()]
    for goal in found["goals"]:
        verdict = "reached" if goal["met"] else "not reached"
        lines.append(f"{goal['reached']:10.2f} of {goal['wanted']:g}, {verdict}: {goal['goal']}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m fastnn.gpucheck", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the record, a JSON file; completed where it fits")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--cells", nargs="+", type=cell, default=timings.CELLS, help="such as 784-100-10:32:500:tf32")
    parser.add_argument("--rounds", type=int, default=timings.ROUNDS, help="turns of which the median counts")
    parser.add_argument("--limit", type=float, default=1800, help="seconds that tests may take")
    options = parser.parse_args(arguments)
    if not options.out.parent.is_dir():
        parser.error(f"--out: there is no folder {options.out.parent}")
    reason = why_not()
    if reason:
        print(f"No GPU was checked: {reason}.", file=sys.stderr)
        return NO_GPU
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take three quarters of the memory

    from fastnn.kernels.cupy_ import ceilings

    found = record.resumed(options.out, ceilings.facts())
    for part in options.only:
        print(f"{part} ...", flush=True)
        run(part, found, options)
        record.save(found, options.out)
    print("\n".join(summary(found)))
    return 0 if record.passed(found) else 1


if __name__ == "__main__":
    sys.exit(main())
