"""The Numba backend: launches native kernels, and replays programs in the way that was measured best."""

from __future__ import annotations

import ctypes
import functools
import statistics
import time
from typing import Any

import numpy as np

from fastnn.capture import Launch, NotCapturable, Port, aligned
from fastnn.kernels import numpy_ as reference
from fastnn.kernels import threads as thread_limit
from fastnn.kernels.contract import Kernel
from fastnn.kernels.numba_ import native
from fastnn.kernels.numba_.plan import Plan, in_slabs, variant
from fastnn.program import Program

TRIAL_SECONDS, TRIALS, SLOW_SECONDS = 1e-3, 3, 0.05  # of a trial; how many, or how long two of slow steps, are enough
TRY_AGAIN_SECONDS, PATIENCE = 0.25, 50  # until the next trial of each: at least so many times as long as they take
WORTH = 0.9  # of the time on fewer threads: only then are more threads used
_LAUNCH = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


class Bound:
    """A launch packed for native code; it may be called again while its arrays stay where they are."""

    def __init__(self, launch: Launch) -> None:
        values = launch.values
        names = [array.name for array in launch.kernel.arrays]
        self.clock = values[names.index("clock")] if "clock" in names else None
        self.local = np.zeros(native.LOCAL_WORDS, np.int64)
        needed = native.copied_bytes(launch.kernel, values)
        self.copied = aligned((needed,), np.uint8) if needed else self.local
        self.local[native.ROWS_WORD] = self.copied.ctypes.data
        self.block = native.pack(launch.kernel, values)
        self.function = _function(launch.kernel.name, variant(launch))
        self.addresses, self.count = (self.block.ctypes.data, self.local.ctypes.data), launch.count

    def __call__(self, start: int = 0, stop: int | None = None) -> None:
        """Run the kernel for rows start..stop, by default for all, on the calling thread."""
        if self.clock is not None:
            self.local[: len(self.clock)] = self.clock
        block, local = self.addresses
        self.function(block, start, self.count if stop is None else stop, local)


class NumbaBackend:
    """Launches native kernels; a replay walks a table of them in one native call."""

    name = "numba"

    def check(self, kernel: Kernel) -> None:
        """Raises NotCapturable where a kernel has no native version."""
        if not native.has(kernel.name):
            raise NotCapturable(f"kernel {kernel.name} has no native version; its reference runs instead")

    def launch(self, launch: Launch) -> None:
        """Run one kernel now, on the calling thread; its reference where it has no native version."""
        if not native.has(launch.kernel.name):
            getattr(reference, launch.kernel.name)(*launch.values)
            return
        bound = launch.bound or Bound(launch)
        bound()
        if not any(isinstance(value, Port) for value in launch.arrays):
            launch.bound = bound

    def replay(self, program: Program) -> NumbaReplay:
        """Prepare a captured program for replay."""
        return NumbaReplay(program)


@functools.cache
def _function(name: str, dtype: str) -> Any:
    return _LAUNCH(native.address(name, dtype))


class NumbaReplay:
    """A program that runs in one of several ways to the same bits, on as many threads as measured best."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.plans = [Plan(program, program.phases)]
        slabs = in_slabs(program.phases, program.fault)
        if slabs is not None:
            self.plans.append(Plan(program, slabs))
        self.threads = 0  # until it has been measured
        self.plan = self.plans[0]
        self._settled = self._patience = 0.0  # seconds since then, and until it is measured again
        self._trials: dict[tuple[int, int], list[float]] = {}
        self._version = thread_limit.version()

    def refresh(self) -> None:
        """Take the arrays that now stand in the ports."""
        for plan in self.plans:
            plan.refresh()

    def group_of(self, launch: Launch) -> int:
        """The number of the group in which a launch takes turns with others."""
        flat = [g for groups in self.plans[0].groups for g in groups]
        return next(i for i, g in enumerate(flat) if launch in g.launches)

    def run(self, steps: int) -> int:
        """Run up to `steps` steps and advance the clock; returns how many were finished before a fault."""
        if self._version != thread_limit.version():
            self._version, self.threads, self._trials = thread_limit.version(), 0, {}
        done = 0
        while done < steps and not self.threads:
            done += self._trial(steps - done)
            if self.program.fault[0]:
                return done
        if done == steps:
            return done
        start = time.perf_counter()
        done += self.plan.run(steps - done, self.threads)
        self._settled += time.perf_counter() - start
        if self._settled > self._patience:  # the machine may be less busy now, or more: one more trial of each
            self._settled, self.threads = 0.0, 0
            self._trials = {way: times[1:] for way, times in self._trials.items()}
        return done

    def _ways(self) -> list[tuple[int, int]]:
        """What to try: threads, and the number of a plan; slabs are no use to one thread alone."""
        return [(n, i) for n in thread_limit.choices() for i in range(len(self.plans)) if n > 1 or i == 0]

    def _trial(self, steps: int) -> int:
        """Run about a millisecond in the way that was tried least; settle when each was tried often enough.

        Other programs may disturb a trial, so medians count; and another thread must be worth its core.
        """
        ways = self._ways()
        threads, plan = way = min(filter(self._wants_trial, ways), key=lambda each: len(self._trials.get(each, ())))
        seen = [t for trials in self._trials.values() for t in trials]
        steps = min(steps, max(1, int(TRIAL_SECONDS / min(seen)))) if seen else 1
        start = time.perf_counter()
        done = self.plans[plan].run(steps, threads)
        self._trials.setdefault(way, []).append((time.perf_counter() - start) / steps)
        if len(ways) == 1 or not any(map(self._wants_trial, ways)):
            times = {each: statistics.median(self._trials[each][1:] or [0.0]) for each in ways}  # the first warms up
            best = ways[0]
            for each in ways[1:]:
                if times[each] < (WORTH if each[0] > best[0] else 1) * times[best]:
                    best = each
            self.threads, self.plan = best[0], self.plans[best[1]]
            self._patience = max(TRY_AGAIN_SECONDS, PATIENCE * sum(max(t, TRIAL_SECONDS) for t in times.values()))
        return done

    def _wants_trial(self, way: tuple[int, int]) -> bool:
        """True until a way was tried often enough, or twice where its steps are slow."""
        times = self._trials.get(way, ())
        return len(times) <= TRIALS and (len(times) < 2 or sum(times) < SLOW_SECONDS)
