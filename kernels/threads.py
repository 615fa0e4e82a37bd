"""How many threads a native program may use, and on which cores they run."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable

_limit: int | None = None
_version = 0


def set_limit(count: int | None) -> None:
    """Allow up to `count` threads; None stands for FASTNN_THREADS or all cores."""
    global _limit, _version
    _limit = count
    _version += 1


def version() -> int:
    """Changes when the limit was set anew, so that programs measure again."""
    return _version


def choices() -> list[int]:
    """The thread counts to try: powers of two below the limit, and the limit."""
    given = os.environ.get("FASTNN_THREADS", "")
    if given and not (given.isdigit() and int(given) > 0):
        raise ValueError(f"FASTNN_THREADS must be a positive integer, got {given!r}")
    limit = _limit or int(given or cores())
    return sorted({n for n in (2**i for i in range(10)) if n < limit} | {limit})


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _core_function() -> Callable[[], int]:
    function = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
    return function or (lambda: -1)


def core() -> int:
    """The number of the core that the calling thread runs on; -1 where the system does not tell."""
    return _core_function()()


def keep_off(core: int, thread: int) -> None:
    """Have the thread of this system's number run on any core that we may use but this one.

    Without that, Linux may wake it on its waker's core and, as those who meet at barriers sleep now and then,
    leave both there for many steps while another core is idle.
    """
    if core >= 0:
        others = os.sched_getaffinity(0) - {core}
        if others:
            with contextlib.suppress(OSError):  # a container may forbid it, which is no fault: it runs where it may
                os.sched_setaffinity(thread, others)
