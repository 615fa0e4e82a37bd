"""The Numba backend: launches native kernels, and replays programs in the way that was measured best."""

from __future__ import annotations

import statistics
import time

import numpy as np

from fastnn.capture import Launch, NotCapturable, Port, aligned
from fastnn.kernels import numpy_ as reference
from fastnn.kernels import threads as thread_limit
from fastnn.kernels.contract import Kernel
from fastnn.kernels.host import HostBackend
from fastnn.kernels.numba_ import native
from fastnn.kernels.numba_.engine import launch_function
from fastnn.kernels.numba_.plan import Plan, in_slabs
from fastnn.program import Program

TRIAL_SECONDS, TRIALS = 1e-3, 3  # of a trial, and so many that are at least half as long tell how fast a way is;
MOST_TRIALS, SLOW_SECONDS = 12, 0.05  # or so many shorter ones, or as few slow steps as take so long
LONG_TRIAL_SECONDS, DISTURBED = 0.01, 0.65  # of a trial while others take turns with us: we have less of the cores then
TRY_AGAIN_SECONDS, PATIENCE = 0.25, 50  # until the next trial of each: at least so many times as long as they take;
SOON = 2  # trials come sooner, at first after 1 / 2**SOON of that: what disturbed them may be over
HOPELESS, CHANGED = 1.5, 1.25  # times the best: not tried again, until a step takes so many times as long, or as short
ALONE_SECONDS = 5e-6  # a shorter step is not shared: its barriers would take what a second thread wins
WORTH = 0.9  # of the time on fewer threads: only then are more threads used
FUSE_AFTER_SECONDS = 0.2  # so much time in small steps is worth a compilation
SHUFFLING = (("random_bits", "int64"), ("order_of", "int64"))  # kernels that come before the steps of an epoch


class Bound:
    """A launch packed for native code; it may be called again while its arrays stay where they are."""

    def __init__(self, launch: Launch) -> None:
        values = launch.values
        names = [array.name for array in launch.kernel.arrays]
        self.local = np.zeros(native.LOCAL_WORDS, np.int64)
        self.clock = values[names.index("clock")].data if "clock" in names else None
        self.local_clock = self.local[: len(self.clock or ())].data
        needed = native.copied_bytes(launch.kernel, values)
        self.copied = aligned((needed,), np.uint8) if needed else self.local
        self.local[native.ROWS_WORD] = self.copied.ctypes.data
        self.block = native.pack(launch.kernel, values)
        self.kernel = native.address(launch.kernel.name, native.variant(launch))
        self.function = launch_function()
        self.addresses, self.count = (self.block.ctypes.data, self.local.ctypes.data), launch.count

    def __call__(self, start: int = 0, stop: int | None = None) -> None:
        """Run the kernel for rows start..stop, by default for all, on the calling thread."""
        if self.clock is not None:
            self.local_clock[:] = self.clock
        block, local = self.addresses
        self.function(self.kernel, block, start, self.count if stop is None else stop, local)


class NumbaBackend(HostBackend):
    """Launches native kernels; a replay walks a table of them in one native call."""

    name = "numba"

    def check(self, kernel: Kernel) -> None:
        """Raises NotCapturable where a kernel has no native version."""
        if not native.has(kernel.name):
            raise NotCapturable(f"kernel {kernel.name} has no native version; its reference runs instead")

    def launch(self, launch: Launch) -> None:
        """Run one kernel now, on the calling thread; its reference where it has no native version."""
        bound = launch.bound
        if bound is None:
            if not native.has(launch.kernel.name):
                getattr(reference, launch.kernel.name)(*launch.values)
                return
            bound = Bound(launch)
            if not any(isinstance(value, Port) for value in launch.arrays):
                launch.bound = bound
        bound()

    def replay(self, program: Program) -> NumbaReplay:
        """Prepare a captured program for replay."""
        return NumbaReplay(program)


