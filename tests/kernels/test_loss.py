"""Losses equal their formulas, with gradient and without, and stay right where a plain exp or log would not."""

from __future__ import annotations

import numpy as np
import pytest

# 1100 is more than a kernel keeps on the stack.
SHAPES = [(1, 1), (3, 37), (3, 1100), (14, 32), (15, 31), (16, 33), (17, 2), (100, 10), (450, 2)]
SCALE = 1 / 7
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
LOGITS_LOSSES = ["softmax_crossentropy_sparse", "softmax_crossentropy", "sigmoid_crossentropy"]
CROSSENTROPIES = ["sparse_crossentropy", "categorical_crossentropy", "binary_crossentropy"]  # from probabilities
ERRORS = ["squared_error", "absolute_error", "huber"]


def softmax(z):
    return np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))


def logistic(z):
    return np.exp(-np.logaddexp(0, -z))


def from_logits(name, z, t):
    """Value per row, probabilities and derivative of the value, in float64; t one-hot where labels are integers."""
    if name == "sigmoid_crossentropy":
        value = (t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)).mean(axis=1)
        return value, logistic(z), (logistic(z) - t) / z.shape[1]
    value = (t * (np.logaddexp.reduce(z, axis=1, keepdims=True) - z)).sum(axis=1)
    return value, softmax(z), softmax(z) * t.sum(axis=1, keepdims=True) - t


def from_predictions(name, y, t, delta=0.5):
    """Value per row and its derivative, in float64, for probabilities inside the clipping limits."""
    width, e = y.shape[1], y - t
    if name in ("categorical_crossentropy", "sparse_crossentropy"):
        return -(t * np.log(y)).sum(axis=1), -t / y
    if name == "binary_crossentropy":
        return -(t * np.log(y) + (1 - t) * np.log(1 - y)).mean(axis=1), ((1 - t) / (1 - y) - t / y) / width
    if name == "squared_error":
        return (e**2).mean(axis=1), 2 * e / width
    if name == "absolute_error":
        return np.abs(e).mean(axis=1), np.sign(e) / width
    near = np.abs(e) <= delta
    value = np.where(near, e**2 / 2, delta * np.abs(e) - delta**2 / 2).mean(axis=1)
    return value, np.where(near, e, delta * np.sign(e)) / width


def targets(name, shape, dtype):
    """What the kernel takes, and the same as float64 rows."""
    rng = np.random.default_rng(6)
    if "sparse" in name:
        labels = rng.integers(0, shape[1], shape[0])
        return {"labels": labels}, np.eye(shape[1])[labels]
    target = rng.uniform(0, 1, shape).astype(dtype)
    return {"target": target}, target.astype(np.float64)


def extra(name):
    return {"scale": SCALE} | ({"delta": 0.5} if name == "huber" else {})


@shapes
@pytest.mark.parametrize("name", LOGITS_LOSSES)
def test_from_logits(run, draw, close, dtype, shape, name):
    z = 3 * draw(*shape)
    given, t = targets(name, shape, dtype)
    value, probabilities, derivative = from_logits(name, z.astype(np.float64), t)
    got = run(name, z=z, **given, y=shape, loss=shape[:1], dz=shape, **extra(name))
    close(got.y, probabilities)
    close(got.loss, value)
    close(got.dz, derivative * SCALE, absolute=SCALE)
    without = run(name, z=z, **given, y=shape, loss=shape[:1], dz=None, **extra(name))
    assert without.loss.tobytes() == got.loss.tobytes()
    assert without.y.tobytes() == got.y.tobytes()


