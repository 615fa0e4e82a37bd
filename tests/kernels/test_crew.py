"""The threads that native work is given to: started once, kept off the caller's core, alive after errors and forks."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import threads as thread_limit

pytest.importorskip("numba")

from fastnn.kernels.numba_.crew import Crew, Hand


def test_a_crew_runs_all_tasks_at_the_same_time_and_keeps_its_threads():
    crew = Crew()
    before = threading.active_count()
    for _ in range(50):
        everybody = threading.Barrier(4)
        assert sorted(crew.run([lambda b=everybody: b.wait(30) for _ in range(4)])) == [0, 1, 2, 3]
    assert threading.active_count() == before + 3
    assert crew.run([lambda: 5]) == [5]


def test_a_crew_survives_what_its_tasks_raise():
    crew = Crew()

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
    crew = Crew()
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
    allowed, crew, all_cores = {3, 5, 6}, Crew(), os.sched_getaffinity(0)
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
    crew = Crew()
    crew.run([lambda: 1, lambda: 2])
    old = crew._hands
    crew._forget()
    assert crew.run([lambda: 1, lambda: 2]) == [1, 2]
    assert crew._hands is not old


def on_two_threads(width=24):
    """A model in training, and its data; every step is run by two threads."""
    layers = [fn.layers.Dense(width, "relu", input_shape=(16,)), fn.layers.Dense(4)]
    model = fn.Sequential(layers, backend="numba", seed=1)
    model.compile("adam", "mse")
    x, y = np.ones((640, 16), np.float32), np.ones((640, 4), np.float32)
    model.fit(x, y, verbose=0)
    model.steps.get("train", 32, True).replay.choice.way = 2, 0
    return model, x, y


def test_others_give_up_when_the_first_fails():
    given_up = threading.Event()
    crew, finished = Crew(), []

    def wait():
        finished.append(given_up.wait(30))
        return 1

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew.run([fail, wait, wait], given_up.set)
    assert finished == [True, True]
    assert crew.run([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]


def test_the_keyboard_may_interrupt_before_the_callers_own_steps(monkeypatch):
    """The other thread waits at a barrier by then, where it would wait for ever."""
    model, x, y = on_two_threads()
    before, iterations, give = model.get_weights(), model.optimizer.iterations, Hand.give

    def interrupt(self, *args):
        give(self, *args)
        time.sleep(0.05)
        monkeypatch.setattr(Hand, "give", give)
        raise KeyboardInterrupt

    monkeypatch.setattr(Hand, "give", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0)
    assert model.optimizer.iterations == iterations
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    other, _, _ = on_two_threads()
    for each in (model, other):
        each.steps.get("train", 32, True).replay.choice.way = 2, 0
        each.fit(x, y, verbose=0)
    assert model.optimizer.iterations == other.optimizer.iterations == iterations + 20


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_that_were_made_before_the_keyboard_interrupted_count(monkeypatch, threads):
    model, x, y = on_two_threads()
    replay = model.steps.get("train", 32, True).replay
    replay.choice.way = threads, 0
    replay.plans[0].fused.function = None
    replay.plans[0].run(0, threads)
    workspace = replay.plans[0]._workspaces[threads]
    made = workspace.replay

    def interrupted(*args):
        made(*args)
        raise KeyboardInterrupt

    iterations = model.optimizer.iterations
    monkeypatch.setattr(workspace, "replay", interrupted)
    monkeypatch.setattr(fn.passes, "slices", lambda step, count, one_by_one: iter([7]))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0)
    assert model.optimizer.iterations == iterations + 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_model_that_another_thread_trains_may_be_used_in_a_forked_child():
    model, x, y = on_two_threads()
    stop = fn.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", ended.is_set()))
    ended = threading.Event()
    trainer = threading.Thread(target=lambda: model.fit(x, y, epochs=100_000, verbose=0, callbacks=stop), daemon=True)
    trainer.start()
    try:
        for _ in range(3):
            time.sleep(0.05)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about threads and fork
                child = os.fork()
            if child == 0:
                signal.alarm(30)
                os._exit(int(model.predict(x).shape != y.shape or model.evaluate(x, y) is None))
            assert os.waitpid(child, 0)[1] == 0
    finally:
        ended.set()
        trainer.join(30)
    assert not trainer.is_alive()
