"""One update of each optimizer equals its formula, with the rate of the clock's position, for every option."""

from __future__ import annotations

import numpy as np
import pytest

SHAPES = [(1, 1), (3, 37), (16, 33), (784, 10), (53, 1)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
CLOCK = [2, 1 << 40, 1 << 40]  # the position alone counts


def table(*row):
    """A table of which the clock's row alone is filled."""
    rows = np.full((4, len(row)), np.nan)
    rows[CLOCK[0]] = row
    return rows


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


@shapes
@pytest.mark.parametrize("l1, l2", [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_regularize(run, draw, close, shape, l1, l2):
    weight, gradient = draw(*shape), draw(*shape)
    weight[0, 0] = 0.0
    got = run("regularize", weight=weight, dweight=gradient, l1=l1, l2=l2).dweight
    w, g = wide(weight, gradient)
    close(got, g + l1 * np.sign(w) + 2 * l2 * w)


@shapes
@pytest.mark.parametrize("momentum, nesterov", [(None, 0), (0.9, 0), (0.9, 1), (0.5, 1)])
def test_sgd(run, draw, close, shape, momentum, nesterov):
    weight, gradient = draw(*shape), draw(*shape)
    velocity = None if momentum is None else draw(*shape)
    got = run(
        "sgd_update",
        table=table(0.3), clock=CLOCK, weight=weight, dweight=gradient, velocity=velocity,
        momentum=momentum or 0.0, nesterov=nesterov,
    )  # fmt: skip
    w, g = wide(weight, gradient)
    if velocity is None:
        close(got.weight, w - 0.3 * g)
        return
    v = momentum * velocity.astype(np.float64) - 0.3 * g
    close(got.velocity, v)
    close(got.weight, w + (momentum * v - 0.3 * g if nesterov else v))


@shapes
def test_adagrad(run, draw, close, shape):
    weight, gradient, accumulator = draw(*shape), draw(*shape), draw(*shape) ** 2
    got = run(
        "adagrad_update",
        table=table(0.3), clock=CLOCK, weight=weight, dweight=gradient, accumulator=accumulator, epsilon=0.01,
    )  # fmt: skip
    w, g, a = wide(weight, gradient, accumulator)
    a += g**2
    close(got.accumulator, a)
    close(got.weight, w - 0.3 * g / (np.sqrt(a) + 0.01))


@shapes
@pytest.mark.parametrize("momentum", [None, 0.8])
def test_rmsprop(run, draw, close, shape, momentum):
    weight, gradient, square = draw(*shape), draw(*shape), draw(*shape) ** 2
    velocity = None if momentum is None else draw(*shape)
    got = run(
        "rmsprop_update",
        table=table(0.3), clock=CLOCK, weight=weight, dweight=gradient, mean_square=square, velocity=velocity,
        rho=0.9, momentum=momentum or 0.0, epsilon=0.01,
    )  # fmt: skip
    w, g, s = wide(weight, gradient, square)
    s = 0.9 * s + 0.1 * g**2
    step = g / (np.sqrt(s) + 0.01)
    if velocity is not None:
        step = momentum * velocity.astype(np.float64) + step
        close(got.velocity, step)
    close(got.mean_square, s)
    close(got.weight, w - 0.3 * step)


@shapes
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("t", [1, 10])
def test_adam(run, draw, close, shape, decay, t):
    weight, gradient, m, v = draw(*shape), draw(*shape), draw(*shape), draw(*shape) ** 2
    c_1, c_2 = (1 - 0.9) / (1 - 0.9**t), (1 - 0.999) / (1 - 0.999**t)
    got = run(
        "adam_update",
        table=table(0.3, c_1, c_2), clock=CLOCK, weight=weight, dweight=gradient, m=m, v=v,
        beta_1=0.9, beta_2=0.999, epsilon=0.01, weight_decay=decay,
    )  # fmt: skip
    w, g, m, v = wide(weight, gradient, m, v)
    m, v = 0.9 * m + g, 0.999 * v + g**2
    close(got.m, m)
    close(got.v, v)
    close(got.weight, w - 0.3 * m * c_1 / (np.sqrt(v * c_2) + 0.01) - 0.3 * decay * w)


def test_a_first_step_of_adam_with_no_gradient_moves_nothing(run, dtype):
    """All of m, v and g are 0: only epsilon stands between the update and 0 / 0."""
    zero, weight = np.zeros((3, 5), dtype), np.ones((3, 5), dtype)
    got = run(
        "adam_update",
        table=table(0.3, 1.0, 1.0), clock=CLOCK, weight=weight, dweight=zero, m=zero, v=zero,
        beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0.0,
    )  # fmt: skip
    assert np.array_equal(got.weight, weight)


@pytest.mark.parametrize("name", ["sgd_update", "adagrad_update", "rmsprop_update", "adam_update"])
def test_a_bad_gradient_spoils_its_own_weight_alone(run, draw, name):
    square, betas, epsilon = draw(3, 5) ** 2, {"beta_1": 0.9, "beta_2": 0.999}, 1e-7
    options = {
        "sgd_update": {"velocity": draw(3, 5), "momentum": 0.9, "nesterov": 0},
        "adagrad_update": {"accumulator": square, "epsilon": epsilon},
        "rmsprop_update": {"mean_square": square, "velocity": None, "rho": 0.9, "momentum": 0.0, "epsilon": epsilon},
        "adam_update": {"m": draw(3, 5), "v": square, **betas, "epsilon": epsilon, "weight_decay": 0.0},
    }
    gradient = draw(3, 5)
    gradient[1, 2] = np.nan
    rates = table(0.1, 1.0, 1.0) if name == "adam_update" else table(0.1)
    got = run(name, table=rates, clock=CLOCK, weight=draw(3, 5), dweight=gradient, **options[name])
    assert np.argwhere(np.isnan(got.weight)).tolist() == [[1, 2]]
