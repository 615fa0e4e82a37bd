"""What Keras' users do with single layers of a model: find them, set their weights, freeze them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastnn as keras
from fastnn import Sequential
from fastnn.layers import Dense

rng = np.random.default_rng(0)
X = rng.standard_normal((50, 6)).astype(np.float32)


def test_a_layer_is_found_by_name_or_place():
    m = Sequential([keras.Input((4,)), Dense(3, name="hidden"), Dense(2)])
    assert m.get_layer("hidden") is m.get_layer(index=0) is m.get_layer(index=-2) is m.layers[0]
    for arguments, message in (
        ({"name": "hiden"}, "unknown layer 'hiden': did you mean 'hidden'"),
        ({"index": 2}, "index must be below 2, the number of layers, got 2"),
        ({"index": -3}, "index must be at least -2, got -3"),
        ({}, "takes a name or an index, got name=None and index=None"),
        ({"name": "hidden", "index": 0}, "takes a name or an index, got name='hidden' and index=0"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            m.get_layer(**arguments)


def test_the_weights_of_one_layer():
    m = Sequential([Dense(3, input_shape=(4,)), Dense(2)])
    kernel, bias = rng.standard_normal((4, 3)), np.arange(3)
    m.layers[0].set_weights([kernel, bias])
    assert np.array_equal(m.get_weights()[0], kernel.astype(np.float32))
    assert np.array_equal(m.layers[0].get_weights()[1], bias)
    assert m.layers[0].count_params() == 15
    with pytest.raises(ValueError, match=r"weights\[1\] \(bias\) must have shape \(3,\), got \(2,\)"):
        m.layers[0].set_weights([kernel + 1, bias[:2]])
    assert np.array_equal(m.get_weights()[0], kernel.astype(np.float32))


def test_a_layer_may_be_made_frozen(backend):
    m = Sequential([Dense(4, "relu", input_shape=(6,), trainable=False), Dense(3, "softmax")], seed=1)
    m.compile("sgd", "sparse_categorical_crossentropy")
    before = m.get_weights()
    m.fit(X, np.arange(50) % 3, verbose=0)
    assert [(a == b).all() for a, b in zip(before, m.get_weights(), strict=True)] == [True, True, False, False]


def test_shapes_are_unknown_before_the_weights_are_made():
    for m in (Sequential(), Sequential([keras.Input((3,))]), Sequential([Dense(2)])):
        for name in ("input_shape", "output_shape"):
            with pytest.raises(ValueError, match="the model has no weights yet"):
                getattr(m, name)
