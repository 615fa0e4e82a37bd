"""A pass over data gives the same numbers in any batches, from any form of data and from several threads."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn as fn
from fastnn import callbacks as cb

rng = np.random.default_rng(8)
ROWS = 50
X = rng.standard_normal((ROWS, 6))
W = rng.standard_normal((6, 2))
Y = X @ W + 0.1 * rng.standard_normal((ROWS, 2))
LABELS = (X @ W[:, 0] > 0).astype(int) + (X @ W[:, 1] > 0)


def linear(dtype="float64", optimizer="sgd", metrics=("mae",)):
    model = fn.Sequential([fn.layers.Dense(2, input_shape=(6,))], seed=1, dtype=dtype)
    model.compile(optimizer, "mse", metrics=list(metrics))
    return model


def classifier(optimizer="adam"):
    model = fn.Sequential([fn.layers.Dense(16, "relu"), fn.layers.Dense(3, "softmax")], seed=1)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics="accuracy")
    return model


def same_bits(model, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


# --- evaluate and predict ---


@pytest.mark.parametrize("size", [1, 3, 7, 49, 50, 1000])
def test_evaluation_is_the_mean_over_all_rows(backend, size):
    model = linear()
    error = X @ model.get_weights()[0] - Y
    assert model.evaluate(X, Y, batch_size=size) == pytest.approx([(error**2).mean(), np.abs(error).mean()], rel=1e-12)
    labels = classifier()
    loss, accuracy = labels.evaluate(X, LABELS, batch_size=size)
    probabilities = labels.predict(X)
    assert accuracy == pytest.approx((probabilities.argmax(axis=1) == LABELS).mean())
    assert loss == pytest.approx(-np.log(probabilities[np.arange(ROWS), LABELS]).mean(), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 49, 50, 1000])
def test_predictions_do_not_depend_on_the_batch(backend, size):
    model = classifier()
    wanted = model.predict(X, batch_size=ROWS)
    actual = model.predict(X, batch_size=size)
    np.testing.assert_allclose(actual, wanted, rtol=1e-5)  # sums are made in another order for other shapes


def test_several_threads_may_use_a_model_at_once(backend):
    model = classifier()
    data = [X * scale for scale in (0.5, 1.0, 1.5, 2.0)]
    wanted = [(model.predict(x, batch_size=3).tobytes(), model.evaluate(x, LABELS, batch_size=3)) for x in data]
    faults = []

    def use(x, expected):
        found = [(model.predict(x, batch_size=3).tobytes(), model.evaluate(x, LABELS, batch_size=3)) for _ in range(20)]
        faults.extend(each for each in found if each != expected)

    users = [threading.Thread(target=use, args=pair, daemon=True) for pair in zip(data, wanted, strict=True)]
    for user in users:
        user.start()
    for user in users:
        user.join(60)
    assert faults == []


def test_callbacks_of_evaluation_and_prediction(backend):
    calls = []
    hooks = {
        name: lambda *args, name=name: calls.append((name, *[a for a in args if isinstance(a, int)]))
        for name in fn.hooks.HOOKS
        if "test" in name or "predict" in name
    }
    model, callback = linear(), cb.LambdaCallback(**hooks)
    model.evaluate(X, Y, batch_size=25, callbacks=[callback])
    batches = [(f"on_test_batch_{end}", batch) for batch in (0, 1) for end in ("begin", "end")]
    assert calls == [("on_test_begin",), *batches, ("on_test_end",)]
    calls.clear()
    model.predict(X, batch_size=25, callbacks=callback)
    batches = [(f"on_predict_batch_{end}", batch) for batch in (0, 1) for end in ("begin", "end")]
    assert calls == [("on_predict_begin",), *batches, ("on_predict_end",)]
    calls.clear()
    model.fit(X, Y, verbose=0, callbacks=[callback], validation_split=0.5, validation_batch_size=20)
    assert [call[0] for call in calls].count("on_test_batch_end") == 2


# --- data of any kind ---

FORMS = {
    "lists": lambda x: x.tolist(),
    "float32": lambda x: x.astype(np.float32),
    "columns first": np.asfortranarray,
    "a view with steps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "rows backwards": lambda x: x[::-1].copy()[::-1],
    "read only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "not aligned": lambda x: np.frombuffer(b"1" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "whole numbers": lambda x: x.astype(np.int16),
    "bytes": lambda x: x.astype(np.uint8),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_come_in_any_form(backend, form):
    x = rng.integers(0, 100, (20, 6)).astype(np.float64)
    y = rng.integers(0, 50, (20, 2)).astype(np.float64)
    plain, other = (linear("float32", fn.optimizers.SGD(1e-4)) for _ in range(2))
    first = plain.fit(x.astype(np.float32), y.astype(np.float32), batch_size=7, verbose=0).history
    assert other.fit(FORMS[form](x), FORMS[form](y), batch_size=7, verbose=0).history == first
    assert same_bits(plain, other)
    assert other.predict(FORMS[form](x)).tobytes() == plain.predict(x).tobytes()


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64, np.float32, np.bool_, list])
def test_labels_come_in_any_form(backend, kind):
    labels = LABELS % 2
    given = labels.tolist() if kind is list else labels.astype(kind)
    models = [classifier() for _ in range(3)]
    for model, y in zip(models, (labels, given, np.reshape(given, (-1, 1))), strict=True):
        model.fit(X, y, verbose=0)
    assert same_bits(models[0], models[1])
    assert same_bits(models[0], models[2])


def test_labels_that_change_during_training_do_no_harm(backend):
    """They were looked at, so nothing may make an index of what stands there later."""
    labels = LABELS % 2
    spoil = fn.callbacks.LambdaCallback(on_train_batch_begin=lambda step, logs: labels.fill(1 << 40))
    models = [classifier() for _ in range(2)]
    models[0].fit(X, labels.copy(), batch_size=8, verbose=0)
    models[1].fit(X, labels, batch_size=8, verbose=0, callbacks=[spoil])
    assert labels.min() == 1 << 40
    assert same_bits(*models)


def test_one_feature_may_come_flat(backend):
    x, y = np.linspace(-1, 1, 20), np.linspace(0, 2, 20)
    flat = fn.Sequential([fn.layers.Dense(1, input_shape=(1,))], seed=1)
    column = fn.Sequential([fn.layers.Dense(1)], seed=1)
    for model, data in ((flat, (x, y)), (column, (x.reshape(-1, 1), y.reshape(-1, 1)))):
        model.compile(fn.optimizers.SGD(0.3), "mse")
        model.fit(*data, epochs=200, verbose=0)
    assert same_bits(flat, column)
    np.testing.assert_allclose(flat.predict(x)[:, 0], y, atol=1e-3)


def test_steps_are_run_in_slices_of_about_the_same_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(fn.passes.time, "perf_counter", lambda: now[0])
    step = SimpleNamespace(at_once=16)

    def sizes(count, seconds, one_by_one=False):
        found = []
        for size in fn.passes.slices(step, count, one_by_one):
            now[0] += size * seconds
            found.append(size)
        assert sum(found) == count
        return found

    assert sizes(8, 2**-20) == [8]  # too few to tell
    assert sizes(3, 2**-20, one_by_one=True) == [1, 1, 1]
    assert sizes(500, 2**-20) == [16, 128, 356]
    assert sizes(900, 2**-20) == [900]  # the next pass knows
    assert sizes(20_000, 2**-17) == [1024, 6553, 6553, 5870]
    assert sizes(100, 0.1) == [100]
    assert sizes(3, 0.1) == [1, 1, 1]  # slower than that
