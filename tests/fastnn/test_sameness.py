"""The same seed gives the same numbers: bits on one backend however it runs, random bits on all of them."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import backends
from fastnn.kernels import threads as thread_limit

needs_numba = pytest.mark.skipif(not backends.available()["numba"], reason="numba is not installed")
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}

rng = np.random.default_rng(5)
ROWS, INPUTS, CLASSES = 96, 37, 11  # nothing is a multiple of a vector; the last batch of 7 has 5 rows
X = rng.standard_normal((ROWS, INPUTS))
LABELS = rng.integers(0, CLASSES, ROWS)
ONE_HOT = fn.utils.to_categorical(LABELS, CLASSES)


def network(backend, *, dtype="float32", seed=11, activation="relu", optimizer="adam", dropout=0.25, eager=False):
    model = fn.Sequential(
        [
            fn.layers.Dense(53, activation=activation, input_shape=(INPUTS,), kernel_regularizer="l2"),
            fn.layers.Dropout(dropout),
            fn.layers.Dense(CLASSES, activation="softmax"),
        ],
        backend=backend,
        seed=seed,
        dtype=dtype,
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics="accuracy", run_eagerly=eager)
    return model


def train(model, epochs=3, **options):
    history = model.fit(X, LABELS, batch_size=7, epochs=epochs, verbose=0, **options).history
    return model, history


def state(model):
    """Weights, then what the optimizer keeps."""
    return [*model.get_weights(), *(s for slots in model.optimizer.slots for s in slots if s is not None)]


def same_bits(left, right):
    return len(left) == len(right) and all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


def assert_near(left, right, tolerance):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


# --- random numbers ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_first_weights_are_the_same_bits_on_every_backend(dtype, other):
    layers = [
        fn.layers.Dense(5, kernel_initializer=name, bias_initializer="random_uniform")
        for name in sorted(fn.initializers.INITIALIZERS)
    ]
    models = []
    for backend in ("numpy", other):
        model = fn.Sequential([copy.deepcopy(layer) for layer in layers], backend=backend, seed=3, dtype=dtype)
        model.build((7,))
        models.append(model.get_weights())
    assert same_bits(*models)
    assert not same_bits(models[0], network("numpy").get_weights())


def test_another_seed_gives_other_weights(backend):
    assert not same_bits(network(backend, seed=1).get_weights(), network(backend, seed=2).get_weights())
    assert fn.Sequential().seed != fn.Sequential().seed


class Spy(fn.layers.Layer):
    """Keeps what it is given in training, by way of NumPy."""

    def build(self, input_shape):
        self.seen = []

    def forward(self, ops, x, training):
        if training:
            self.seen.append(np.asarray(x).copy())
        return x

    def backward(self, ops, dy, needs_dx):
        return dy


def seen_in_training(backend, rows, layers, **options):
    spy = Spy()
    model = fn.Sequential([*layers, spy, fn.layers.Dense(1)], backend=backend, seed=8)
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.arange(1, rows + 1, dtype=np.float32).reshape(-1, 1)
    model.fit(x, x, batch_size=4, verbose=0, **options)
    return np.concatenate(spy.seen)[:, 0]


def test_the_order_of_rows_is_the_same_on_every_backend(other):
    orders = {b: seen_in_training(b, 23, [], epochs=2).reshape(2, -1) for b in ("numpy", other)}
    np.testing.assert_array_equal(orders["numpy"], orders[other])
    for first, second in orders.values():
        assert sorted(first) == sorted(second) == list(range(1, 24))
        assert list(first) != list(second)
        assert list(first) != sorted(first)


def test_without_shuffle_rows_come_in_order(backend):
    assert list(seen_in_training(backend, 23, [], epochs=2, shuffle=False)) == list(range(1, 24)) * 2


def test_dropout_masks_are_the_same_on_every_backend(other):
    masks = {}
    for backend in ("numpy", other):
        layers = [fn.layers.Dense(400, kernel_initializer="ones", input_shape=(1,)), fn.layers.Dropout(0.3)]
        spy = Spy()
        model = fn.Sequential([*layers, spy, fn.layers.Dense(1)], backend=backend, seed=8)
        model.compile(fn.optimizers.SGD(0.0), "mse", run_eagerly=True)
        model.fit(np.ones((9, 1)), np.ones(9), batch_size=4, epochs=2, verbose=0)
        masks[backend] = [batch != 0 for batch in spy.seen]
    assert same_bits(masks["numpy"], masks[other])
    first, second, last = masks["numpy"][0], masks["numpy"][1], masks["numpy"][3]
    assert 0.6 < first.mean() < 0.8
    assert (first != second).any()
    assert (first != last).any()


def test_one_hash_of_weights_orders_and_masks_over_three_epochs(backend):
    """Not only alike here: the numbers of a seed are these, on every machine."""
    rows, masks = Spy(), Spy()
    wide = fn.layers.Dense(40, kernel_initializer="ones", input_shape=(1,))
    layers = [rows, wide, fn.layers.Dropout(0.3), masks, fn.layers.Dense(3, kernel_initializer="he_normal")]
    model = fn.Sequential(layers, backend=backend, seed=2026)
    model.compile(fn.optimizers.SGD(0.0), "mse", run_eagerly=True)
    x = np.arange(1, 24, dtype=np.float32).reshape(-1, 1)
    model.build((1,))
    digest = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights()))
    model.fit(x, np.zeros((23, 3)), batch_size=5, epochs=3, verbose=0)
    order = np.concatenate(rows.seen)[:, 0].astype("<i8")
    kept = np.concatenate(masks.seen) != 0
    assert [sorted(order[e : e + 23]) for e in (0, 23, 46)] == [list(range(1, 24))] * 3
    assert 0.6 < kept.mean() < 0.8
    digest.update(order.tobytes() + kept.tobytes())
    assert digest.hexdigest() == "a5f9c9a449dd2c5c561d38eb5cbce81180b9274bc0d24e2bcba7da4e29d2beda"


# --- the same backend: the same bits ---


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads_or_capture(dtype, monkeypatch):
    eager = state(train(network("numba", dtype=dtype, eager=True))[0])
    for count in (1, 2, 3):
        monkeypatch.setattr(thread_limit, "choices", lambda count=count: [count])
        assert same_bits(state(train(network("numba", dtype=dtype))[0]), eager), f"{count} threads"
    monkeypatch.undo()
    fn.set_threads(3)
    try:
        assert same_bits(state(train(network("numba", dtype=dtype))[0]), eager), "thread counts tried in turn"
    finally:
        fn.set_threads(None)


@needs_numba
@pytest.mark.parametrize("units, batch", [(1, 1), (2, 3), (64, 64), (129, 17)])
def test_bits_do_not_depend_on_threads_for_other_shapes(units, batch, monkeypatch):
    results = []
    for count in (1, 2, 3):
        monkeypatch.setattr(thread_limit, "choices", lambda count=count: [count])
        model = fn.Sequential([fn.layers.Dense(units, "gelu"), fn.layers.Dense(3)], backend="numba", seed=4)
        model.compile(fn.optimizers.SGD(0.01, momentum=0.9, nesterov=True), "huber", metrics="mae")
        history = model.fit(X, X[:, :3], batch_size=batch, epochs=2, verbose=0).history
        results.append([*state(model), np.array(list(history.values())), model.predict(X)])
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


def test_eager_and_replayed_training_give_the_same_bits(backend):
    replayed, losses = train(network(backend))
    eager, eager_losses = train(network(backend, eager=True))
    assert same_bits(state(replayed), state(eager))
    assert losses == eager_losses
    assert same_bits([replayed.predict(X)], [eager.predict(X)])
    assert same_bits([replayed.predict(X)], [replayed(X)])


def test_training_again_gives_the_same_bits(backend):
    first, losses = train(network(backend))
    second, more = train(network(backend))
    assert same_bits(state(first), state(second))
    assert losses == more


def test_two_fits_give_the_bits_of_one(backend):
    whole, losses = train(network(backend), epochs=3)
    cut, first = train(network(backend), epochs=1)
    _, rest = train(cut, epochs=2)
    assert same_bits(state(whole), state(cut))
    assert losses == {name: first[name] + rest[name] for name in losses}
    resumed, _ = train(train(network(backend), epochs=1)[0], epochs=3, initial_epoch=1)
    assert same_bits(state(whole), state(resumed))


def test_callbacks_and_validation_do_not_touch_the_bits(backend):
    class Curious(fn.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.predict(X[:5], batch_size=2)
            self.model.evaluate(X[:9], LABELS[:9])

    plain, losses = train(network(backend))
    watched, more = train(network(backend), callbacks=[Curious()], validation_data=(X, LABELS))
    assert same_bits(state(plain), state(watched))
    assert losses == {name: more[name] for name in losses}


def test_a_copy_trains_as_the_original_and_apart_from_it(backend):
    model, _ = train(network(backend), epochs=1)
    before = [a.copy() for a in state(model)]
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for twin in twins:
        train(twin, epochs=2)
    assert same_bits(state(model), before)
    train(model, epochs=2)
    for twin in twins:
        assert same_bits(state(model), state(twin))
        assert not same_bits(state(model), before)


# --- from backend to backend ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree_after_three_epochs(dtype, other):
    (reference, losses), (native, more) = (train(network(b, dtype=dtype)) for b in ("numpy", other))
    assert_near(state(native), state(reference), TOLERANCE[dtype])
    np.testing.assert_allclose(more["loss"], losses["loss"], rtol=TOLERANCE[dtype])
    assert more["accuracy"] == losses["accuracy"]
    assert_near([native.predict(X)], [reference.predict(X)], TOLERANCE[dtype])


ACTIVATIONS = [name for name in fn.activations.NAMES if name != "step"]
OPTIMIZERS = {
    "sgd": lambda: fn.optimizers.SGD(0.05),
    "momentum": lambda: fn.optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda: fn.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda: fn.optimizers.Adagrad(0.05),
    "rmsprop": lambda: fn.optimizers.RMSprop(0.002),
    "rmsprop momentum": lambda: fn.optimizers.RMSprop(0.002, momentum=0.9),
    "adam": lambda: fn.optimizers.Adam(0.002),
    "adamw": lambda: fn.optimizers.AdamW(0.002),
}
LOSSES = {"categorical_crossentropy": "softmax", "binary_crossentropy": "sigmoid", "mse": "linear", "mae": "tanh"}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backends_agree_for_every_activation(activation, other):
    models = [train(network(b, dtype="float64", activation=activation))[0] for b in ("numpy", other)]
    assert_near(state(models[1]), state(models[0]), TOLERANCE["float64"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_backends_agree_for_every_optimizer(optimizer, other):
    models = [train(network(b, dtype="float64", optimizer=OPTIMIZERS[optimizer]()))[0] for b in ("numpy", other)]
    assert_near(state(models[1]), state(models[0]), TOLERANCE["float64"])


@pytest.mark.parametrize("head", ["sigmoid", "softmax", "linear"])
@pytest.mark.parametrize("loss", LOSSES)
def test_backends_agree_for_every_loss(loss, head, other):
    if head == "linear":
        head = LOSSES[loss]
    models = []
    for backend in ("numpy", other):
        layers = [fn.layers.Dense(17, "tanh"), fn.layers.Dense(CLASSES, head)]
        model = fn.Sequential(layers, backend=backend, seed=2, dtype="float64")
        model.compile(fn.optimizers.SGD(0.05), loss, metrics=["mae", "binary_accuracy", "categorical_accuracy"])
        history = model.fit(X, ONE_HOT, batch_size=7, epochs=2, verbose=0).history
        models.append([*state(model), *map(np.array, history.values())])
    assert_near(models[1], models[0], TOLERANCE["float64"])


def test_a_model_may_change_its_backend(other):
    reference, _ = train(network("numpy", dtype="float64"), epochs=3)
    moving, _ = train(network(other, dtype="float64"), epochs=1)
    kept = [a.copy() for a in state(moving)]
    assert moving.to("numpy") is moving
    assert moving.backend.name == "numpy"
    assert same_bits(state(moving), kept)
    train(moving, epochs=1)
    train(moving.to(other), epochs=1)
    assert_near(state(moving), state(reference), TOLERANCE["float64"])
    assert moving.optimizer.iterations == reference.optimizer.iterations == 3 * 14


# --- at the same time ---


@pytest.mark.parametrize("count", [1, 3])
def test_two_models_train_at_once(backend, count, monkeypatch):
    monkeypatch.setattr(thread_limit, "choices", lambda: [count])
    alone = [state(train(network(backend, seed=seed), epochs=6)[0]) for seed in (1, 2, 3)]
    models = [network(backend, seed=seed) for seed in (1, 2, 3)]
    workers = [threading.Thread(target=train, args=(model, 6), daemon=True) for model in models]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    for model, wanted in zip(models, alone, strict=True):
        assert same_bits(state(model), wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_trains_too(backend):
    if backend == "cupy":
        pytest.skip("CUDA cannot be used by a forked child; see tests/kernels/cupy_/test_device.py")
    code = f"""
        import os, sys, warnings
        import numpy as np
        import fastnn as fn
        from fastnn.kernels import threads

        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about threads and fork
        threads.choices = lambda: [2]

        def train():
            model = fn.Sequential([fn.layers.Dense(9, "relu"), fn.layers.Dense(2)], backend={backend!r}, seed=1)
            model.compile("sgd", "mse")
            x = np.arange(80.0).reshape(20, 4) / 80
            model.fit(x, x[:, :2], batch_size=3, epochs=2, verbose=0)
            return b"".join(w.tobytes() for w in model.get_weights()).hex()

        wanted = train()
        child = os.fork()
        if not child:
            os._exit(0 if train() == wanted else 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert train() == wanted
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=100, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
