"""The NumPy backend: runs the reference kernels, one after the other.

NumPy warns of nothing here: kernels check what must be finite, and the trainer says where it is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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
    """A program as a flat list of functions and arguments."""

    threads = 1

    def __init__(self, program: Any) -> None:
        self.program = program
        self.stretches: list[list[Any]] = [[]]  # up to the launches after which there may be a fault
        for launch in joined(program.recorded):
            self.stretches[-1].append(launch)
            if any(array.name == "fault" for array in launch.kernel.arrays):
                self.stretches.append([])

    def group_of(self, launch: Any) -> int:
        """Each launch is a group of its own."""
        return self.program.launches.index(launch)

    def warm_up(self) -> None:
        """Nothing is compiled here."""

    def refresh(self) -> None:
        """Take the arrays that now stand in the ports: every run does."""

    def run(self, steps: int) -> int:
        """Run up to `steps` steps and advance the clock; returns how many were finished before a fault."""
        clock, fault, rows = self.program.clock, self.program.fault, self.program.rows
        stretches = [[(getattr(reference, each.kernel.name), each.values) for each in s] for s in self.stretches]
        with np.errstate(all="ignore"):
            for step in range(steps):
                for stretch in stretches:
                    for function, args in stretch:
                        function(*args)
                    if fault[0]:
                        return step
                clock[POSITION] += 1
                clock[ITERATION] += 1
                clock[ROW] += rows
        return steps
