"""Code that cannot be captured says so and trains; layers, losses, metrics and optimizers of one's own do, too."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn as fn

DOCS = Path(__file__).resolve().parents[2] / "docs"
rng = np.random.default_rng(9)
X = rng.standard_normal((30, 5))
Y = rng.standard_normal((30, 3))


def train(layers, backend, *, loss="mse", metrics=None, optimizer="sgd", eager=False, epochs=2, dtype="float64"):
    model = fn.Sequential(layers, backend=backend, seed=7, dtype=dtype)
    model.compile(optimizer, loss, metrics, run_eagerly=eager)
    history = model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0).history
    return model, history


class Cube(fn.layers.Layer):
    """y = scale x^3, in NumPy."""

    def build(self, input_shape):
        self.scale = self.add_weight("scale", input_shape, "ones")

    def forward(self, ops, x, training):
        self.x = x
        return self.scale.value * x**3

    def backward(self, ops, dy, needs_dx):
        self.scale.gradient[...] = (dy * self.x**3).sum(axis=0)
        return dy * self.scale.value * 3 * self.x**2


class Forward(Cube):
    """Captured forward, NumPy backward: the identity."""

    def build(self, input_shape):
        self.seen = 0

    def forward(self, ops, x, training):
        return x

    def backward(self, ops, dy, needs_dx):
        self.seen += 1
        return np.multiply(dy, 1.0)


class Half(fn.layers.Layer):
    """y = relu(x W) with the kernels of `ops`, or the same in NumPy."""

    def __init__(self, numpy, units=4):
        super().__init__()
        self.numpy, self.units = numpy, units

    def compute_output_shape(self, input_shape):
        return (self.units,)

    def build(self, input_shape):
        self.weight = self.add_weight("weight", (input_shape[-1], self.units))

    def forward(self, ops, x, training):
        self.x, w = x, self.weight.value
        if self.numpy:
            self.y = np.maximum(x @ w, 0)
            return self.y
        self.y = ops.empty((len(x), self.units))
        ops.dense(x, w, None, self.y)
        ops.activation(self.y, self.y, 4, 0.0)
        return self.y

    def backward(self, ops, dy, needs_dx):
        w, dw = self.weight.value, self.weight.gradient
        if self.numpy:
            dz = dy * (self.y > 0)
            dw[...] = self.x.T @ dz
            return dz @ w.T
        ops.activation_gradient(self.y, self.y, dy, dy, 4, 0.0)
        ops.dense_dweight(self.x, dy, dw)
        dx = ops.empty(self.x.shape)
        ops.dense_dx(dy, w, dx)
        return dx


def test_a_numpy_layer_trains_as_the_same_layer_over_kernels(backend):
    captured_model, losses = train([Half(False), fn.layers.Dense(3)], backend)
    assert captured_model.uncaptured == ""
    with pytest.warns(UserWarning, match=r"layer 'half': __r?matmul__ on a buffer.*runs without capture"):
        model, more = train([Half(True), fn.layers.Dense(3)], backend)
    assert "layer 'half'" in model.uncaptured
    text = []
    model.summary(text.append)
    assert "Runs without capture: layer 'half'" in text[0]
    for a, b in zip(model.get_weights(), captured_model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    np.testing.assert_allclose(more["loss"], losses["loss"], rtol=1e-10)


def test_a_layer_that_only_goes_back_in_numpy(backend):
    with pytest.warns(UserWarning, match="layer 'forward'"):
        model, _ = train([fn.layers.Dense(4), Forward(), fn.layers.Dense(3)], backend)
    plain, _ = train([fn.layers.Dense(4), fn.layers.Activation("linear"), fn.layers.Dense(3)], backend)
    assert model.layers[1].seen == 2 * 4 + 2  # the steps, and the attempts to capture
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_warns_once_and_not_at_all_when_eager_is_asked_for(backend):
    with pytest.warns(UserWarning, match="layer 'cube'") as warned:
        model, _ = train([Cube(), fn.layers.Dense(3)], backend)
    assert len(warned) == 1
    model.fit(X[:11], Y[:11], batch_size=5, verbose=0, validation_split=0.3)
    model.predict(X)
    eager, _ = train([Cube(), fn.layers.Dense(3)], backend, eager=True)
    assert not eager.uncaptured
    model.compile("sgd", "mse")
    assert model.uncaptured == ""
    with pytest.warns(UserWarning, match="layer 'cube'"):
        model.fit(X, Y, verbose=0)


def test_what_a_numpy_layer_returns_becomes_what_kernels_take(backend):
    class Careless(fn.layers.Layer):
        def forward(self, ops, x, training):
            return np.asfortranarray(x.astype(np.float64)[:, ::-1])

        def backward(self, ops, dy, needs_dx):
            return dy.astype(np.float64)[:, ::-1]

    model, _ = train([fn.layers.Dense(4), Careless(), fn.layers.Dense(3)], backend, eager=True, dtype="float32")
    assert model.predict(X).dtype == np.float32


def test_weights_computed_from_weights_are_not_frozen(backend):
    """A layer that reads a parameter with NumPy must not be captured: its value changes in every step."""

    class Normalized(Half):
        def forward(self, ops, x, training):
            w = self.weight.value / np.sqrt((self.weight.value**2).sum())
            self.x, self.y = x, ops.empty((len(x), self.units))
            ops.dense(x, np.ascontiguousarray(w), None, self.y)
            return self.y

    with pytest.warns(UserWarning, match="layer 'normalized'"):
        train([Normalized(False), fn.layers.Dense(3)], backend)


def test_an_optimizer_in_numpy_trains(backend):
    class Plain(fn.optimizers.SGD):
        def update(self, ops, parameter, slots, table):
            parameter.value[...] -= 0.05 * parameter.gradient

    with pytest.warns(UserWarning, match="optimizer Plain"):
        model, _ = train([fn.layers.Dense(3)], backend, optimizer=Plain())
    wanted, _ = train([fn.layers.Dense(3)], backend, optimizer=fn.optimizers.SGD(0.05))
    for a, b in zip(model.get_weights(), wanted.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("which", ["forward", "backward"])
def test_a_layer_that_returns_another_shape_is_told(backend, which):
    class Odd(fn.layers.Layer):
        def forward(self, ops, x, training):
            return ops.empty((len(x), 9)) if which == "forward" else x

        def backward(self, ops, dy, needs_dx):
            return ops.empty((len(dy), 9))

    words = rf"{which} of layer 'odd' must return an array of shape \(N, 4\), got \(8, 9\)"
    with pytest.raises(ValueError, match=words):
        train([fn.layers.Dense(4), Odd(), fn.layers.Dense(3)], backend)


def test_a_constant_given_back_is_not_captured(backend):
    class Noise(fn.layers.Layer):
        def forward(self, ops, x, training):
            return np.random.default_rng(0).standard_normal((len(x), 5)).astype(np.float64)

    with pytest.warns(UserWarning, match="layer 'noise': ndarray given back under capture"):
        train([Noise(), fn.layers.Dense(3)], backend)


# --- losses and metrics of one's own ---


class LogCosh(fn.losses.Loss):
    """mean_f log cosh(y - target), in NumPy."""

    def compute(self, ops, y, target, values, dy, scale):
        values[...] = np.log(np.cosh(y - target)).mean(axis=1)
        if dy is not None:
            dy[...] = scale / y.shape[1] * np.tanh(y - target)


class Squared(fn.losses.Loss):
    """The squared error, by its kernel."""

    def compute(self, ops, y, target, values, dy, scale):
        ops.squared_error(y, target, values, dy, scale)


def test_a_loss_of_ones_own(backend):
    with pytest.warns(UserWarning, match="loss LogCosh"):
        _, history = train([fn.layers.Dense(3)], backend, loss=LogCosh(), epochs=5)
    assert history["loss"][-1] < history["loss"][0]
    model, losses = train([fn.layers.Dense(3)], backend, loss=Squared)
    assert model.uncaptured == ""
    assert losses == train([fn.layers.Dense(3)], backend)[1]


def test_a_metric_of_ones_own(backend):
    def largest(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=1)

    class Largest(fn.metrics.Metric):
        name = "huber"

        def compute(self, ops, y, target, values):
            ops.huber(y, target, values, None, 1.0, 1e9)

    with pytest.warns(UserWarning, match="metric 'largest'"):
        model, history = train([fn.layers.Dense(3)], backend, metrics=[largest, "mae"])
    assert list(history) == ["loss", "largest", "mae"]
    wanted = largest(Y, model.predict(X)).mean()
    assert model.evaluate(X, Y, return_dict=True)["largest"] == pytest.approx(wanted)
    model, _ = train([fn.layers.Dense(3)], backend, metrics=[Largest()])
    assert model.uncaptured == ""
    assert model.evaluate(X, Y)[1] == pytest.approx(model.evaluate(X, Y)[0] / 2)


@pytest.mark.parametrize("name", ["own_layer_and_loss", "own_kernel"])
def test_the_page_about_it_runs(backend, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    page = DOCS / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) > 8
    names: dict = {"__name__": "page"}
    for block in blocks:
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block.group(1), str(page), "exec"), names)


def test_one_thread_at_a_time_runs_the_layers_that_models_share():
    """They keep on themselves what backward needs: a step that is captured must not find what another thread kept."""
    inside, seen = [], []

    class Slow(fn.layers.Layer):
        def forward(self, ops, x, training):
            inside.append(1)
            time.sleep(0.01)
            seen.append(len(inside))
            inside.pop()
            return x

        def backward(self, ops, dy, needs_dx):
            return dy

    shared = Slow(input_shape=(3,))
    x = np.ones((4, 3), np.float32)

    def use():
        model = fn.Sequential([shared, fn.layers.Dense(2)], backend="numpy")
        model.compile("sgd", "mse")
        model(x)
        model.predict(x)
        model.fit(x, x[:, :2], verbose=0)

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(30)
    assert seen == [1] * 12
