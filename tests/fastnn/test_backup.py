"""NaN and infinity stop training at the step that meets them, and the weights are those before it."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import threads as thread_limit

rng = np.random.default_rng(6)
X = rng.standard_normal((60, 5))
Y = rng.standard_normal((60, 2))
BATCH = 8


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"], autouse=True)
def threads(request, monkeypatch):
    monkeypatch.setattr(thread_limit, "choices", lambda: [request.param])


def network(backend, optimizer="adam", loss="mse", head=None, eager=False):
    layers = [
        fn.layers.Dense(19, "relu", input_shape=(5,)),
        fn.layers.Dropout(0.2),
        fn.layers.Dense(9, "relu", kernel_regularizer="l2"),
        fn.layers.Dense(2, head),
    ]
    model = fn.Sequential(layers, backend=backend, seed=3)
    model.compile(optimizer, loss, run_eagerly=eager)
    return model


def state(model):
    slots = [s for slots in model.optimizer.slots for s in slots if s is not None]
    return [a.tobytes() for a in model.get_weights() + slots]


class Steps(fn.callbacks.Callback):
    """Keeps the state before the first step and after each."""

    def on_train_begin(self, logs=None):
        self.states = [state(self.model)]

    def on_train_batch_end(self, batch, logs=None):
        self.states.append(state(self.model))


def spoiled(row, value):
    x = X.copy()
    x[row, 3] = value
    return x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("eager", [False, True], ids=["replayed", "eager"])
def test_a_bad_row_is_named_and_nothing_is_trained_on_it(backend, value, eager):
    model, other = network(backend, eager=eager), network(backend)
    words = r"x must be finite, got NaN or infinity in row 21 \(at step 3 of epoch 1\)"
    with pytest.raises(fn.NonFiniteError, match=words):
        model.fit(spoiled(21, value), Y, batch_size=BATCH, verbose=0, shuffle=False)
    other.fit(X[:16], Y[:16], batch_size=BATCH, verbose=0, shuffle=False)
    assert state(model) == state(other)
    assert model.optimizer.iterations == other.optimizer.iterations == 2
    assert model.epochs_trained == 0


@pytest.mark.parametrize("row", [0, 33, 59])
def test_a_bad_row_is_named_in_shuffled_data_too(backend, row):
    model, other, steps = network(backend), network(backend), Steps()
    with pytest.raises(fn.NonFiniteError, match=rf"in row {row} \(at step \d of epoch 1\)") as caught:
        model.fit(spoiled(row, np.nan), Y, batch_size=BATCH, verbose=0)
    other.fit(X, Y, batch_size=BATCH, verbose=0, callbacks=[steps])
    step = int(re.search(r"step (\d)", str(caught.value)).group(1))
    assert model.optimizer.iterations == step - 1
    assert state(model) == steps.states[step - 1]


def test_training_goes_on_with_better_data(backend):
    model, other = network(backend), network(backend)
    with pytest.raises(fn.NonFiniteError):
        model.fit(spoiled(1, np.nan), Y, batch_size=BATCH, verbose=0, shuffle=False)
    assert state(model)[:6] == state(other)[:6]
    for m in (model, other):
        m.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
    assert state(model) == state(other)
    assert model.history.history == other.history.history


DIVERGING = {
    "the loss": (lambda: fn.optimizers.SGD(1e15), "mse", None),
    "a product": (lambda: fn.optimizers.SGD(1e10), "mse", None),
    "the weights": (lambda: fn.optimizers.SGD(1e38), "categorical_crossentropy", "softmax"),
    "momentum": (lambda: fn.optimizers.SGD(1e12, momentum=0.9), "mae", None),
    "adam": (lambda: fn.optimizers.Adam(1e38), "mae", None),
    "later": (lambda: fn.optimizers.SGD(2.0), "mse", None),
}


@pytest.mark.parametrize("what", DIVERGING)
def test_a_huge_rate_leaves_the_last_finite_weights(backend, what):
    optimizer, loss, head = DIVERGING[what]
    model, watched = (network(backend, optimizer(), loss, head) for _ in range(2))
    steps = Steps()
    y = np.abs(Y) if head else Y
    wanted = r"step \d+ of epoch \d.*weights are those before.*smaller learning rate"
    with pytest.raises(fn.NonFiniteError, match=wanted) as one:
        model.fit(X, y, batch_size=BATCH, epochs=3, verbose=0)
    with pytest.raises(fn.NonFiniteError) as other:
        watched.fit(X, y, batch_size=BATCH, epochs=3, verbose=0, callbacks=[steps])
    assert str(one.value) == str(other.value)
    assert model.steps.backup.finite()
    assert all(np.isfinite(s).all() for slots in model.optimizer.slots for s in slots if s is not None)
    step, epoch = map(int, re.search(r"step (\d+) of epoch (\d)", str(one.value)).groups())
    done = (epoch - 1) * 8 + step - 1
    assert model.optimizer.iterations == watched.optimizer.iterations == done
    assert state(model) == state(watched) == steps.states[done]


def test_weights_that_break_in_the_last_step_are_told_too(backend):
    model = network(backend, fn.optimizers.SGD(1e38), loss="mae")
    before = state(model)
    with pytest.raises(fn.NonFiniteError, match="the weights would be NaN or infinite after step 1 of epoch 1"):
        model.fit(X[:BATCH] * 1e3, Y[:BATCH], batch_size=BATCH, verbose=0)
    with pytest.raises(fn.NonFiniteError, match="the weights would be NaN or infinite after this step"):
        model.train_on_batch(X[:BATCH] * 1e3, Y[:BATCH])
    assert state(model) == before
    assert model.optimizer.iterations == model.epochs_trained == 0


def test_a_loss_that_is_not_finite_in_evaluation_changes_nothing(backend):
    model = network(backend)
    before = state(model)
    with pytest.raises(fn.NonFiniteError, match="the loss is NaN or infinite at step 1 of the evaluation"):
        model.evaluate(X * 1e30, Y)
    assert state(model) == before
    assert np.isfinite(model.evaluate(X, Y))


def test_after_a_crash_smaller_steps_help(backend):
    model = network(backend, fn.optimizers.SGD(1e20))
    first = model.get_weights()
    with pytest.raises(fn.NonFiniteError):
        model.fit(X, Y, verbose=0, epochs=3)
    model.set_weights(first)
    model.optimizer.learning_rate = 0.01
    losses = model.fit(X, Y, verbose=0, epochs=5).history["loss"]
    assert losses[-1] < losses[0]
