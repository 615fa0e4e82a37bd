"""Ctrl-C never tears a step in half, wherever in it the keyboard interrupts."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

from fastnn import Sequential
from fastnn.interrupts import Deferred
from fastnn.kernels import numpy_ as reference
from fastnn.layers import Dense

rng = np.random.default_rng(3)
X, Y = rng.standard_normal((40, 6)), rng.integers(0, 3, 40)


def network(metrics=None, run_eagerly=False, **options):
    model = Sequential([Dense(5, "relu", input_shape=(6,)), Dense(3, "softmax")], seed=1, **options)
    model.compile("adam", "sparse_categorical_crossentropy", metrics, run_eagerly=run_eagerly)
    return model


def assert_whole_steps_were_made(model, steps):
    assert model.optimizer.iterations == steps
    twin = network(backend=model.backend.name)
    twin.fit(X[: 4 * steps], Y[: 4 * steps], batch_size=4, shuffle=False, verbose=0)
    for mine, wanted in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_in_the_middle_of_a_step_in_python(backend):
    seen = []

    def interrupting(y_true, y_pred):
        seen.append(len(y_true))
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)
        return 0.0

    model = network([interrupting], run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    assert_whole_steps_were_made(model, 3)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_between_the_updates_of_a_replayed_step(monkeypatch, call):
    update, calls = reference.adam_update, []

    def interrupting(*args):
        calls.append(len(args))
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        update(*args)

    model = network(backend="numpy")
    monkeypatch.setattr(reference, "adam_update", interrupting)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    monkeypatch.undo()
    assert_whole_steps_were_made(model, call)


def test_the_second_time_it_interrupts_at_once():
    reached = []

    def endless_step():
        with Deferred():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
                reached.append("further")

    with pytest.raises(KeyboardInterrupt):
        endless_step()
    assert reached == ["further"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_and_other_threads_are_left_alone(monkeypatch):
    told = []
    before = signal.signal(signal.SIGINT, lambda *_: told.append("mine"))
    try:
        with Deferred():
            signal.raise_signal(signal.SIGINT)
            assert told == ["mine"]
    finally:
        signal.signal(signal.SIGINT, before)

    def enter():
        with Deferred() as interrupt:
            told.append(signal.getsignal(signal.SIGINT))
            interrupt.check()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert told == ["mine", signal.default_int_handler]
