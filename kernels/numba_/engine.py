"""The native loop that replays a program: it walks a table of launches for many steps without coming back to Python.

Each thread has its own table, six words a line: kernel, argument block, start, stop, lines in the group, rows in a
tile. A line without a kernel is a barrier (`barrier.py`). The launches of a group take turns tile by tile over the same
rows, so that what one writes is still in the cache when the next reads it: that is all the fusion there is.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

import llvmlite.binding as llvm

from fastnn.kernels import threads
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


class Hand:
    """A Python thread that waits for tasks."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue = SimpleQueue()
        self._kept_off = -1
        self._thread = threading.Thread(target=self._work, name="fastnn", daemon=True)
        self._thread.start()

    def give(self, number: int, task: Callable[[], int], done: SimpleQueue, core: int) -> None:
        """Run the task on another core than this one; puts (number, result, error) into `done`."""
        if core != self._kept_off:
            threads.keep_off(core, self._thread.native_id or 0)
            self._kept_off = core
        self._tasks.put((number, task, done))

    def _work(self) -> None:
        while True:
            number, task, done = self._tasks.get()
            try:
                done.put((number, task(), None))
            except BaseException as error:
                done.put((number, 0, error))


class Crew:
    """Threads for native work; they are started once and reused, and anew after a fork."""

    def __init__(self) -> None:
        self._hands: list[Hand] = []
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._hands, self._lock = [], threading.Lock()

    def run(self, tasks: list[Callable[[], int]], give_up: Callable[[], None] = lambda: None) -> list[int]:
        """Run all tasks at the same time, the first on the calling thread; returns their results.

        Raises what a task raised, once all are done: until then they work with memory that the caller owns. Where the
        first fails, or the keyboard interrupts, `give_up` must make the others come to an end without it.
        """
        try:
            done = self._give(tasks[1:])
            first = tasks[0]()
            others = sorted((done.get() for _ in tasks[1:]), key=lambda answer: answer[0])
        except BaseException:
            give_up()
            done = self._give([int] * (len(tasks) - 1))  # whatever they were given comes before that
            for _ in tasks[1:]:
                done.get()
            raise
        for _, _, error in others:
            if error is not None:
                raise error
        return [first, *(result for _, result, _ in others)]

    def _give(self, tasks: list[Callable[[], int]]) -> SimpleQueue:
        """Give each task to a hand of its own; returns the queue of their answers."""
        done: SimpleQueue = SimpleQueue()
        core = threads.core()
        with self._lock:  # all at once: two runs that each wait for a hand of the other would wait for ever
            while len(self._hands) < len(tasks):
                self._hands.append(Hand())
            for number, task in enumerate(tasks):
                self._hands[number].give(number, task, done, core)
        return done


crew = Crew()
