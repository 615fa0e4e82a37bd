"""Data on the GPU: brought once, used where they are, let go after use, and behind a window where they do not fit."""

from __future__ import annotations

import gc
import weakref

import cupy
import numpy as np
import pytest
import simulated_cupy
from simulated_cupy.memory import altered
from simulated_cupy.memory import device as simulated_device

import fastnn as fn
from fastnn.checks import as_pair
from fastnn.kernels.cupy_ import window

simulated = pytest.mark.skipif(not simulated_cupy.in_force(), reason="looks into the simulated device")

rng = np.random.default_rng(8)
ROWS = 331
X, Y = rng.standard_normal((ROWS, 6)).astype(np.float32), rng.integers(0, 3, ROWS)


def network(backend="cupy", loss="sparse_categorical_crossentropy", eager=False):
    layers = [fn.layers.Dense(7, "tanh", input_shape=(6,)), fn.layers.Dropout(0.1), fn.layers.Dense(3, "softmax")]
    model = fn.Sequential(layers, backend=backend, seed=2)
    model.compile("adam", loss, ["accuracy"], run_eagerly=eager)
    return model


def bits(model):
    return [w.tobytes() for w in model.get_weights()]


class Foreign:
    """An array of another library on the GPU, with one of the two faces that such arrays have."""

    def __init__(self, array):
        self.array = array


class WithInterface(Foreign):
    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__


class WithDLPack(Foreign):
    def __dlpack__(self, **asked):
        return self.array.__dlpack__(**asked)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


FACES = {"cupy": lambda array: array, "cuda_array_interface": WithInterface, "dlpack": WithDLPack}


@pytest.mark.parametrize("face", FACES)
def test_arrays_on_the_gpu_train_to_the_same_bits(face):
    model, other = network(), network()
    x, y = cupy.asarray(X), cupy.asarray(Y)
    gx, gy = FACES[face](x), FACES[face](y)
    history = model.fit(gx, gy, batch_size=32, epochs=2, verbose=0, validation_split=0.2).history
    assert history == other.fit(X, Y, batch_size=32, epochs=2, verbose=0, validation_split=0.2).history
    assert bits(model) == bits(other)
    assert model.evaluate(gx, gy) == other.evaluate(X, Y)
    out = model.predict(gx)
    assert isinstance(out, np.ndarray)
    assert out.tobytes() == other.predict(X).tobytes()
    assert model.train_on_batch(gx, gy) == other.train_on_batch(X, Y)
    assert model(FACES[face](x[:5])).tobytes() == other(X[:5]).tobytes()


def test_they_are_not_copied():
    model = network()
    x, y = cupy.asarray(X), cupy.asarray(Y)
    gx, gy = model.backend.bring(*as_pair(model, x, y))
    assert (gx.data.ptr, gy.data.ptr) == (x.data.ptr, y.data.ptr)
    assert gy.shape == (ROWS, 1)


@pytest.mark.parametrize("change", ["dtype", "layout", "labels of another type"])
def test_what_kernels_cannot_take_is_copied_there(change):
    x, y = cupy.asarray(X), cupy.asarray(Y)
    if change == "dtype":
        x = cupy.asarray(X.astype(np.float64))
    elif change == "layout":
        x = cupy.asarray(np.concatenate([X, X], axis=1))[:, :6]
    else:
        y = cupy.asarray(Y.astype(np.int32))
    model, other = network(), network()
    model.fit(x, y, verbose=0)
    other.fit(X, Y, verbose=0)
    assert bits(model) == bits(other)


def test_targets_like_predictions_may_be_there_too():
    model, other = (network(loss="categorical_crossentropy") for _ in range(2))
    one_hot = fn.utils.to_categorical(Y, 3).astype(np.float32)
    model.fit(cupy.asarray(X), cupy.asarray(one_hot), verbose=0)
    other.fit(X, one_hot, verbose=0)
    assert bits(model) == bits(other)