@shapes
@pytest.mark.parametrize("name", CROSSENTROPIES + ERRORS)
def test_from_predictions(run, close, dtype, shape, name):
    rng = np.random.default_rng(8)
    y = rng.uniform(0.05, 0.95, shape).astype(dtype)
    if name in ERRORS:
        y = (3 * y).astype(dtype)
    given, t = targets(name, shape, dtype)
    value, derivative = from_predictions(name, y.astype(np.float64), t)
    got = run(name, y=y, **given, loss=shape[:1], dy=shape, **extra(name))
    close(got.loss, value)
    close(got.dy, derivative * SCALE)
    without = run(name, y=y, **given, loss=shape[:1], dy=None, **extra(name))
    assert without.loss.tobytes() == got.loss.tobytes()


@pytest.mark.parametrize("name", LOGITS_LOSSES)
def test_large_logits(run, close, dtype, name):
    """A confident wrong answer costs its distance; a confident right one nothing; nothing overflows."""
    z = np.array([[1000, -1000], [-1000, 1000], [1000, 1000], [-1000, -1000], [0, 1000]], dtype)
    t = np.array([[1.0, 0.0]] * 5)
    given = {"labels": np.zeros(5, np.int64)} if "sparse" in name else {"target": t}
    got = run(name, z=z, **given, y=z.shape, loss=(5,), dz=z.shape, scale=1.0)
    if name == "sigmoid_crossentropy":
        expected = [0, 1000, 500, 500, 500 + np.log(2) / 2]
    else:
        expected = [0, 2000, np.log(2), np.log(2), 1000]
    close(got.loss, expected)
    _, y, dz = from_logits(name, z.astype(np.float64), t)
    close(got.y, y, absolute=1)
    close(got.dz, dz, absolute=1)
    with np.errstate(all="ignore"):
        wide = np.exp(z.astype(np.float64))
        naive = -np.log((wide / wide.sum(axis=1, keepdims=True))[:, 0])
    assert not np.isfinite(naive[:2]).all(), "these logits would not show a naive formula"


@pytest.mark.parametrize("name", ["softmax_crossentropy_sparse", "softmax_crossentropy"])
@pytest.mark.parametrize("width, times", [(2, 1), (15, 1), (16, 1), (33, 1), (40, 1), (2, 16)])
def test_the_largest_logit_counts_wherever_it_stands(run, dtype, name, width, times):
    labels, rows = np.tile(np.roll(np.arange(width), 1), times), np.tile(np.eye(width), (times, 1))
    z = (1000 * rows).astype(dtype)
    given = {"labels": labels} if "sparse" in name else {"target": np.eye(width)[labels]}
    got = run(name, z=z, **given, y=z.shape, loss=(len(z),), dz=z.shape, scale=1.0)
    assert np.array_equal(got.loss, np.full(len(z), 1000))
    assert np.array_equal(got.y, rows)
    assert np.array_equal(got.dz, rows - np.eye(width)[labels])


@pytest.mark.parametrize("name", ["softmax_crossentropy_sparse", "softmax_crossentropy"])
def test_a_shift_of_all_logits_changes_nothing(run, dtype, name):
    z = np.round(8 * np.random.default_rng(5).standard_normal((16, 33))).astype(dtype) / 8
    given, _ = targets(name, z.shape, dtype)
    shift = dtype.type(1000)  # exact in both dtypes
    one, other = (run(name, z=v, **given, y=z.shape, loss=(16,), dz=z.shape, scale=1.0) for v in (z, z + shift))
    assert all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in ("y", "loss", "dz"))


def test_a_saturated_neuron_keeps_its_gradient(run, close, dtype):
    """The logistic neuron of the lessons has logits in the hundreds; a clipped probability would stop its learning."""
    z, target = np.array([[-500.0], [500.0]], dtype), np.array([[1.0], [0.0]], dtype)
    got = run("sigmoid_crossentropy", z=z, target=target, y=(2, 1), loss=(2,), dz=(2, 1), scale=1.0)
    close(got.dz, [[-1], [1]])


