"""Python threads for native work, each on a core of its own: started once, kept, and started anew after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from fastnn.kernels import threads


class Hand:
    """A Python thread that waits for tasks."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue = SimpleQueue()
        self._kept_off = -1
        self._thread = threading.Thread(target=self._work, name="fastnn", daemon=True)
        self._thread.start()

    def give(self, number: int, task: Callable[[], int], done: SimpleQueue, core: int) -> None:
        """Run the task on another core than this one; puts (number, result, error) into `done`."""
        if core != self._kept_off:
            threads.keep_off(core, self._thread.native_id or 0)
            self._kept_off = core
        self._tasks.put((number, task, done))

    def _work(self) -> None:
        while True:
            number, task, done = self._tasks.get()
            try:
                done.put((number, task(), None))
            except BaseException as error:
                done.put((number, 0, error))


class Crew:
    """Threads for native work; they are started once and reused, and anew after a fork."""

    def __init__(self) -> None:
        self._hands: list[Hand] = []
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._hands, self._lock = [], threading.Lock()

    def run(self, tasks: list[Callable[[], int]], give_up: Callable[[], None] = lambda: None) -> list[int]:
        """Run all tasks at the same time, the first on the calling thread; returns their results.

        Raises what a task raised, once all are done: until then they work with memory that the caller owns. Where the
        first fails, or the keyboard interrupts, `give_up` must make the others come to an end without it.
        """
        try:
            done = self._give(tasks[1:])
            first = tasks[0]()
            others = sorted((done.get() for _ in tasks[1:]), key=lambda answer: answer[0])
        except BaseException:
            give_up()
            done = self._give([int] * (len(tasks) - 1))  # whatever they were given comes before that
            for _ in tasks[1:]:
                done.get()
            raise
        for _, _, error in others:
            if error is not None:
                raise error
        return [first, *(result for _, result, _ in others)]

    def _give(self, tasks: list[Callable[[], int]]) -> SimpleQueue:
        """Give each task to a hand of its own; returns the queue of their answers."""
        done: SimpleQueue = SimpleQueue()
        core = threads.core()
        with self._lock:  # all at once: two runs that each wait for a hand of the other would wait for ever
            while len(self._hands) < len(tasks):
                self._hands.append(Hand())
            for number, task in enumerate(tasks):
                self._hands[number].give(number, task, done, core)
        return done


crew = Crew()
