"""The record of an acceptance: what ran where, with which sources, and every number."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastnn.files import write_whole

FORMAT = 1
PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent
DISTRIBUTIONS = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "triton", "jax", "optax", "nvidia-cublas")

Record = dict[str, Any]


def kernels_folder() -> Path:
    """Where the GPU's kernels lie: beside the package in a checkout, inside it when installed."""
    inside = PACKAGE / "kernels"
    return (inside if inside.is_dir() else CHECKOUT / "kernels") / "cupy_"


def sources() -> dict[str, str]:
    """The SHA-256 of each file that decides what runs on the GPU, by name. Line ends do not count."""
    files = sorted(p for p in kernels_folder().iterdir() if p.suffix in (".cu", ".cuh", ".py"))
    return {p.name: hashlib.sha256(p.read_bytes().replace(b"\r\n", b"\n")).hexdigest() for p in files}


def changed(record: Mapping[str, Any]) -> list[str]:
    """The files that are not as they were when the record was made; what was measured then may not hold now."""
    then, now = record["sources"], sources()
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def versions() -> dict[str, str]:
    """The versions of what takes part and is installed."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The checkout's commit, with + where files have changed since; empty outside a checkout."""
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def new(device: Mapping[str, Any]) -> Record:
    """A record to be filled."""
    return {
        "format": FORMAT,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "device": dict(device),
        "versions": versions(),
        "sources": sources(),
        "checks": {},
        "ceilings": {},
        "timings": [],
        "goals": [],
    }


def load(path: Path) -> Record:
    """The record in a file. Raises ValueError, naming the file, for anything else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); wanted a record of fastnn.gpucheck") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(record.get("sources"), dict):
        raise ValueError(f"{path} is no record of fastnn.gpucheck in format {FORMAT}")
    return record


def save(record: Record, path: Path) -> None:
    """Write a record; a file that was there stays whole until the new one is."""
    write_whole(path, (json.dumps(record, indent=1, sort_keys=False) + "\n").encode())


def resumed(path: Path, device: Mapping[str, Any]) -> Record:
    """The record in the file, to be completed, if it is of this device and these sources; else a new one."""
    if path.exists():
        record = load(path)
        if record["device"] == dict(device) and not changed(record):
            return record
    return new(device)


def newest(folder: Path) -> Record | None:
    """The latest record in a folder, by the time within; None where there is none."""
    records = [load(path) for path in sorted(folder.glob("*.json"))]
    return max(records, key=lambda record: record["time"], default=None)


def passed(record: Mapping[str, Any]) -> bool:
    """True when every check that ran has passed, and at least one ran."""
    return bool(record["checks"]) and all(check["passed"] for check in record["checks"].values())