class NumbaReplay:
    """A program that runs in one of several ways to the same bits, on as many threads as measured best."""

    def __init__(self, program: Program) -> None:
        self.program = program
        ways = [program.phases, in_slabs(program.phases, program.fault)]
        launches = [launch for phases in ways for phase in phases or () for launch in phase]
        native.compile_ahead([*((each.kernel.name, native.variant(each)) for each in launches), *SHUFFLING])
        self.plans = [Plan(program, phases) for phases in ways if phases is not None]
        self.threads = 0  # until it has been measured
        self.plan = self.plans[0]
        self.plan.fused.look()
        self._settled = self._patience = 0.0  # seconds since then, and until it is measured again
        self._settlings, self._pace = 0, 0.0  # how often; and seconds of a step by then
        self._disturbed, self._trial_seconds = False, TRIAL_SECONDS
        self._small = 0.0  # seconds of small steps on one thread
        self._trials: dict[tuple[int, int], list[tuple[float, int]]] = {}  # seconds and steps
        self._version = thread_limit.version()

    def warm_up(self) -> None:
        """Make one function of a small step now. All kernels were loaded, or compiled, when the plans were made."""
        step = self.plans[0].fused
        if step.fits and not step.look():
            step.make()

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
            self._version, self.threads, self._trials, self._settlings = thread_limit.version(), 0, {}, 0
        done = 0
        while done < steps and not self.threads:
            done += self._trial(steps - done)
            if self.program.fault[0]:
                return done
        if done == steps:
            return done
        start = time.perf_counter()
        new = self.plan.run(steps - done, self.threads)
        elapsed = time.perf_counter() - start
        self._settled += elapsed
        done += new
        usual = new * self._pace
        if usual > TRIAL_SECONDS and not usual / CHANGED < elapsed < usual * CHANGED:  # every way may be best now
            self._settlings, self._patience = 0, min(self._patience, TRY_AGAIN_SECONDS / 2**SOON)
        if self.threads == 1 and self.plan.fused.fits:
            self._small += elapsed
            if self._small > FUSE_AFTER_SECONDS:
                self.plan.fused.begin()
        if self._settled > self._patience:  # the machine may be less busy now, or more: one more trial of each
            self._settled, self.threads = 0.0, 0
            self._trials |= {way: self._trials.get(way, [])[1:][-TRIALS:] for way in self._ways()}
        return done

    def _ways(self) -> list[tuple[int, int]]:
        """What to try: threads, and the number of a plan. One thread needs no slabs, and a short step one thread."""
        most = 1 if any(t < ALONE_SECONDS * n for t, n in self._trials.get((1, 0), ())) else None
        ways = [(n, i) for n in thread_limit.choices()[:most] for i in range(len(self.plans)) if n > 1 or i == 0]
        times = {each: self._time(each) for each in ways}  # 0 for what was never tried
        limit = HOPELESS * min(filter(None, times.values()), default=0.0)
        return [each for each in ways if self._settlings <= SOON or times[each] <= limit]

    def _trial(self, steps: int) -> int:
        """Run about a millisecond in the way that was tried least; settle when each was tried often enough.

        Where others take turns with our threads, some milliseconds each, a trial lasts several turns. It is known by
        the time that the threads had of the cores: they spin while they wait.
        """
        ways = self._ways()
        wanted = [each for each in ways if self._wants_trial(each)] or ways
        threads, plan = way = min(wanted, key=lambda each: len(self._trials.get(each, ())))
        seen = [seconds / n for trials in self._trials.values() for seconds, n in trials]
        steps = min(steps, max(1, int(self._trial_seconds / min(seen)))) if seen else 1
        start, worked = time.perf_counter(), time.process_time()
        done = self.plans[plan].run(steps, threads)
        elapsed, worked = time.perf_counter() - start, time.process_time() - worked
        self._trials.setdefault(way, []).append((elapsed, steps))
        if threads > 1 and elapsed >= TRIAL_SECONDS / 2:
            self._disturbed = worked < DISTURBED * threads * elapsed
        if len(ways) == 1 or not any(map(self._wants_trial, ways)):
            before, self._trial_seconds = self._trial_seconds, LONG_TRIAL_SECONDS if self._disturbed else TRIAL_SECONDS
            if before < self._trial_seconds:
                self._trials = {}
            else:
                self._settle(ways)
        return done

    def _settle(self, ways: list[tuple[int, int]]) -> None:
        """Choose the fastest way, by medians: trials may be disturbed. A further thread must be worth its core."""
        times = {each: self._time(each) for each in ways}
        best = ways[0]
        for each in ways[1:]:
            if times[each] < (WORTH if each[0] > best[0] else 1) * times[best]:
                best = each
        self.threads, self.plan = best[0], self.plans[best[1]]
        patience = max(TRY_AGAIN_SECONDS, PATIENCE * sum(max(t, self._trial_seconds) for t in times.values()))
        self._patience = patience * 2.0 ** min(0, self._settlings - SOON)
        self._settlings, self._pace = self._settlings + 1, times[best]

    def _wants_trial(self, way: tuple[int, int]) -> bool:
        """True until a way was tried often or long enough; the first trial warms up."""
        trials = self._trials.get(way, ())[1:]
        long = [seconds for seconds, _ in trials if seconds >= self._trial_seconds / 2]
        return len(long) < TRIALS and len(trials) < MOST_TRIALS and sum(long) < SLOW_SECONDS

    def _time(self, way: tuple[int, int]) -> float:
        """The median time of a step, by the latest of the trials with the most steps."""
        largest = sorted(self._trials.get(way, [])[1:], key=lambda trial: trial[1])[-TRIALS:]
        return statistics.median([seconds / steps for seconds, steps in largest] or [0.0])
