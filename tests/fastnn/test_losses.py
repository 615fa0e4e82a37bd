"""Losses equal their formulas on every way to them: called or evaluated, from probabilities, logits or labels."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import Sequential, losses
from fastnn.layers import Activation, Dense
from fastnn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

rng = np.random.default_rng(1)
X = rng.standard_normal((9, 5))
LABELS = rng.integers(0, 4, 9)
ONE_HOT = np.eye(4)[LABELS]
NUMBERS = rng.uniform(0, 1, (9, 4))


def softmax(z):
    return np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))


def logistic(z):
    return np.exp(-np.logaddexp(0, -z))


def network(loss, backend, activation=None, dtype="float64", units=4):
    model = Sequential([Dense(units, activation)], backend=backend, seed=1, dtype=dtype)
    model.build((5,))
    model.compile("sgd", loss)
    return model


def logits_of(model):
    weight, bias = model.get_weights()
    return X @ weight.astype(np.float64) + bias


FORMULAS = {
    "mean_squared_error": (None, NUMBERS, lambda z: ((z - NUMBERS) ** 2).mean()),
    "mean_absolute_error": (None, NUMBERS, lambda z: np.abs(z - NUMBERS).mean()),
    "huber": (
        None,
        NUMBERS,
        lambda z: np.mean([e * e / 2 if abs(e) <= 1 else abs(e) - 0.5 for e in (z - NUMBERS).flat]),
    ),
    "binary_crossentropy": (
        "sigmoid",
        NUMBERS,
        lambda z: -(NUMBERS * np.log(logistic(z)) + (1 - NUMBERS) * np.log(logistic(-z))).mean(),
    ),
    "categorical_crossentropy": ("softmax", ONE_HOT, lambda z: -(ONE_HOT * np.log(softmax(z))).sum(axis=1).mean()),
    "sparse_categorical_crossentropy": ("softmax", LABELS, lambda z: -np.log(softmax(z)[range(9), LABELS]).mean()),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_loss_of_a_network(backend, dtype, name):
    activation, y, formula = FORMULAS[name]
    model = network(name, backend, activation, dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert model.evaluate(X, y, batch_size=4) == pytest.approx(formula(logits_of(model)), rel=tolerance)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_loss_of_predictions(name):
    """Called on arrays, a loss gives what the network was told."""
    activation, y, formula = FORMULAS[name]
    model = network(name, "numpy", activation)
    assert losses.get(name)(y, model.predict(X)) == pytest.approx(formula(logits_of(model)), rel=1e-12)


def test_labels_and_one_hot_rows_give_the_same_loss_and_the_same_training(backend):
    sparse = network("sparse_categorical_crossentropy", backend, "softmax")
    whole = network("categorical_crossentropy", backend, "softmax")
    for _ in range(3):
        assert sparse.train_on_batch(X, LABELS) == pytest.approx(whole.train_on_batch(X, ONE_HOT), rel=1e-14)
    for a, b in zip(sparse.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    probabilities = sparse.predict(X)
    a, b = SparseCategoricalCrossentropy()(LABELS, probabilities), CategoricalCrossentropy()(ONE_HOT, probabilities)
    assert a == pytest.approx(b, rel=1e-14)


PAIRS = [  # loss, head, target, loss from logits
    ("sparse_categorical_crossentropy", "softmax", LABELS, SparseCategoricalCrossentropy(from_logits=True)),
    ("categorical_crossentropy", "softmax", ONE_HOT, CategoricalCrossentropy(from_logits=True)),
    ("binary_crossentropy", "sigmoid", NUMBERS, BinaryCrossentropy(from_logits=True)),
]


@pytest.mark.parametrize("name, head, y, from_logits", PAIRS)
def test_four_ways_to_the_same_loss(backend, name, head, y, from_logits):
    """Fused; by a layer of its own; from logits; and called on probabilities."""
    fused, logits = network(name, backend, head), network(from_logits, backend)
    layer = Sequential([Dense(4), Activation(head)], backend=backend, seed=1, dtype="float64")
    layer.build((5,))
    layer.compile("sgd", name)
    expected = FORMULAS[name][2](logits_of(fused))
    for model in (fused, logits, layer):
        assert model.evaluate(X, y) == pytest.approx(expected, rel=1e-12)
        model.train_on_batch(X, y)
    assert losses.get(name)(y, network(name, backend, head).predict(X)) == pytest.approx(expected, rel=1e-12)
    for other in (logits, layer):
        for a, b in zip(fused.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    assert logits.predict(X).min() < 0, "what comes out of a network without a head is logits"


@pytest.mark.parametrize("name, head, y, from_logits", PAIRS)
def test_logits_of_a_thousand(backend, dtype, name, head, y, from_logits):
    """Fused, the loss is the distance of the logits; a naive softmax and log give NaN or infinity."""
    model = network(name, backend, head, dtype)
    weights = [np.zeros((5, 4)), np.array([1000.0, 0, 0, -1000])]
    model.set_weights(weights)
    target = np.array([3]) if y is LABELS else np.array([[0.0, 0, 0, 1]])
    expected = {"binary_crossentropy": (2000 + 2 * np.log(2)) / 4}.get(name, 2000)
    assert model.evaluate(np.zeros((1, 5)), target) == pytest.approx(expected, rel=1e-6)
    before = model.train_on_batch(np.zeros((1, 5)), target)
    assert model.train_on_batch(np.zeros((1, 5)), target) < before
    with np.errstate(all="ignore"):
        z = np.exp(weights[1])
        assert not np.isfinite(-np.log(z / z.sum())[[0, 3]]).all()


def test_clipped_probabilities_stay_finite():
    """Without the logits the loss stops at -log(1e-7), as Keras' does."""
    assert SparseCategoricalCrossentropy()([1], [[1.0, 0.0]]) == pytest.approx(-np.log(1e-7))
    assert CategoricalCrossentropy()([[0, 1]], [[1.0, 0.0]]) == pytest.approx(-np.log(1e-7))
    assert BinaryCrossentropy()([[1]], [[0.0]]) == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing(backend, smoothing):
    categorical = network(CategoricalCrossentropy(label_smoothing=smoothing), backend, "softmax")
    z = logits_of(categorical)
    smooth = ONE_HOT * (1 - smoothing) + smoothing / 4
    expected = -(smooth * np.log(softmax(z))).sum(axis=1).mean()
    assert categorical.evaluate(X, ONE_HOT) == pytest.approx(expected, rel=1e-12)
    assert categorical.loss(ONE_HOT, softmax(z)) == pytest.approx(expected, rel=1e-12)
    binary = network(BinaryCrossentropy(label_smoothing=smoothing), backend, "sigmoid")
    smooth = NUMBERS * (1 - smoothing) + smoothing / 2
    expected = -(smooth * np.log(logistic(z)) + (1 - smooth) * np.log(logistic(-z))).mean()
    assert binary.evaluate(X, NUMBERS) == pytest.approx(expected, rel=1e-12)


