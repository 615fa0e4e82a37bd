"""The NumPy backend: runs the reference kernels, one after the other.

NumPy warns of nothing here: kernels check what must be finite, and the trainer says where it is not.
"""

from __future__ import annotations

import functools
from itertools import zip_longest
from typing import Any

import numpy as np

from fastnn.capture import Port
from fastnn.interrupts import Deferred
from fastnn.kernels import numpy_ as reference
from fastnn.kernels.contract import ITERATION, POSITION, ROW, Kernel
from fastnn.kernels.host import HostBackend
from fastnn.peephole import joined


class NumpyBackend(HostBackend):
    """Launches reference kernels; a replay is a flat list of bound calls."""

    name = "numpy"

    def check(self, kernel: Kernel) -> None:
        """Every kernel has a reference."""

    def launch(self, launch: Any) -> None:
        """Run one kernel now."""
        with np.errstate(all="ignore"):
            getattr(reference, launch.kernel.name)(*launch.values)

    def replay(self, program: Any) -> NumpyReplay:
        """Prepare a captured program for replay."""
        return NumpyReplay(program)


class NumpyReplay:
    """A program as a flat list of calls; what stands in the ports is put in when a run begins.

    Only the updates must not run after a fault, so it is looked at once: after the last launch that may find one.
    """

    threads = 1

    def __init__(self, program: Any) -> None:
        self.program = program
        self.clock = program.clock.data  # the same memory, but its elements are Python's integers, which are quicker
        launches = joined(program.recorded)
        self.calls = [functools.partial(getattr(reference, each.kernel.name), *self._bound(each)) for each in launches]
        self.ported = [any(isinstance(value, Port) for value in call.args) for call in self.calls]
        checks = [any(array.name == "fault" for array in launch.kernel.arrays) for launch in launches]
        self.checked = len(checks) - checks[::-1].index(True) if True in checks else 0

    def _bound(self, launch: Any) -> list[Any]:
        """The arguments of a launch, with the clock in its quicker form."""
        clocks = [array.name == "clock" for array in launch.kernel.arrays]
        return [self.clock if clock else value for clock, value in zip_longest(clocks, launch.args)]

    def group_of(self, launch: Any) -> int:
        """Each launch is a group of its own."""
        return self.program.launches.index(launch)

    def warm_up(self) -> None:
        """Nothing is compiled here."""

    def refresh(self) -> None:
        """Take the arrays that now stand in the ports: every run does."""

    def run(self, steps: int) -> int:
        """Run up to `steps` steps and advance the clock; returns how many were finished before a fault."""
        calls = [_filled(call) if ported else call for call, ported in zip(self.calls, self.ported, strict=True)]
        until_checked, others = calls[: self.checked], calls[self.checked :]
        clock, fault, rows = self.clock, self.program.fault.data, self.program.rows
        with np.errstate(all="ignore"), Deferred() as interrupt:
            for step in range(steps):
                interrupt.check()
                for call in until_checked:
                    call()
                if fault[0]:
                    return step
                for call in others:
                    call()
                clock[POSITION] += 1
                clock[ITERATION] += 1
                clock[ROW] += rows
        return steps


def _filled(call: functools.partial) -> functools.partial:
    """The same call of the arrays that now stand in its ports."""
    return functools.partial(call.func, *[each.array if isinstance(each, Port) else each for each in call.args])
