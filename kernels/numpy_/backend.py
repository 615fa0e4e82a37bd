"""The NumPy backend: runs the reference kernels, one after the other.

NumPy warns of nothing here: kernels check what must be finite, and the trainer says where it is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels import numpy_ as reference
from fastnn.kernels.contract import ITERATION, POSITION, ROW, Kernel
from fastnn.peephole import joined


class NumpyBackend:
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
    """A program as a flat list of functions and arguments."""

    threads = 1

    def __init__(self, program: Any) -> None:
        self.program = program
        self.phases = [joined(phase) for phase in program.phases]

    def group_of(self, launch: Any) -> int:
        """Each launch is a group of its own."""
        return self.program.launches.index(launch)

    def refresh(self) -> None:
        """Take the arrays that now stand in the ports: every run does."""

    def run(self, steps: int) -> int:
        """Run up to `steps` steps and advance the clock; returns how many were finished before a fault."""
        clock, fault, rows = self.program.clock, self.program.fault, self.program.rows
        phases = [[(getattr(reference, each.kernel.name), each.values) for each in p] for p in self.phases]
        with np.errstate(all="ignore"):
            for step in range(steps):
                for phase in phases:
                    for function, args in phase:
                        function(*args)
                    if fault[0]:
                        return step
                clock[POSITION] += 1
                clock[ITERATION] += 1
                clock[ROW] += rows
        return steps
