"""The benchmark of the lessons: the logistic neuron on breast cancer, one sample at a time or many in one product.

One round is EPOCHS epochs over the 455 standardised rows of lesson 4, in order, float64, rate 0.1: by the loop that the
lessons teach ("textbook", one sample at a time only), by one with as few calls as we can ("plain", for more than one
sample products of matrices), and by fastnn on each backend.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

from bench.handwritten import TextbookNeuron, neuron_by_batch, neuron_by_sample
from fastnn import Sequential, backends
from fastnn.data import train_test_split
from fastnn.datasets import breast_cancer
from fastnn.layers import Dense
from fastnn.optimizers import SGD

EPOCHS, RATE = 10, 0.1
BATCHES = {"one sample at a time": 1, "mini-batches of 32": 32, "all samples at once": 455}


@pytest.fixture(scope="module")
def data():
    x, y = breast_cancer.load_data()
    x, _, y, _ = train_test_split(x, y, test_size=0.2, stratify=y, seed=42)
    return (x - x.mean(axis=0)) / x.std(axis=0), y.astype(np.float64)


def plain(x, y, batch):
    """EPOCHS epochs from w = 1, b = 0 in plain NumPy; returns (w, b) and the last loss."""
    neuron, loss = (np.ones(x.shape[1]), 0.0), 0.0
    for _ in range(EPOCHS):
        if batch == 1:
            neuron, loss = neuron_by_sample(x, y, neuron, RATE)
        else:
            neuron, loss = neuron_by_batch(x, y, neuron, RATE, batch)
    return neuron, loss


def textbook(x, y):
    """The same as the lessons teach it, a sample at a time."""
    neuron = TextbookNeuron(x.shape[1], RATE)
    neuron.fit(x, y, EPOCHS)
    return (neuron.w, neuron.b), neuron.losses[-1]


def neuron(backend, features):
    model = Sequential([Dense(1, activation="sigmoid", kernel_initializer="ones")], backend=backend, dtype="float64")
    model.build((features,))
    model.compile(optimizer=SGD(RATE), loss="binary_crossentropy")
    return model


@pytest.mark.parametrize("how", BATCHES)
@pytest.mark.parametrize("who", ["textbook", "plain", *backends.available()])
def test_samples(benchmark, usable, data, who, how):
    x, y = data
    batch = BATCHES[how]
    if who == "textbook":
        if batch > 1:
            pytest.skip("the lessons' loop takes one sample at a time")
        run = functools.partial(textbook, x, y)
    elif who == "plain":
        run = functools.partial(plain, x, y, batch)
    else:
        usable(who)
        model = neuron(who, x.shape[1])
        model.warmup(batch)
        run = functools.partial(model.fit, x, y, batch_size=batch, epochs=EPOCHS, shuffle=False, verbose=0)
        (w, b), loss = plain(x, y, batch)
        # What is compared does the same thing.
        np.testing.assert_allclose(run().history["loss"][-1], loss, rtol=1e-9)
        np.testing.assert_allclose(model.get_weights()[0][:, 0], w, rtol=1e-9)
        np.testing.assert_allclose(model.get_weights()[1], b, rtol=1e-9)

    benchmark.group = how
    benchmark.pedantic(run, rounds=10, warmup_rounds=2)
    benchmark.extra_info["us_per_sample"] = 1e6 * benchmark.stats.stats.min / EPOCHS / len(x)
