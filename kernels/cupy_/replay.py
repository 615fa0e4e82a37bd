"""A program as CUDA graphs: one of a step, and one of several; the device needs nothing from the host in between."""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cupy
import numpy as np

from fastnn.capture import Launch, Port
from fastnn.kernels import precision
from fastnn.kernels.contract import POSITION, ROW, Array
from fastnn.kernels.cupy_ import device, launcher
from fastnn.kernels.cupy_.branches import Branches, Trials
from fastnn.kernels.cupy_.window import Streamed, Window
from fastnn.memory import Block, block_of
from fastnn.peephole import joined
from fastnn.program import Program

TOGETHER = 16  # steps of the larger graph

_held: weakref.WeakKeyDictionary[Port, Any] = weakref.WeakKeyDictionary()  # device memory for host arrays in ports


class CupyReplay:
    """Replays a program on the device.

    What a step needs from the host is brought once for a run of steps: the clock, and the table's rows for these
    steps. What it gives the host is fetched once, too: clock, fault, the ring's rows, and the rows of an output. A port
    that holds a host array is copied by `refresh`, one that holds a device array is used where it is.

    The first step is launched kernel by kernel, which loads the kernels; after that steps are graphs, made anew when a
    port's array has another address, since a graph keeps its arguments. Whether launches that do not need each other
    are better side by side is measured.
    """

    threads = 1

    def __init__(self, program: Program, prepare: Callable[..., Any]) -> None:
        self.program, self._prepare = program, prepare
        self.launches = joined(program.recorded)
        pairs = [pair for launch in self.launches for pair in zip(launch.kernel.arrays, launch.arrays, strict=True)]
        self._ports: dict[Port, list[Array]] = {}
        own: list[np.ndarray] = []
        self._blocks: dict[Block, bool] = {}  # and whether the program changes it
        for array, value in pairs:
            if isinstance(value, Port):
                self._ports.setdefault(value, []).append(array)
            elif value is not None and array.name not in ("clock", "fault"):
                block = block_of(value)
                if block is None:
                    own.append(value)
                else:
                    self._blocks[block] = self._blocks.get(block, False) or array.writes
        with device.stream():
            self._control = device.empty((4,), np.int64, "the clock")
            self._places = device.Places(own, f"a step of {program.rows} rows")
        self._twins: list[device.Twin] = []
        self._constants = _never_written(pairs, own)
        self._window: Window | None = None
        self._arrays: dict[Port, Any] = {}
        self._bound: list[Any] = []  # what the prepared launches know: precision, twins, addresses and shapes
        self._calls: list[Callable[[], None]] = []
        self._graphs: dict[tuple[int, bool], Any] = {}  # by the number of steps, and whether there are branches
        self._trials = Trials()
        self._warm = False

    def group_of(self, launch: Launch) -> int:
        """Each launch is a group of its own."""
        return self.program.launches.index(launch)

    # --- arrays on the device ---

    def warm_up(self) -> None:
        """Kernels are loaded by the first step."""

    def refresh(self) -> None:
        """Take the arrays that now stand in the ports."""
        with device.stream() as stream:
            for block in self._blocks:
                block.twin = block.twin or device.Twin(block.flat)
                block.lend(anew=True)
            streamed = [port.array for port in self._ports if isinstance(port.array, Streamed)]
            self._window = Window.of(streamed, self.program.rows) if streamed else None
            self._arrays = {port: self._load(port) for port in self._ports}
            for host in self._constants:
                self._places.of(host).set(host)
            bound = [precision.tf32(), *(id(block.twin) for block in self._blocks)]
            bound += [(array.data.ptr, array.shape) for array in self._arrays.values()]
            if bound != self._bound:
                self._bound, self._twins = bound, [block.twin for block in self._blocks]
                self._graphs.clear()
                self._calls = [self._prepared(launch) for launch in self.launches]
                self._calls.append(launcher.advance(self._control[:3], self._control[3:], self.program.rows))
            stream.synchronize()

    def _load(self, port: Port) -> Any:
        host = port.array
        if self._window is not None and isinstance(host, Streamed):
            return self._window.arrays[host.source]
        if self._window is not None and port.name == "order":
            return self._window.places
        if not isinstance(host, np.ndarray):
            return _borrowed(host)
        held = _held.get(port)
        if held is None or (held.shape, held.dtype) != (host.shape, host.dtype):
            held = _held[port] = device.empty(host.shape, host.dtype, f"the port {port.name!r}")
        if any(array.reads for array in self._ports[port]):
            held.set(host)
        return held

    def _prepared(self, launch: Launch) -> Callable[[], None]:
        values: list[Any] = []
        for array, value in zip(launch.kernel.arrays, launch.arrays, strict=True):
            if value is None:
                values.append(None)
            elif array.name == "clock":
                values.append(self._control[:3])
            elif array.name == "fault":
                values.append(self._control[3:])
            elif isinstance(value, Port):
                values.append(self._arrays[value])
            else:
                block = block_of(value)
                values.append(self._places.of(value) if block is None else block.twin.view(value))
        values += launch.args[len(values) :]
        return self._prepare(launch.kernel, values, self._control[3:])

    # --- running ---

    def run(self, steps: int) -> int:
        """Run up to `steps` steps and advance the clock; returns how many were finished before a fault."""
        clock, fault = self.program.clock, self.program.fault
        control, first = np.concatenate([clock, fault]), clock.copy()
        with device.stream() as stream:
            for block in self._blocks:
                block.lend()
            self._control.set(control)
            for host, there in self._rows(first, steps, written=False):
                there.set(host)
            try:
                self._enqueue(steps, int(first[ROW]), stream)
            finally:  # also where the keyboard interrupts
                try:
                    self._fetch(control, first, steps)
                except KeyboardInterrupt:  # the device works on, and must be done before its memory is given away
                    self._fetch(control, first, steps)
                    raise
        return int(clock[POSITION] - first[POSITION])

    def _fetch(self, control: np.ndarray, first: np.ndarray, steps: int) -> None:
        """Wait for what was put into the stream, and take what it gives the host."""
        results = device.Fetch()
        results.add(self._control, control)
        for host, there in self._rows(first, steps, written=True):
            results.add(there, host)
        results.wait()
        self._trials.settle()
        for block, changed in self._blocks.items():
            if changed:
                block.returned()
        self.program.clock[:], self.program.fault[:] = control[:3], control[3:]

    def _rows(self, clock: np.ndarray, steps: int, written: bool) -> Iterator[tuple[np.ndarray, Any]]:
        """The rows of host arrays in ports that this run of steps reads, or writes, each with its place on the device.

        An axis S has a row for each step; of others only what is written crosses: the rows of these batches.
        """
        for port, arrays in self._ports.items():
            if not isinstance(port.array, np.ndarray):
                continue
            first, count = clock[POSITION], steps
            if arrays[0].axes[0] != "S":
                first, count = clock[ROW], steps * self.program.rows
            if any(array.writes for array in arrays) if written else arrays[0].axes[0] == "S":
                yield port.array[first : first + count], self._arrays[port][first : first + count]

    def _enqueue(self, steps: int, row: int, stream: Any) -> None:
        """Put so many steps into the stream; with a window, as many at a time as it has rows for."""
        if self._window is None:
            self._steps(steps, stream)
            return
        if row == 0:
            self._window.begin(next(port.array for port in self._ports if port.name == "order"))
        while steps:
            count = min(steps, (self._window.fill(stream) - row) // self.program.rows)
            self._steps(count, stream)
            steps, row = steps - count, row + count * self.program.rows
            self._window.done(row, stream)
        self._window.fill(stream)  # what comes next, while the device works

    def _steps(self, steps: int, stream: Any) -> None:
        if not self._warm and steps:
            self._step(None, stream)
            self._warm, steps = True, steps - 1
        while steps >= TOGETHER:
            self._trials.launch(lambda side_by_side: self._graph(TOGETHER, side_by_side, stream), stream)
            steps -= TOGETHER
        for _ in range(steps):
            self._graph(1, bool(self._trials.best), stream).launch(stream)

    def _step(self, branches: Branches | None, stream: Any) -> None:
        *calls, end = self._calls
        if branches is None:
            for call in calls:
                call()
        else:
            branches(calls, stream)
        end()

    @functools.cached_property
    def _branches(self) -> Branches:
        return Branches(self.launches)

    def _graph(self, steps: int, side_by_side: bool, stream: Any) -> Any:
        """The graph of so many steps, each a chain of launches or one with branches."""
        key = steps, side_by_side
        if key not in self._graphs:
            self._graphs[key] = self._capture(steps, self._branches if side_by_side else None, stream)
        return self._graphs[key]

    def _capture(self, steps: int, branches: Branches | None, stream: Any) -> Any:
        """A graph of so many steps. Everything it needs exists: an allocation in here is an error."""
        collecting = gc.isenabled()
        gc.disable()  # what is freed during a capture would break it
        try:
            with cupy.cuda.using_allocator(_refuse):
                stream.begin_capture()
                try:
                    for _ in range(steps):
                        self._step(branches, stream)
                except BaseException:
                    with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError):  # the first error tells more
                        stream.end_capture()
                    raise
                return stream.end_capture()
        finally:
            if collecting:
                gc.enable()


def _refuse(size: int) -> Any:
    raise RuntimeError(f"{size} bytes were allocated while a graph was captured: they would be handed out again")


def _borrowed(array: Any) -> Any:
    """The same array without a share in its memory: launches and graphs outlast a pass, and must not keep the data.

    Whoever put the array into the port keeps it for as long as it stands there.
    """
    memory = cupy.cuda.UnownedMemory(array.data.ptr, max(array.nbytes, 1), None, array.data.device_id)
    return cupy.ndarray(array.shape, array.dtype, cupy.cuda.MemoryPointer(memory, 0))


def _never_written(pairs: list[tuple[Array, Any]], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays that the program only reads: their values come from the host."""
    written = [v for a, v in pairs if a.writes and isinstance(v, np.ndarray)]
    return [array for array in arrays if not any(np.may_share_memory(array, other) for other in written)]
