"""Activations are found by name, have Keras' slopes, and give the values of the lessons."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import activations, backends
from fastnn.activations import NAMES, Activation
from fastnn.capture import Eager


def apply(name, z, backend, dtype=np.float64, **options):
    z = np.array(z, dtype)
    ops, y = Eager(backends.get(backend), dtype), np.empty_like(z)
    Activation(name, **options).forward(ops, z, y)
    return y


def derivative(name, z, backend, **options):
    """f'(z), from y where that is enough: z is then overwritten as in a network."""
    z = np.array(z, np.float64)
    ops, activation = Eager(backends.get(backend), z.dtype), Activation(name, **options)
    y = z if activation.in_place else np.empty_like(z)
    activation.forward(ops, z, y)
    dy = np.ones_like(z)
    activation.backward(ops, z, y, dy, dy)
    return dy


@pytest.mark.parametrize("name", NAMES)
def test_names_work_in_any_case(name):
    assert activations.get(name).name == activations.get(name.upper()).name == name
    activation = Activation(name)
    assert activations.get(activation) is activation


def test_other_names():
    assert activations.get(None).name == "linear"
    assert activations.get("swish").name == activations.get("Swish").name == Activation("swish").name == "silu"


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name):
    for activation in (Activation(name), *([Activation(name, alpha=0.7)] if name in activations.DEFAULT_ALPHA else [])):
        again = activations.get(activations.serialize(activation))
        assert (again.name, again.alpha) == (activation.name, activation.alpha)


def test_an_unknown_name_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="unknown activation 'relo': did you mean 'relu'"):
        activations.get("relo")
    with pytest.raises(TypeError, match="activation must be a name such as 'relu', got 3"):
        activations.get(3)


@pytest.mark.parametrize(
    ("error", "message", "name", "alpha"),
    [
        (ValueError, r"alpha must be in \[0, inf\), got -0.5", "leaky_relu", -0.5),  # y would not tell the sign of z
        (ValueError, r"alpha must be in \[0, inf\), got nan", "elu", float("nan")),
        (TypeError, "alpha must be a number, got 'x'", "elu", "x"),
        (ValueError, "alpha is for leaky_relu and elu, got alpha=0.3 for 'relu'", "relu", 0.3),
    ],
)
def test_an_alpha_that_does_not_fit_is_refused(error, message, name, alpha):
    with pytest.raises(error, match=message):
        Activation(name, alpha)
    with pytest.raises(error, match=message):
        activations.get({"name": name, "alpha": alpha})


def test_what_needs_z_is_not_computed_in_place():
    assert {name for name in NAMES if not Activation(name).in_place} == {"gelu", "silu"}


def test_slopes_are_those_of_keras(backend):
    assert apply("leaky_relu", [[-1.0]], backend) == pytest.approx(-0.2)
    assert apply("elu", [[-1.0]], backend) == pytest.approx(np.exp(-1) - 1)
    assert apply("leaky_relu", [[-1.0]], backend, alpha=0.01) == pytest.approx(-0.01)
    assert apply("elu", [[-1.0]], backend, alpha=2.0) == pytest.approx(2 * (np.exp(-1) - 1))


LESSON = [[-2.0, 0.0, 2.0]]


@pytest.mark.parametrize(
    "name, values, slopes",
    [
        ("step", [0, 1, 1], [0, 0, 0]),
        ("linear", [-2, 0, 2], [1, 1, 1]),
        ("relu", [0, 0, 2], [0, 0, 1]),
        ("sigmoid", [0.11920292, 0.5, 0.88079708], [0.10499359, 0.25, 0.10499359]),
        ("tanh", [-0.96402758, 0, 0.96402758], [0.07065082, 1, 0.07065082]),
    ],
)
def test_values_and_slopes_of_the_lessons(backend, name, values, slopes):
    np.testing.assert_allclose(apply(name, LESSON, backend)[0], values, rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(derivative(name, LESSON, backend)[0], slopes, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize(
    "name, values",
    [
        ("gelu", [-0.04550026, 0, 1.95449974]),  # the exact one, not the one of tanh
        ("silu", [-0.23840584, 0, 1.76159416]),
        ("softplus", [0.12692801, 0.69314718, 2.12692801]),
        ("elu", [-0.86466472, 0, 2]),
    ],
)
def test_known_values(backend, name, values):
    np.testing.assert_allclose(apply(name, LESSON, backend)[0], values, rtol=1e-7, atol=1e-15)


def test_softmax_of_the_lessons(backend, dtype):
    y = apply("softmax", [[0.3, 2.9, 4.0], [1010, 1000, 990]], backend, dtype)
    np.testing.assert_allclose(y[0], [0.01821127, 0.24519181, 0.73659691], rtol=1e-6)
    np.testing.assert_allclose(y[1], [9.99954600e-01, 4.53978686e-05, 2.06106005e-09], rtol=1e-5)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
