"""Compiled kernels on disk, so that only the first process on a machine compiles them.

A folder's name tells what its files depend on, so a file in it never goes stale. Many processes may read and write
at once: a file appears whole or not at all, and what was damaged later (a full disk, a crash) is told by its checksum.
Machine code that is cut short would end the process when it is loaded.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from fastnn.files import write_whole

HERE = Path(__file__).parent
SOURCES = [*sorted(HERE.glob("*.py")), HERE.parent / "contract.py", HERE.parent / "coefficients.py"]


def fingerprint(compiler: str) -> str:
    """Changes with whatever changes the machine code: our sources and, in `compiler`, its version and the processor."""
    digest = hashlib.sha256(compiler.encode())
    for path in SOURCES:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Cache:
    """Files of bytes, by name, in the first of some folders that works; where none does, nothing is kept."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    def load(self, name: str) -> bytes | None:
        """What was kept under that name, or None where there is nothing, or nothing whole."""
        for folder in filter(_trusted, self.folders):
            try:
                content = (folder / name).read_bytes()
            except OSError:
                continue
            code, digest = content[:-32], content[-32:]
            if hashlib.sha256(code).digest() == digest:
                return code
        return None

    def store(self, name: str, code: bytes) -> None:
        """Keep `code`. Of several processes that do so at once the last one wins; all of them write the same."""
        content = code + hashlib.sha256(code).digest()
        for folder in self.folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if _trusted(folder):
                    write_whole(folder / name, content)
                    return
            except OSError:
                continue  # read-only or full: the next one, or the next process compiles again

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """What was kept under that name, or else what `make` gives, which is then kept."""
        code = self.load(name)
        if code is None:
            code = make()
            self.store(name, code)
        return code


def _trusted(folder: Path) -> bool:
    """False for a folder of somebody else in the temporary folder, where anybody may make one: we run what is in it."""
    if not folder.is_relative_to(tempfile.gettempdir()) or not hasattr(os, "getuid"):
        return True
    try:
        return folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def folders(compiler: str) -> list[Path]:
    """Where to look and keep: in FASTNN_CACHE or the user's cache folder, else in the temporary folder."""
    name = f"native-{fingerprint(compiler)}"
    found = [Path(tempfile.gettempdir()) / f"fastnn-{os.getuid() if hasattr(os, 'getuid') else 0}-{name}"]
    given, caches = os.environ.get("FASTNN_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        base = Path(given) if given else Path(caches or Path.home() / ".cache") / "fastnn"
        return [base / name, *found]
    except RuntimeError:  # a user without a home
        return found
