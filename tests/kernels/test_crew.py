"""The threads that native work is given to: started once, kept off the caller's core, alive after errors and forks."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from fastnn.kernels import threads as thread_limit

pytest.importorskip("numba")

from fastnn.kernels.numba_ import engine


def test_a_crew_runs_all_tasks_at_the_same_time_and_keeps_its_threads():
    crew = engine.Crew()
    before = threading.active_count()
    for _ in range(50):
        everybody = threading.Barrier(4)
        assert sorted(crew.run([lambda b=everybody: b.wait(30) for _ in range(4)])) == [0, 1, 2, 3]
    assert threading.active_count() == before + 3
    assert crew.run([lambda: 5]) == [5]


def test_a_crew_survives_what_its_tasks_raise():
    crew = engine.Crew()

    def fail():
        raise ZeroDivisionError("on a thread")

    finished = []

    def slow():
        time.sleep(0.05)
        finished.append(True)
        return 2

    for tasks in ([lambda: 1, fail, slow], [fail, slow, lambda: 1], [slow, lambda: 1, fail]):
        finished.clear()
        with pytest.raises(ZeroDivisionError, match="on a thread"):
            crew.run(tasks)
        assert finished == [True]  # nobody leaves while others work with the caller's memory
        assert crew.run([lambda: 1, slow, lambda: 3]) == [1, 2, 3]


def test_runs_from_several_threads_do_not_wait_for_each_other_for_ever():
    crew = engine.Crew()
    counts = []

    def user():
        for _ in range(200):
            everybody = threading.Barrier(4)
            crew.run([lambda b=everybody: b.wait(30) for _ in range(4)])
        counts.append(200)

    users = [threading.Thread(target=user, daemon=True) for _ in range(4)]
    for each in users:
        each.start()
    for each in users:
        each.join(60)
    assert counts == [200] * 4


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system lets nobody choose cores")
def test_threads_of_a_run_stay_off_the_core_of_who_started_it(monkeypatch):
    allowed, crew, all_cores = {3, 5, 6}, engine.Crew(), os.sched_getaffinity(0)
    asked = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: set(allowed))
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cores: asked.append((thread, cores)))
    numbers = []
    for core in (5, 5, 3, -1):
        monkeypatch.setattr(thread_limit, "core", lambda core=core: core)
        numbers += crew.run([lambda: 0, threading.get_native_id])[1:]
    thread = numbers[0]
    assert numbers == [thread] * 4
    assert asked == [(thread, {3, 6}), (thread, {5, 6})]  # only where something changed
    allowed.clear()
    monkeypatch.setattr(thread_limit, "core", lambda: 6)
    assert crew.run([lambda: 1, lambda: 2]) == [1, 2]
    assert len(asked) == 2  # the only core is shared

    def refuse(thread, cores):
        raise PermissionError("not in this container")

    allowed.add(5)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(thread_limit, "core", lambda: 3)
    assert crew.run([lambda: 1, lambda: 2]) == [1, 2]
    monkeypatch.undo()
    here = thread_limit.core()
    assert here in all_cores or sys.platform != "linux"
    kept = crew.run([lambda: 0, lambda: sorted(os.sched_getaffinity(0))])[1]
    assert len(kept) == max(len(all_cores) - 1, 1)
    assert os.sched_getaffinity(0) == all_cores  # the caller's own are left alone


def test_a_forgotten_crew_starts_anew():
    crew = engine.Crew()
    crew.run([lambda: 1, lambda: 2])
    old = crew._hands
    crew._forget()
    assert crew.run([lambda: 1, lambda: 2]) == [1, 2]
    assert crew._hands is not old