@pytest.mark.parametrize(
    "what, x, y, error, words",
    [
        ("labels", X, Y + 1, ValueError, "y must be labels from 0 to 2, got 3"),
        ("shape", X[:, :5], Y, ValueError, r"x must have shape \(N, 6\), got \(331, 5\)"),
        ("rows", X, Y[:-1], ValueError, "y must have 331 rows"),
        ("none", X[:0], Y[:0], ValueError, "x must have at least one row"),
        ("not finite", np.where(np.arange(ROWS)[:, None] == 40, np.nan, X), Y, fn.NonFiniteError, "in row 40 "),
    ],
)
def test_bad_data_there_are_refused_alike(what, x, y, error, words):
    model = network()
    before = bits(model)
    with pytest.raises(error, match=words):
        model.fit(cupy.asarray(x), cupy.asarray(y), batch_size=400, verbose=0)
    assert bits(model) == before


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_model_of_the_cpu_refuses_them(backend):
    model = network(backend)
    words = rf"x is on a GPU, but the model runs on {backend}: bring it to the host, or model.to\('cupy'\)"
    for use in (lambda x: model.fit(x, Y), model.predict):
        with pytest.raises(TypeError, match=words):
            use(cupy.asarray(X))


@simulated
def test_data_are_brought_once_for_a_fit_and_then_let_go():
    model = network()
    model.fit(X, Y, batch_size=32, epochs=2, verbose=0)
    gc.collect()
    used = simulated_device.used
    with simulated_cupy.counting() as one:
        model.fit(X, Y, batch_size=32, verbose=0)
    with simulated_cupy.counting() as four:
        model.fit(X, Y, batch_size=32, epochs=4, verbose=0)
    gc.collect()
    assert simulated_device.used <= used
    assert four["allocations"] - one["allocations"] <= 3
    x = cupy.asarray(X)
    memory = weakref.ref(x.data.mem)
    model.fit(x, Y, verbose=0)
    del x
    gc.collect()
    assert memory() is None


# --- data that do not fit ---


@pytest.fixture
def narrow(monkeypatch):
    """A window of a few rows, and no room for more."""

    def make(half):
        monkeypatch.setattr(window, "HALF", half * (6 * 4 + 8))
        monkeypatch.setattr(window, "SHARE", 1)

    return make


@simulated
@pytest.mark.parametrize("half", [1, 16, 33, 50, 300, 1000])
@pytest.mark.parametrize("how", ["captured", "eager", "one by one", "not shuffled"])
def test_data_behind_a_window_train_to_the_same_bits(narrow, half, how):
    options = {"batch_size": 16, "epochs": 3, "verbose": 0, "validation_data": (X[:70], Y[:70])}
    options["shuffle"] = how != "not shuffled"
    if how == "one by one":
        options["callbacks"] = [fn.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)]
    wanted = network(eager=how == "eager")
    history = wanted.fit(X, Y, **options).history
    expected = wanted.predict(X, batch_size=20)
    narrow(half)
    model = network(eager=how == "eager")
    assert model.fit(X, Y, **options).history == history
    assert bits(model) == bits(wanted)
    assert model.evaluate(X, Y, batch_size=33) == wanted.evaluate(X, Y, batch_size=33)
    assert model.predict(X, batch_size=20).tobytes() == expected.tobytes()


@simulated
def test_they_really_come_through_a_window(narrow):
    x, y = np.tile(X, (60, 1)), np.tile(Y, 60)
    narrow(200)
    model = network()
    model.fit(X, Y, batch_size=32, verbose=0)
    gc.collect()
    with altered(total=simulated_device.used + x.nbytes):
        model.fit(x, y, batch_size=32, verbose=0)


@simulated
def test_a_bad_row_behind_a_window_is_named(narrow):
    narrow(50)
    spoiled = X.copy()
    spoiled[97, 2] = np.inf
    model, other = network(), network()
    with pytest.raises(fn.NonFiniteError, match=r"row 97 \(at step 7 of epoch 1\)"):
        model.fit(spoiled, Y, batch_size=16, verbose=0, shuffle=False)
    other.fit(X[:96], Y[:96], batch_size=16, verbose=0, shuffle=False)
    assert bits(model) == bits(other)
    with pytest.raises(fn.NonFiniteError, match="row 97 "):
        model.fit(spoiled, Y, batch_size=16, verbose=0)
