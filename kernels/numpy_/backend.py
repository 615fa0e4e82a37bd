"""The NumPy backend: runs the reference kernels, one after the other.

NumPy warns of nothing here: kernels check what must be finite, and the trainer says where it is not.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np

from fastnn.capture import Port
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
    """A program as a flat list of functions and arguments; those of ports are there while it runs.

    Only the updates must not run after a fault, so it is looked at once: after the last launch that may find one.
    """

    threads = 1

    def __init__(self, program: Any) -> None:
        self.program = program
        self.clock = program.clock.data  # the same memory, but its elements are Python's integers, which are quicker
        launches = joined(program.recorded)
        self.calls = [(getattr(reference, launch.kernel.name), self._bound(launch)) for launch in launches]
        places = [(args, i) for _, args in self.calls for i in range(len(args))]
        self.ports = [(args, i, args[i]) for args, i in places if isinstance(args[i], Port)]
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
        for args, i, port in self.ports:
            args[i] = port.array
        try:
            with np.errstate(all="ignore"):
                return self._run(steps)
        finally:  # the data are not ours to keep
            for args, i, port in self.ports:
                args[i] = port

    def _run(self, steps: int) -> int:
        clock, fault, rows = self.clock, self.program.fault.data, self.program.rows
        until_checked, others = self.calls[: self.checked], self.calls[self.checked :]
        for step in range(steps):
            for function, args in until_checked:
                function(*args)
            if fault[0]:
                return step
            for function, args in others:
                function(*args)
            clock[POSITION] += 1
            clock[ITERATION] += 1
            clock[ROW] += rows
        return steps
