"""The native loop that replays a program: it walks a table of launches for many steps without coming back to Python.

Each thread has its own table, six words a line: kernel, argument block, start, stop, lines in the group, rows in a
tile. A line without a kernel is a barrier (`barrier.py`). The launches of a group take turns tile by tile over the same
rows, so that what one writes is still in the cache when the next reads it: that is all the fusion there is.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

import llvmlite.binding as llvm

from fastnn.kernels.contract import ITERATION, POSITION, ROW
from fastnn.kernels.numba_ import arguments, compiling, loading

TABLE_WORDS = 6
# Words that the threads of a run share; what is written often has a cache line of its own.
FAULT_AT, SLEEP_AT, GIVEN_UP, SEEN, ARRIVED, GENERATION, SHARED_WORDS = 0, 1, 2, 8, 16, 24, 32


def _compile_replay() -> bytes:
    import numba

    from fastnn.kernels.numba_ import barrier, words

    meet, call, integers, carray = barrier.meet, words.call, words.integers, numba.carray
    local_words = arguments.LOCAL_WORDS

    def replay(table_at, lines, steps, rows, local_at, shared_at, threads):
        """Run up to `steps` steps of `rows` rows; returns how many were finished before a fault."""
        table = carray(integers(table_at), (lines, TABLE_WORDS))
        local = carray(integers(local_at), local_words)
        for step in range(steps):
            i = 0
            while i < lines:
                if table[i, 0] == 0:
                    if meet(shared_at, threads):
                        return step
                    i += 1
                else:
                    start, stop, group, tile = table[i, 2], table[i, 3], table[i, 4], table[i, 5]
                    while start < stop:
                        end = min(start + tile, stop)
                        for k in range(i, i + group):
                            call(table[k, 0], table[k, 1], start, end, local_at)
                        start = end
                    i += group
            local[POSITION] += 1
            local[ITERATION] += 1
            local[ROW] += rows
        return steps

    return compiling.machine_code(compiling.module_of(replay, 7, "i64", flushes=True))


def replay_function() -> Callable[..., int]:
    """The native loop as a Python function; ctypes lets go of the interpreter's lock while it runs."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 7)
    return prototype(loading.load_or_compile("replay", "any", _compile_replay))


@functools.cache
def launch_function() -> Callable[..., None]:
    """Calls the kernel at an address once, as the native loop would: (kernel, argument block, start, stop, local)."""
    declare, begin, end = compiling.flushing()
    text = f"""
{declare}
define void @fastnn_kernel(i64 %kernel, i64 %block, i64 %start, i64 %stop, i64 %local) {{
  %function = inttoptr i64 %kernel to ptr
{begin}
  call void %function(i64 %block, i64 %start, i64 %stop, i64 %local)
{end}
  ret void
}}"""
    with loading.lock:
        address = loading.load(compiling.machine_code(llvm.parse_assembly(text)))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address)


@functools.cache
def sleep_address() -> int:
    """The address of the system's function that sleeps for some microseconds; on Windows it gives way for a turn."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        function = ctypes.CDLL(None).usleep
    return ctypes.cast(function, ctypes.c_void_p).value or 0
