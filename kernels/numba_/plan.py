"""How threads run a program: which launches take turns, who does which rows, and other ways to the same bits."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import numpy as np

from fastnn.capture import Launch, Port
from fastnn.kernels.numba_ import arguments, blocking, engine, loading, native
from fastnn.kernels.numba_.crew import crew
from fastnn.kernels.numba_.fused import FusedStep
from fastnn.kernels.numba_.internal import INTERNAL
from fastnn.memory import LINE, aligned
from fastnn.program import Program, depends

WEIGHTS_IN_CACHE = 192 * 1024  # bytes of weights that a group may read again for every tile
HALVES_BYTES = 1 << 20  # of weights: the gradient of larger ones was measured to take longer from a batch in halves
TILE_BYTES, TILE_ROWS = 24 * 1024, 14  # of a gradient that is consumed while it is in the first-level cache; at least
# Of one that sums so many products: more rows share what a tile reads, but the second-level cache holds weights, too.
LONG, LONG_TILE_BYTES, LONG_TILE_ROWS = 16, 96 * 1024, 56


class Group:
    """Launches that share their work alike and take turns tile by tile."""

    def __init__(self, launch: Launch) -> None:
        self.launches = [launch]
        self.weights = _weights(launch)

    @property
    def share(self) -> tuple[str, int]:
        return self.launches[0].share

    def accepts(self, launch: Launch) -> bool:
        """True when the launch shares its work alike, and the weights of all still fit into the cache."""
        extra = _weights(launch)
        return launch.share == self.share and (not extra or self.weights + extra <= WEIGHTS_IN_CACHE)

    def add(self, launch: Launch) -> None:
        self.launches.append(launch)
        self.weights += _weights(launch)

    def tile(self, rows: int) -> int:
        """Of a thread's rows, those that the launches work on before they take turns."""
        kind, _ = self.share
        if len(self.launches) == 1 or kind == "single":
            return rows
        row = max(int(a.nbytes // max(len(a), 1)) for launch in self.launches for a in _owned(launch))
        if kind == "params":
            long = len(self.launches[0].args[0]) >= LONG
            size, least = (LONG_TILE_BYTES, LONG_TILE_ROWS) if long else (TILE_BYTES, TILE_ROWS)
            return max(size // row // TILE_ROWS * TILE_ROWS, least)
        if self.weights > WEIGHTS_IN_CACHE:
            return rows  # the products go through them piece by piece
        return max(8 * TILE_BYTES // row // LONG_TILE_ROWS * LONG_TILE_ROWS, LONG_TILE_ROWS)

    def scratch(self, program: Program) -> np.ndarray | None:
        """The gradient that this group both makes and consumes, if nobody else needs it: it never leaves the thread."""
        first = self.launches[0]
        if first.kernel.split != "params" or len(self.launches) == 1:
            return None
        made = first.args[first.kernel.owner]
        others = [launch for launch in program.launches if launch not in self.launches]
        return None if any(begin == made.ctypes.data for each in others for _, (_, begin, _) in each.places) else made


def _same(array: np.ndarray, other: Any) -> bool:
    """True when both begin at the same address."""
    return isinstance(other, np.ndarray) and array.ctypes.data == other.ctypes.data


def _owned(launch: Launch) -> list[np.ndarray]:
    """The arrays of a launch that threads share by rows."""
    return [v for v in launch.arrays if isinstance(v, np.ndarray) and len(v) == launch.count and v.ndim == 2]


def _weights(launch: Launch) -> int:
    """Bytes that every tile of a launch reads again."""
    if launch.kernel.split != "rows":
        return 0
    return sum(v.nbytes for v in launch.arrays if isinstance(v, np.ndarray) and v.ndim == 2 and len(v) != launch.count)


def group(launches: list[Launch]) -> list[Group]:
    """Put each launch of a phase into the group of the last launch it depends on, where that group accepts it."""
    groups: list[Group] = []
    for launch in launches:
        last = next((g for g in reversed(groups) if any(depends(launch, other) for other in g.launches)), None)
        if last is not None and last.accepts(launch):
            last.add(launch)
        else:
            groups.append(Group(launch))
    return groups


def in_slabs(phases: list[list[Launch]], fault: np.ndarray) -> list[list[Launch]] | None:
    """The phases with products of large weights shared by slabs of these (see `slabs.py`), or None without such.

    A product becomes a phase of its own. The sum of its parts takes its place, and the gathering of its rows goes along
    where it needs nothing else; the gradient of an input is whole at once.
    """
    result: list[list[Launch]] = []
    left = [list(phase) for phase in phases]
    for rest in left:
        while (product := next(filter(_worth_slabs, rest), None)) is not None:
            needed = _needed(product, rest)
            if product.kernel.name == "dense_dx":
                result += [needed, [_launch("dense_dx_slabs", product.args, product)]]
                _remove(rest, [*needed, product])
                continue
            parts, total = _parts_and_sum(product)
            rest[rest.index(product)] = total
            halves = _halves(needed, product, parts, left, fault)
            result += [halves] if halves else [needed, [parts]]
            _remove(rest, needed)
        result.append(rest)
    return result if len(result) > len(phases) else None


def _remove(phase: list[Launch], launches: list[Launch]) -> None:
    phase[:] = [each for each in phase if each not in launches]


def _halves(
    needed: list[Launch], product: Launch, parts: Launch, phases: list[list[Launch]], fault: np.ndarray
) -> list[Launch] | None:
    """The same product of a batch in halves, with its gathering; None where others read it, or the weights are large.

    The gradient of the weights, which reads it, is put into the phases instead of the other; the check goes along.
    """
    x, weight, *_ = product.args
    readers = [each for phase in phases for each in phase if any(_same(x, value) for value in each.arrays)]
    checks, gradients = [[e for e in readers if e.kernel.name == name] for name in ("check_finite", "dense_dweight")]
    if weight.nbytes > HALVES_BYTES or [each.kernel.name for each in needed] != ["gather"] or len(checks) != 1:
        return None
    if len(readers) > 2 + len(gradients) or not all(_same(x, each.args[0]) for each in gradients):
        return None
    (gather,), (check,), slabs = needed, checks, len(parts.args[-1])
    halves = aligned((len(x), 2 * blocking.half_width(len(weight), x.itemsize)), x.dtype)
    data, permutation, clock, _ = gather.args
    for phase in phases:
        _remove(phase, checks)
        phase[:] = [
            _launch("dense_dweight_halves", [halves, *each.args[1:]], each) if each in gradients else each
            for each in phase
        ]
    gathered = [data, permutation, clock, halves, fault, check.args[-1], slabs]
    multiplied = [halves, weight, parts.args[-1]]
    return [_launch("gather_halves", gathered, product, slabs), _launch("dense_halves", multiplied, product)]


def _worth_slabs(launch: Launch) -> bool:
    """True for a product whose weights are more work to move than the parts of its sums are."""
    if launch.kernel.name not in ("dense", "dense_dx"):
        return False
    inputs, outputs = launch.args[1].shape
    if launch.kernel.name == "dense_dx" and blocking.transposes(launch.count, inputs, outputs):
        return False
    return blocking.slabs(launch.count, inputs) > 1


def _needed(launch: Launch, phase: list[Launch]) -> list[Launch]:
    """The launches of the phase that must run before this one."""
    needed = [launch]
    for each in reversed(phase[: phase.index(launch)]):
        if any(depends(later, each) for later in needed):
            needed.insert(0, each)
    return needed[:-1]


def _parts_and_sum(product: Launch) -> tuple[Launch, Launch]:
    x, weight, bias, z = product.args
    slabs = blocking.slabs(len(x), len(weight))
    parts = aligned((slabs, z.size), z.dtype)
    return _launch("dense_slabs", [x, weight, parts], product), _launch("sum_slabs", [parts, bias, z], product)


def _launch(name: str, args: list[Any], original: Launch, count: int | None = None) -> Launch:
    launch = Launch(INTERNAL[name], args, original.dtype)
    launch.count = count or launch.count
    return launch


class Plan:
    """One way to run a program: phases as groups of launches, and a workspace for each number of threads."""

    def __init__(self, program: Program, phases: list[list[Launch]]) -> None:
        self.program = program
        self.groups = [group(phase) for phase in phases]
        self.blocks: dict[int, np.ndarray] = {}  # by id of the launch
        self._ports: dict[Port, list[memoryview]] = {}  # the words of argument blocks that tell where its array is
        self._taken: dict[Port, weakref.ref | None] = {}  # the arrays that were there last; they are not ours to keep
        self._stale = False
        self._workspaces: dict[int, Workspace] = {}
        self._scratch_bytes = 0
        launches = [launch for phase in phases for launch in phase]
        self._copied_bytes = max(blocking.copied_bytes(launch.kernel, launch.values) for launch in launches)
        self.addresses = {id(each): loading.address(each.kernel.name, native.variant(each)) for each in launches}
        for groups in self.groups:
            for g in groups:
                scratch = g.scratch(program)
                if scratch is not None:
                    rows, row_bytes = len(scratch), scratch.nbytes // len(scratch)
                    needed = -(-min(g.tile(rows), rows) * row_bytes // LINE) * LINE
                    self._scratch_bytes = max(self._scratch_bytes, needed)
                for launch in g.launches:
                    self._pack(launch, scratch)
        self.fused = FusedStep(self.groups, self.blocks, program.rows)

    def _pack(self, launch: Launch, scratch: np.ndarray | None) -> None:
        index = next((i for i, v in enumerate(launch.arrays) if scratch is not None and _same(scratch, v)), None)
        block = self.blocks[id(launch)] = arguments.pack(launch.kernel, launch.values, index)
        placed = zip(arguments.places(launch.kernel), launch.arrays, strict=True)
        for place, value in placed:
            if isinstance(value, Port):
                self._ports.setdefault(value, []).append(block[place : place + 3].data)

    def refresh(self) -> None:
        """Take the arrays that then stand in the ports before the next run: another plan may do all the work."""
        self._stale = True

    def _take(self) -> None:
        self._stale = False
        for port, places in self._ports.items():
            known = self._taken.get(port)
            if known is None or known() is not port.array:
                words = arguments.array_words(port.array)
                for place in places:  # in place: the tables hold the address of each block
                    place[0], place[1], place[2] = words
                self._taken[port] = None if port.array is None else weakref.ref(port.array)

    def tables(self, threads: int) -> list[np.ndarray]:
        """What each thread's native loop walks."""
        tables: list[list[list[int]]] = [[] for _ in range(threads)]
        turn = 0
        for groups in self.groups:
            for g in groups:
                kind, count = g.share
                for t, table in enumerate(tables):
                    start, stop = count * t // threads, count * (t + 1) // threads
                    if kind == "single":
                        start, stop = 0, int(t == turn % threads)
                    if start < stop:
                        tile = g.tile(stop - start)
                        for i, launch in enumerate(g.launches):
                            line = [self.addresses[id(launch)], self.blocks[id(launch)].ctypes.data, start, stop]
                            table.append([*line, len(g.launches) - i, tile])
                turn += kind == "single"
            for table in tables:
                table.append([0] * engine.TABLE_WORDS)
        return [np.array(table, np.int64) for table in tables]

    def run(self, steps: int, threads: int) -> int:
        """Run up to `steps` steps and advance the clock; returns how many were finished before a fault."""
        if self._stale:
            self._take()
        workspace = self._workspaces.get(threads)
        if workspace is None:
            workspace = Workspace(self.tables(threads), self.program, self._scratch_bytes, self._copied_bytes)
            self._workspaces[threads] = workspace
        return workspace.run_fused(self.fused, steps) if threads == 1 and self.fused.function else workspace.run(steps)


class Workspace:
    """What so many threads replay a program with: the table and the memory of each, and the words that they share."""

    def __init__(self, tables: list[np.ndarray], program: Program, scratch_bytes: int, copied_bytes: int) -> None:
        self.program, self.tables = program, tables
        self.shared = aligned((engine.SHARED_WORDS,), np.int64)
        self.words = self.shared.data
        self.shared[engine.FAULT_AT] = program.fault.ctypes.data
        self.shared[engine.SLEEP_AT] = engine.sleep_address()
        self.locals = [aligned((arguments.LOCAL_WORDS,), np.int64) for _ in tables]
        self.clock = program.clock.data  # views of memory are copied in half the time that arrays take
        self.clocks = [local[: len(program.clock)].data for local in self.locals]
        self.scratch = [aligned((scratch_bytes + copied_bytes,), np.uint8) for _ in tables]
        self.calls = []  # of each thread's native loop, before and after the number of steps
        for table, local, scratch in zip(tables, self.locals, self.scratch, strict=True):
            local[arguments.SCRATCH_WORD] = scratch.ctypes.data
            local[arguments.ROWS_WORD] = scratch.ctypes.data + scratch_bytes
            rest = (program.rows, local.ctypes.data, self.shared.ctypes.data, len(tables))
            self.calls.append(((table.ctypes.data, len(table)), rest))
        self.addresses = (self.locals[0].ctypes.data, program.fault.ctypes.data)
        self.replay = engine.replay_function()

    def run(self, steps: int) -> int:
        """Run up to `steps` steps on all threads and advance the clock; returns how many were finished."""
        for clock in self.clocks:
            clock[:] = self.clock
        self.words[engine.ARRIVED] = self.words[engine.GIVEN_UP] = 0  # a run may have been given up, or forked
        try:
            if len(self.calls) == 1:
                (table, rest), = self.calls
                return self.replay(*table, steps, *rest)
            tasks = [functools.partial(self.replay, *table, steps, *rest) for table, rest in self.calls]
            return crew.run(tasks, self._give_up)[0]
        finally:  # also where the keyboard interrupts: the steps were made
            self.clock[:] = self.clocks[0]

    def run_fused(self, step: FusedStep, steps: int) -> int:
        """The same by one function, on one thread."""
        (clock,) = self.clocks
        clock[:] = self.clock
        try:
            return step.run(steps, *self.addresses)
        finally:  # also where the keyboard interrupts: the steps were made
            self.clock[:] = clock

    def _give_up(self) -> None:
        self.words[engine.GIVEN_UP] = 1
