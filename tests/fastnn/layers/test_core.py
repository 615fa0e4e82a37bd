"""Each layer of a plain network computes its formula, says its shape, and refuses what it cannot take."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import Sequential, backends, layers, random, regularizers
from fastnn.activations import NAMES
from fastnn.capture import Eager
from fastnn.kernels.numpy_.random import philox_words
from fastnn.layers import Activation, Dense, Dropout, Flatten, Input

rng = np.random.default_rng(0)


def logistic(z):
    return np.exp(-np.logaddexp(0, -z))


FORMULAS = {
    "linear": lambda z: z,
    "step": lambda z: (z >= 0).astype(float),
    "sigmoid": logistic,
    "tanh": np.tanh,
    "relu": lambda z: z * (z > 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "silu": lambda z: z * logistic(z),
    "softplus": lambda z: np.logaddexp(0, z),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True),
}


def test_every_activation_but_gelu_has_its_formula():
    assert set(NAMES) - set(FORMULAS) == {"gelu"}  # whose values test_activations.py has


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5), (2, 3, 2, 5)], ids=str)
def test_dense(backend, close, dtype, name, shape):
    layer = Dense(6, name, bias_initializer="random_normal")
    layer.dtype = dtype
    x = rng.standard_normal(shape).astype(dtype)
    y = layer(x)
    weight, bias = (w.astype(np.float64) for w in layer.get_weights())
    close(y, FORMULAS[name](x.astype(np.float64) @ weight + bias), absolute=1)
    assert layer.output_shape == (*shape[1:-1], 6)
    assert y.dtype == dtype


def test_dense_without_bias(backend, close):
    layer = Dense(6, use_bias=False)
    x = rng.standard_normal((4, 5)).astype(np.float32)
    close(layer(x), x.astype(np.float64) @ layer.get_weights()[0])
    assert [p.name for p in layer.parameters] == ["kernel"]


def test_dense_makes_its_weights_as_told():
    layer = Dense(4, None, True, "ones", "zeros", kernel_regularizer="l2", bias_regularizer="l1")
    layer.ensure_built((3,))
    kernel, bias = layer.parameters
    assert (kernel.name, kernel.shape, bias.name, bias.shape) == ("kernel", (3, 4), "bias", (4,))
    assert (kernel.value == 1).all()
    assert (bias.value == 0).all()
    assert isinstance(kernel.regularizer, regularizers.L2)
    assert isinstance(bias.regularizer, regularizers.L1)


def test_a_layer_is_built_once():
    layer = Dense(4)
    first = layer(np.ones((2, 3)))
    assert np.array_equal(layer(np.ones((2, 3))), first)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 3\), got \(2, 5\)"):
        layer(np.ones((2, 5)))


def test_the_lesson_with_fixed_weights(backend):
    """Three layers by hand, [1, 0.5] to [0.31682708, 0.69627909]."""
    weights = [
        np.array(w)
        for w in (
            [[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]], [0.1, 0.2, 0.3],
            [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]], [0.1, 0.2],
            [[0.1, 0.3], [0.2, 0.4]], [0.1, 0.2],
        )
    ]  # fmt: skip
    model = Sequential([Dense(3, "sigmoid", input_shape=(2,)), Dense(2, "sigmoid"), Dense(2)], backend=backend)
    model.set_weights(weights)
    np.testing.assert_allclose(model.predict(np.array([[1.0, 0.5]])), [[0.31682708, 0.69627909]], rtol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5)], ids=str)
def test_activation(backend, close, dtype, name, shape):
    layer = Activation(name)
    layer.dtype = dtype
    x = rng.standard_normal(shape).astype(dtype)
    kept = x.copy()
    close(layer(x), FORMULAS[name](x.astype(np.float64)), absolute=1)
    assert np.array_equal(x, kept), "what the layer before gave must stay"
    assert layer.output_shape == shape[1:]


def test_flatten(backend):
    x = rng.standard_normal((4, 2, 3, 5)).astype(np.float32)
    layer = Flatten()
    assert np.array_equal(layer(x), x.reshape(4, 30))
    assert layer.output_shape == (30,)


def test_input_says_the_shape(backend):
    for given in (Input((3,)), Input(3), Input(shape=[3])):
        model = Sequential([given, Dense(2)])
        assert model.built
        assert model.input_shape == (3,)
        assert model.output_shape == (2,)


def test_dropout_passes_everything_outside_training(backend):
    x = rng.standard_normal((40, 50)).astype(np.float32)
    assert np.array_equal(Dropout(0.4)(x), x)
    assert np.array_equal(Dropout(0.0)(x, training=True), x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(backend, rate):
    layer = Dropout(rate)
    layer.seed = 7
    y = layer(np.ones((100, 200)), training=True)
    kept = y != 0
    # Five standard deviations of the share of 20 000 elements.
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / y.size)
    assert np.allclose(y[kept], 1 / (1 - rate))


def masks(backend, seed=3, own=None, steps=1, places=(1,)):
    """Which units of each dropout layer lived in the last of some steps of a network that does not learn."""
    layers = [Dropout(0.5, seed=own) if i in places else Activation("linear") for i in range(max(places) + 1)]
    model = Sequential(layers, seed=seed)
    model.build((1000,))
    x = np.ones((2, 1000), np.float32)
    ops = Eager(backends.get(backend), np.float32, np.array([0, steps - 1, 0]))
    found = []
    for layer in model.layers:
        y = layer.forward(ops, x, True)
        if isinstance(layer, Dropout):
            found.append(y != 0)
            assert np.array_equal(layer.backward(ops, np.ones_like(x), True), y), "backward must use the same mask"
    return found


def test_masks_follow_from_seed_step_and_layer_alone(backend):
    (first,) = masks(backend)
    words = philox_words(3, 2000, 0, random.stream_of(1, 0)).reshape(2, 1000)
    assert np.array_equal(first, words >= 2**31)
    others = [masks(backend, seed=4), masks(backend, steps=2), masks(backend, own=5), masks(backend, places=(2,))]
    assert all(not np.array_equal(first, other) for (other,) in others)
    assert np.array_equal(masks(backend, seed=8, own=5), masks(backend, seed=9, own=5))
    one, other = masks(backend, own=5, places=(0, 1))
    assert not np.array_equal(one, other), "two layers of one seed must not drop the same units"


@pytest.mark.parametrize(
    "layer",
    [
        Dense(3, "relu", False, "he_normal", "ones", "l1", regularizers.L2(0.3), name="one", input_shape=(4,)),
        Activation("gelu", name="two", input_shape=(2, 3)),
        Flatten(input_shape=(2, 3)),
        Dropout(0.3, seed=5, name="four"),
    ],
)
def test_round_trip(layer):
    again = layers.deserialize(layers.serialize(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    assert again.given_input_shape == layer.given_input_shape
    assert again.name == layer.name


@pytest.mark.parametrize(
    "error, message, make",
    [
        (ValueError, "units must be at least 1, got 0", lambda: Dense(0)),
        (TypeError, "units must be an integer, got 2.5", lambda: Dense(2.5)),
        (ValueError, "unknown activation 'rely': did you mean 'relu'", lambda: Dense(2, "rely")),
        (ValueError, "unknown initializer 'one': did you mean 'ones'", lambda: Dense(2, kernel_initializer="one")),
        (ValueError, "unknown regularizer 'l3'", lambda: Dense(2, kernel_regularizer="l3")),
        (TypeError, "name must be a string, got 3", lambda: Dense(2, name=3)),
        (TypeError, "input_shape must be a tuple of positive integers", lambda: Dense(2, input_shape="784")),
        (ValueError, "input_shape must be at least 1, got 0", lambda: Dense(2, input_shape=(0,))),
        (ValueError, r"rate must be in \[0, 1\), got 1", lambda: Dropout(1)),
        (ValueError, r"rate must be in \[0, 1\), got -0.1", lambda: Dropout(-0.1)),
        (TypeError, "rate must be a number, got 'half'", lambda: Dropout("half")),
        (ValueError, "seed must be at least 0, got -1", lambda: Dropout(0.5, seed=-1)),
        (TypeError, "shape must be a tuple of positive integers such as", lambda: Input()),
        (ValueError, r"x must have at least one row, got shape \(0, 3\)", lambda: Dense(2)(np.ones((0, 3)))),
        (TypeError, "x must be an array of numbers, got dtype complex128", lambda: Dense(2)(np.ones((1, 3)) * 1j)),
        (TypeError, "x must be an array of numbers, got dtype <U", lambda: Dense(2)(["abc"])),
        (ValueError, r"Dense needs samples with at least one axis; got shape \(\)", lambda: Dense(2)(np.ones(3))),
    ],
)
def test_bad_arguments(error, message, make):
    with pytest.raises(error, match=message):
        make()