@pytest.mark.parametrize("name", CROSSENTROPIES)
def test_probabilities_are_kept_from_0_and_1(run, dtype, name):
    """At and beyond 1e-7 from the ends the value stays finite and the gradient is 0, as in Keras."""
    y = np.array([[0.0, 1.0], [1.0, 0.0], [1e-9, 0.5]], dtype)
    target = np.array([[1.0, 0.0]] * 3, dtype)
    given = {"labels": np.zeros(3, np.int64)} if "sparse" in name else {"target": target}
    got = run(name, y=y, **given, loss=(3,), dy=y.shape, scale=1.0)
    far = -np.log(1e-7)
    half = np.log(2) / 2 if "binary" in name else 0
    near = -np.log(1 - dtype.type(1e-7))
    expected = [far, near, (far / 2 if "binary" in name else far) + half]
    np.testing.assert_allclose(got.loss, expected, rtol=1e-2 if dtype == np.float32 else 1e-9, atol=1e-7)
    assert np.array_equal(got.dy, [[0, 0], [0, 0], [0, 1 if "binary" in name else 0]])


@pytest.mark.parametrize("name", CROSSENTROPIES)
def test_where_clipping_begins(run, dtype, name):
    low, high = dtype.type(1e-7), dtype.type(1 - 1e-7)
    y = np.array([[low, high], [np.nextafter(low, high), np.nextafter(high, low)]], dtype)
    for label in (0, 1):
        target = np.eye(2)[[label, label]]
        given = {"labels": np.full(2, label)} if "sparse" in name else {"target": target}
        dy = run(name, y=y, **given, loss=(2,), dy=(2, 2), scale=1.0).dy
        assert np.array_equal(dy[0], [0, 0])
        assert dy[1, label] < -0.1


# An infinite probability is clipped to the largest there is.
BAD = [(n, bad) for n in LOGITS_LOSSES + ERRORS for bad in (np.nan, np.inf, -np.inf)]


@pytest.mark.parametrize("name, bad", [*BAD, *((name, np.nan) for name in CROSSENTROPIES)])
@pytest.mark.parametrize("width", [4, 33])
def test_a_bad_prediction_shows_in_its_own_row(run, dtype, name, bad, width):
    """The step is stopped by the value, so the value must be NaN or infinite; neighbours keep theirs."""
    rng = np.random.default_rng(9)
    given, _ = targets(name, (3, width), dtype)
    spoilt = rng.uniform(0.1, 0.9, (3, width)).astype(dtype)
    spoilt[1, given["labels"][1] if "labels" in given else width - 2] = bad
    arrays = {"z": spoilt, "y": (3, width), "dz": None} if name in LOGITS_LOSSES else {"y": spoilt, "dy": None}
    with np.errstate(invalid="ignore"):
        loss = run(name, **arrays, **given, loss=(3,), **extra(name)).loss
    assert not np.isfinite(loss[1])
    assert np.isfinite(loss[[0, 2]]).all()


def test_absolute_error_has_no_slope_where_it_is_zero(run, draw):
    y = draw(3, 4)
    got = run("absolute_error", y=y, target=y, loss=(3,), dy=(3, 4), scale=1.0)
    assert np.array_equal(got.dy, np.zeros((3, 4)))
    assert np.array_equal(got.loss, np.zeros(3))


def test_huber_is_continuous_at_delta(run, close, dtype):
    delta = 0.75  # exact in binary
    y, target = np.array([[delta, -delta, 2.0, -2.0]], dtype), np.zeros((1, 4), dtype)
    got = run("huber", y=y, target=target, loss=(1,), dy=(1, 4), scale=4.0, delta=delta)
    close(got.loss, [(2 * delta**2 / 2 + 2 * (2 * delta - delta**2 / 2)) / 4])
    close(got.dy, [[delta, -delta, delta, -delta]])


@shapes
def test_smooth(run, draw, close, shape):
    target = draw(*shape)
    got = run("smooth", target=target, out=shape, keep=0.75, rest=0.125)
    close(got.out, 0.75 * target.astype(np.float64) + 0.125)