def test_metrics_are_of_targets_that_are_not_smoothed(backend):
    losses = {0.0: BinaryCrossentropy(), 0.2: BinaryCrossentropy(label_smoothing=0.2)}
    found = {}
    for smoothing, loss in losses.items():
        model = network(loss, backend, "sigmoid")
        model.compile("sgd", loss, metrics=["accuracy", "mse"])
        found[smoothing] = model.evaluate(X, np.round(NUMBERS))
    assert found[0.2][1:] == found[0.0][1:]
    assert found[0.2][1] > 0
    assert found[0.2][0] != found[0.0][0]


@pytest.mark.parametrize("label", [-1, 2, 0.5])
def test_a_label_that_is_none_is_refused(label):
    with pytest.raises(ValueError, match="y_true must be"):
        SparseCategoricalCrossentropy()([label], [[0.1, 0.9]])


def test_huber_turns_straight_at_delta():
    assert Huber(2.0)([[0.0]], [[1.5]]) == 1.125
    assert Huber(2.0)([[0.0]], [[-5.0]]) == 2 * 5 - 2
    assert Huber(1e9)([[0.0, 0.0]], [[3.0, 1.0]]) == MeanSquaredError()([[0.0, 0.0]], [[3.0, 1.0]]) / 2


def test_a_constant_target_of_equal_predictions_costs_nothing():
    for loss in (MeanSquaredError(), MeanAbsoluteError(), Huber()):
        assert loss(NUMBERS, NUMBERS) == 0


@pytest.mark.parametrize(
    "alias, kind",
    [
        ("mse", MeanSquaredError),
        ("MSE", MeanSquaredError),
        ("mean_squared_error", MeanSquaredError),
        ("MeanSquaredError", MeanSquaredError),
        ("mae", MeanAbsoluteError),
        ("bce", BinaryCrossentropy),
        ("Huber", Huber),
        ("categorical_crossentropy", CategoricalCrossentropy),
        ("sparse_categorical_crossentropy", SparseCategoricalCrossentropy),
    ],
)
def test_names(alias, kind):
    assert type(losses.get(alias)) is kind
    assert type(losses.get(kind)) is kind
    loss = kind()
    assert losses.get(loss) is loss


CONFIGURED = [
    Huber(0.3),
    BinaryCrossentropy(True, 0.2),
    CategoricalCrossentropy(False, 0.1),
    SparseCategoricalCrossentropy(True),
]


@pytest.mark.parametrize("loss", CONFIGURED, ids=repr)
def test_round_trip(loss):
    again = losses.deserialize(losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert repr(again) == repr(loss)


@pytest.mark.parametrize(
    "error, message, make",
    [
        (ValueError, "unknown loss 'mas': did you mean 'm.e'", lambda: losses.get("mas")),
        (TypeError, "loss must be a name or a Loss, got 3", lambda: losses.get(3)),
        (ValueError, r"delta must be in \(0, inf\], got 0", lambda: Huber(0)),
        (ValueError, r"label_smoothing must be in \[0, 1\], got 1.5", lambda: BinaryCrossentropy(label_smoothing=1.5)),
        (TypeError, "label_smoothing must be a number", lambda: CategoricalCrossentropy(label_smoothing="much")),
    ],
)
def test_bad_arguments(error, message, make):
    with pytest.raises(error, match=message):
        make()


class Quartic(Loss):
    """A user's loss in plain NumPy."""

    def compute(self, ops, y, target, values, dy, scale):
        values[...] = ((y - target) ** 4).mean(axis=1)
        if dy is not None:
            dy[...] = scale * 4 * (y - target) ** 3 / y.shape[1]


def test_a_users_loss_trains_without_capture(backend):
    model = network(Quartic(), backend)
    expected = ((logits_of(model) - NUMBERS) ** 4).mean()
    with pytest.warns(UserWarning, match="runs without capture"):
        assert model.train_on_batch(X, NUMBERS) == pytest.approx(expected, rel=1e-12)
    assert model.train_on_batch(X, NUMBERS) < expected
    assert Quartic()(NUMBERS, NUMBERS + 2) == 16
