"""Streams, events and graphs: work runs as late as it may, so that what does not wait for it sees poison.

Nothing runs before somebody waits for it. Work of two streams that no event puts in order runs in the order that was
least meant. A graph is what was captured, with its arguments as they were; it keeps no array alive, as a real one.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from simulated_cupy.memory import CUDARuntimeError, Memory, device

Work = Callable[[], Any]
_numbers = itertools.count(1)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """The device works on, whatever the keyboard says: that is heard when the host goes on."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[Any] = []
    signal.signal(signal.SIGINT, lambda *said: heard.append(said))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        before(*heard[0])


class Stream:
    """Work in order."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        device.check("a new stream", captured=True)
        if not (null or non_blocking):
            raise ValueError("the simulated device has only streams that do not block: Stream(non_blocking=True)")
        self.ptr = 0 if null else next(_numbers)
        self.issued = self.finished = 0
        self.capture: Capture | None = None
        self._queue: collections.deque[tuple[Work, Sequence[Any]]] = collections.deque()
        self._before: list[Any] = []
        device.streams.add(self)

    def __enter__(self) -> Stream:
        self._before.append(getattr(device.local, "stream", None))
        device.local.stream = self
        return self

    def __exit__(self, *error: Any) -> None:
        device.local.stream = self._before.pop()

    def use(self) -> Stream:
        """Make it the current stream."""
        device.local.stream = self
        return self

    def add(self, work: Work, memories: Sequence[Any]) -> None:
        """Put work at the end; `memories` live until it has run."""
        with device.lock:
            self._queue.append((work, memories))
            self.issued += 1

    def run(self, until: int | None = None) -> None:
        """Run what was put in, all of it or up to a number."""
        with device.lock, _without_interrupts():
            while self._queue and (until is None or self.finished < until):
                work, _ = self._queue.popleft()
                self.finished += 1
                work()

    def synchronize(self) -> None:
        """Wait for all work."""
        device.check("a synchronisation")
        device.counts["synchronisations"] += 1
        self.run()

    @property
    def done(self) -> bool:
        """True when all work has run: whoever asks gave it time."""
        self.run()
        return True

    def record(self, event: Event | None = None) -> Event:
        """Mark this place with an event."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let later work wait for what was before the event."""
        if event.captured is not None:
            event.captured[0].join(self, event.captured[1])
        elif self.capture is not None:
            raise CUDARuntimeError(905, "cudaErrorStreamCaptureIsolation: the event was recorded outside the capture")
        elif event.stream is not None:
            other, number = event.stream, event.number
            self.add(lambda: other.run(number), ())

    def begin_capture(self, mode: int | None = None) -> None:
        """Write down work instead of running it."""
        device.check("a second capture")
        if self.ptr == 0:
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported: the default stream cannot capture")
        device.local.capture = self.capture = Capture(self)

    def end_capture(self) -> Graph:
        """What was written down."""
        if self.capture is None or self.capture.origin is not self:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated: no capture began on this stream")
        capture, device.local.capture = self.capture, None
        for stream in capture.ends:
            stream.capture = None
        return Graph(capture.nodes, capture.in_order())

    def is_capturing(self) -> bool:
        """True between begin_capture and end_capture."""
        return self.capture is not None


def get_current_stream() -> Stream:
    """The stream in force in this thread."""
    return getattr(device.local, "stream", None) or Stream.null


def enqueue(work: Work, memories: Sequence[Any], stream: Stream | None = None) -> None:
    """Put work into a stream, or into the graph that it captures."""
    stream = stream or get_current_stream()
    device.check("work on a stream outside the capture", captured=stream.capture is not None)
    if stream.capture is None:
        stream.add(work, memories)
    else:
        stream.capture.add(stream, work, memories)


class Event:
    """A place in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.stream: Stream | None = None
        self.number, self.time = 0, 0.0
        self.captured: tuple[Capture, set[int]] | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Mark the end of what is in the stream now."""
        stream = stream or get_current_stream()
        if stream.capture is not None:
            self.captured = stream.capture, set(stream.capture.ends[stream])
            return
        stream.add(self._now, ())
        self.stream, self.number, self.captured = stream, stream.issued, None

    def _now(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Wait for what was before it."""
        device.check("a synchronisation")
        device.counts["synchronisations"] += 1
        if self.stream is not None:
            self.stream.run(self.number)

    @property
    def done(self) -> bool:
        """True when what was before it has run: whoever asks gave it time."""
        if self.stream is not None:
            self.stream.run(self.number)
        return True


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events."""
    return 1000 * (end_event.time - start_event.time)


class Capture:
    """Work written down: nodes, each with the numbers of those it must follow."""

    def __init__(self, origin: Stream) -> None:
        self.origin = origin
        self.nodes: list[tuple[Work, list[weakref.ref[Memory]]]] = []
        self.after: list[set[int]] = []
        self.ends: dict[Stream, set[int]] = {origin: set()}

    def add(self, stream: Stream, work: Work, memories: Sequence[Any]) -> None:
        """One more node at the end of a stream."""
        self.nodes.append((work, [weakref.ref(memory) for memory in memories]))
        self.after.append(self.ends[stream])
        self.ends[stream] = {len(self.nodes) - 1}

    def join(self, stream: Stream, places: set[int]) -> None:
        """A stream waits for nodes of this capture, and so becomes part of it."""
        stream.capture = self
        self.ends[stream] = self.ends.get(stream, set()) | places

    def in_order(self) -> list[int]:
        """Every node behind those that it follows, and of those that could come next the one written down last."""
        reached, found = set(self.ends[self.origin]), list(self.ends[self.origin])
        while found:
            found = [node for node in set().union(*(self.after[i] for i in found)) if node not in reached]
            reached.update(found)
        if len(reached) < len(self.nodes):
            raise CUDARuntimeError(904, "cudaErrorStreamCaptureUnjoined: work of a forked stream is not waited for")
        order: list[int] = []
        waiting = set(reached)
        while waiting:
            order.append(max(i for i in waiting if not self.after[i] & waiting))
            waiting.discard(order[-1])
        return order


class Graph:
    """What was captured, to be launched again and again."""

    def __init__(self, nodes: list[tuple[Work, list[weakref.ref[Memory]]]], order: list[int]) -> None:
        self.nodes = [nodes[i] for i in order]

    def upload(self, stream: Stream | None = None) -> None:
        """Make the first launch as quick as the others."""

    def launch(self, stream: Stream | None = None) -> None:
        """Put all of it into a stream."""
        device.counts["graph launches"] += 1
        enqueue(self._run, (), stream)

    def _run(self) -> None:
        for work, memories in self.nodes:
            if not all(memory() is not None and memory()._alive() for memory in memories):
                raise CUDARuntimeError(700, "cudaErrorIllegalAddress: the graph uses memory that was freed")
            work()


Stream.null = Stream(null=True)
