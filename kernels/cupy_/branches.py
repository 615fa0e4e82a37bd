"""Which launches of a step may run beside each other: a graph of kernels that waits only where one needs another."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cupy

from fastnn.capture import Launch
from fastnn.kernels.cupy_ import texts
from fastnn.program import depends


class Place(NamedTuple):
    """Where a launch is captured: the number of its stream, and the launches on others that it waits for."""

    stream: int
    waits: list[int]


def needs(launches: Sequence[Launch]) -> list[set[int]]:
    """For each launch the earlier ones that it needs: those that touch what it writes, or wrote what it touches.

    An update also needs all checks, since it must change nothing after a fault.
    """
    return [
        {i for i, earlier in enumerate(launches[:j]) if depends(later, earlier) or _checks(earlier, later)}
        for j, later in enumerate(launches)
    ]


def _checks(earlier: Launch, later: Launch) -> bool:
    return texts.sees_fault(later.kernel) and any(array.name == "fault" for array in earlier.kernel.arrays)


def places(needed: Sequence[set[int]]) -> list[Place]:
    """A stream for each launch: one whose last launch it needs anyway, or a new one, so that it waits for no other."""
    before: list[set[int]] = []  # all that a launch needs, and what those need
    last: list[int] = []  # launch of each stream
    found: list[Place] = []
    for j, direct in enumerate(needed):
        before.append(direct.union(*(before[i] for i in direct)))
        nearest = {i for i in direct if not any(i in before[k] for k in direct)}
        free = [stream for stream, i in enumerate(last) if i in before[j]]
        stream = max(free, key=lambda s: (last[s] in nearest, last[s]), default=len(last))
        last[stream : stream + 1] = [j]
        found.append(Place(stream, sorted(i for i in nearest if found[i].stream != stream)))
    return found


class Branches:
    """Gives the launches of a step to several streams, which begin and end with the one that is being captured."""

    def __init__(self, launches: Sequence[Launch]) -> None:
        self.places = places(needs(launches))
        count = max((place.stream for place in self.places), default=0)
        self._streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(count)]

    def __call__(self, calls: Sequence[Callable[[], None]], origin: Any) -> None:
        """Call each on its stream; all that comes after on `origin` waits for all of them."""
        streams, begun = [origin, *self._streams], {0}
        start, done = _mark(origin), {}
        awaited = {i for place in self.places for i in place.waits}
        ends = {place.stream: i for i, place in enumerate(self.places)}
        for i, (call, place) in enumerate(zip(calls, self.places, strict=True)):
            stream = streams[place.stream]
            if place.stream not in begun:
                stream.wait_event(start)
                begun.add(place.stream)
            for other in place.waits:
                stream.wait_event(done[other])
            with stream:
                call()
            if i in awaited or ends[place.stream] == i:
                done[i] = _mark(stream)
        for number, i in ends.items():
            if number:
                origin.wait_event(done[i])


def _mark(stream: Any, timed: bool = False) -> Any:
    event = cupy.cuda.Event(disable_timing=not timed)
    event.record(stream)
    return event


class Trials:
    """Finds out which of two graphs of the same steps is faster, while both do their work in turns.

    Side by side saves time where kernels leave most of the device idle, and costs a little at each place where
    branches meet, so it is measured. The graphs give the same bits.
    """

    TURNS = 3  # of each; medians count

    def __init__(self) -> None:
        self.best: bool | None = None  # True for branches, None until it is known
        self._begun: list[tuple[bool, Any, Any]] = []
        self._seconds: dict[bool, list[float]] = {True: [], False: []}

    def launch(self, graph: Callable[[bool], Any], stream: Any) -> None:
        """Launch graph(True) or graph(False)."""
        if self.best is not None:
            graph(self.best).launch(stream)
            return
        done = [len(self._seconds[way]) + sum(begun[0] == way for begun in self._begun) for way in (False, True)]
        way = done[True] <= done[False]
        made = graph(way)
        start = _mark(stream, timed=True)
        made.launch(stream)
        self._begun.append((way, start, _mark(stream, timed=True)))

    def settle(self) -> None:
        """Take the times of launches that are done, of which the caller made sure."""
        for way, start, stop in self._begun:
            self._seconds[way].append(cupy.cuda.get_elapsed_time(start, stop))
        self._begun.clear()
        if self.best is None and min(map(len, self._seconds.values())) >= self.TURNS:
            self.best = statistics.median(self._seconds[True]) < statistics.median(self._seconds[False])
