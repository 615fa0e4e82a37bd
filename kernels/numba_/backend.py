"""The Numba backend: launches native kernels, and replays programs in the way that was measured best."""

from __future__ import annotations

import time

import numpy as np

from fastnn.capture import Launch, NotCapturable, Port
from fastnn.kernels import numpy_ as reference
from fastnn.kernels.contract import Kernel
from fastnn.kernels.host import HostBackend
from fastnn.kernels.numba_ import arguments, blocking, loading, native
from fastnn.kernels.numba_.choice import choice_for
from fastnn.kernels.numba_.engine import launch_function
from fastnn.kernels.numba_.plan import Plan, in_slabs
from fastnn.memory import aligned
from fastnn.program import Program

FUSE_AFTER_SECONDS = 0.2  # so much time in small steps is worth a compilation
SHUFFLING = (("random_bits", "int64"), ("order_of", "int64"))  # kernels that come before the steps of an epoch


class Bound:
    """A launch packed for native code; it may be called again while its arrays stay where they are."""

    def __init__(self, launch: Launch) -> None:
        values = launch.values
        names = [array.name for array in launch.kernel.arrays]
        self.local = np.zeros(arguments.LOCAL_WORDS, np.int64)
        self.clock = values[names.index("clock")].data if "clock" in names else None
        self.local_clock = self.local[: len(self.clock or ())].data
        needed = blocking.copied_bytes(launch.kernel, values)
        self.copied = aligned((needed,), np.uint8) if needed else self.local
        self.local[arguments.ROWS_WORD] = self.copied.ctypes.data
        self.block = arguments.pack(launch.kernel, values)
        self.kernel = loading.address(launch.kernel.name, native.variant(launch))
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
        phasings = [program.phases, in_slabs(program.phases, program.fault)]
        launches = [launch for phases in phasings for phase in phases or () for launch in phase]
        loading.compile_ahead([*((each.kernel.name, native.variant(each)) for each in launches), *SHUFFLING])
        self.plans = [Plan(program, phases) for phases in phasings if phases is not None]
        self.plans[0].fused.load()
        self.choice = choice_for(program.launches, len(self.plans))
        self._small = 0.0  # seconds of small steps on one thread

    @property
    def threads(self) -> int:
        """How many are used; 0 until it has been measured."""
        return self.choice.way[0] if self.choice.way else 0

    def warm_up(self) -> None:
        """Make one function of a small step now. All kernels were loaded, or compiled, when the plans were made."""
        step = self.plans[0].fused
        if step.fits and not step.load():
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
        choice, done = self.choice, 0
        choice.follow_limit()
        while done < steps:
            trial = choice.way is None
            way, wanted = choice.next_trial(steps - done) if trial else (choice.way, steps - done)
            threads, plan = way
            worked, start = time.process_time() if trial else 0.0, time.perf_counter()
            new = self.plans[plan].run(wanted, threads)
            elapsed = time.perf_counter() - start
            done += new
            if trial:
                choice.tried(way, wanted, elapsed, time.process_time() - worked)
            else:
                choice.used(new, elapsed)
                self._fuse_when_worth_it(threads, elapsed)
            if new < wanted:  # a fault
                break
        return done

    def _fuse_when_worth_it(self, threads: int, seconds: float) -> None:
        """Begin to make one function of a small step, after so many seconds of them on one thread."""
        fused = self.plans[0].fused
        if threads == 1 and fused.fits:
            self._small += seconds
            if self._small > FUSE_AFTER_SECONDS:
                fused.begin()
