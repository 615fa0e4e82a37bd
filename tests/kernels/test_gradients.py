"""Every backward is the derivative of its forward: of each layer, of each loss and of whole networks, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import Sequential, losses, regularizers
from fastnn.activations import NAMES
from fastnn.layers import Activation, Dense, Dropout, Flatten
from fastnn.optimizers import SGD
from fastnn.testing import check_gradients, check_loss_gradients

each_activation = pytest.mark.parametrize("name", NAMES)
LIMIT = 1e-6


@each_activation
@pytest.mark.parametrize("input_shape", [(5,), (3, 4), (2, 2, 3)], ids=str)
@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(backend, name, input_shape, use_bias):
    layer = Dense(4, name, use_bias, bias_initializer="random_normal")
    assert check_gradients(layer, input_shape, backend=backend) < LIMIT
    assert len(layer.parameters) == 1 + use_bias


@pytest.mark.parametrize("units, inputs, batch", [(1, 1, 1), (17, 9, 15), (33, 3, 2)])
def test_dense_at_the_edges_of_tiles(backend, units, inputs, batch):
    assert check_gradients(Dense(units, "tanh"), (inputs,), batch=batch, backend=backend) < LIMIT


@each_activation
@pytest.mark.parametrize("input_shape", [(5,), (3, 4)], ids=str)
def test_activation(backend, name, input_shape):
    assert check_gradients(Activation(name), input_shape, backend=backend) < LIMIT


def test_flatten(backend):
    assert check_gradients(Flatten(), (2, 3, 2), backend=backend) < LIMIT


@pytest.mark.parametrize("rate", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("training", [True, False])
def test_dropout(backend, rate, training):
    assert check_gradients(Dropout(rate, seed=4), (3, 7), training=training, backend=backend) < LIMIT


LOSSES = [
    losses.MeanSquaredError(),
    losses.MeanAbsoluteError(),
    losses.Huber(0.2),
    losses.Huber(5.0),
    losses.BinaryCrossentropy(),
    losses.BinaryCrossentropy(label_smoothing=0.3),
    losses.BinaryCrossentropy(from_logits=True),
    losses.CategoricalCrossentropy(),
    losses.CategoricalCrossentropy(label_smoothing=0.3),
    losses.SparseCategoricalCrossentropy(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("shape, batch", [((6,), 3), ((1,), 1), ((33,), 5)], ids=str)
def test_loss(backend, loss, shape, batch):
    assert check_loss_gradients(loss, shape, batch=batch, backend=backend) < LIMIT


def test_every_loss_is_checked():
    assert {type(loss) for loss in LOSSES} == set(losses._registry.classes.values())


def hidden():
    penalty = regularizers.L1L2(0.02, 0.03)
    return [
        Dense(5, "tanh", kernel_regularizer=penalty, bias_initializer="random_normal", bias_regularizer="l2"),
        Activation("gelu"),
        Dense(4, "softplus", kernel_regularizer="l1"),
    ]


NETWORKS = {
    "sparse softmax, fused": ((3,), [*hidden(), Dense(3, "softmax")], "sparse_categorical_crossentropy"),
    "softmax, fused": ((3,), [*hidden(), Dense(3, "softmax")], "categorical_crossentropy"),
    "softmax as a layer, fused": ((3,), [*hidden(), Dense(3), Activation("softmax")], "categorical_crossentropy"),
    "softmax, not fused": ((3,), [*hidden(), Dense(3, "softmax")], "mse"),
    "sigmoid, fused": ((3,), [*hidden(), Dense(3, "sigmoid")], "binary_crossentropy"),
    "logits": ((3,), [*hidden(), Dense(3)], losses.SparseCategoricalCrossentropy(from_logits=True)),
    "probabilities that no loss can fuse": ((3,), [*hidden(), Dense(3, "sigmoid")], "categorical_crossentropy"),
    "rows of rows": ((4, 3), [Dense(3, "silu"), Flatten(), Dense(2)], "huber"),
    "predictions of two axes": ((4, 3), [Dense(5, "elu"), Dense(2)], "mse"),
    "activation first": ((3,), [Activation("elu"), Dense(2, "sigmoid", use_bias=False)], "mae"),
}


def slope_of(model, w, index, x, y, epsilon=1e-5):
    """The derivative of the loss that `evaluate` tells, penalties included, with respect to one weight."""
    before, values = w[index], []
    for value in (before + epsilon, before - epsilon):
        w[index] = value
        values.append(model.evaluate(x, y))
    w[index] = before
    return (values[0] - values[1]) / (2 * epsilon)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("eager", [False, True], ids=["captured", "eager"])
def test_network(backend, name, eager):
    """One step of SGD with rate 1 moves each weight by minus its gradient."""
    input_shape, layers, loss = NETWORKS[name]
    model = Sequential([type(a).from_config(a.get_config()) for a in layers], backend=backend, seed=3, dtype="float64")
    model.build(input_shape)
    model.compile(SGD(1.0), loss, run_eagerly=eager)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, *input_shape))
    y = rng.integers(0, 3, 7) if model.loss.integer_labels else rng.uniform(0.1, 0.9, (7, *model.output_shape))
    before = model.get_weights()
    slopes = [
        np.array([slope_of(model, p.value, index, x, y) for index in np.ndindex(p.shape)]).reshape(p.shape)
        for p in model.parameters
    ]
    model.train_on_batch(x, y)
    for old, new, slope in zip(before, model.get_weights(), slopes, strict=True):
        np.testing.assert_allclose(old - new, slope, rtol=1e-6, atol=1e-8)
        assert np.abs(slope).max() > 1e-3


def test_a_layer_that_is_not_trained_passes_the_gradient_on(backend):
    layers = [Dense(4, "tanh"), Dense(4, "tanh"), Dense(2)]
    layers[1].trainable = False
    model = Sequential(layers, backend=backend, seed=3, dtype="float64")
    model.build((3,))
    model.compile(SGD(1.0), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))
    slope = slope_of(model, model.parameters[0].value, (1, 2), x, y)
    before = model.get_weights()
    model.train_on_batch(x, y)
    after = model.get_weights()
    np.testing.assert_allclose((before[0] - after[0])[1, 2], slope, rtol=1e-6)
    assert all(np.array_equal(before[i], after[i]) for i in (2, 3))
