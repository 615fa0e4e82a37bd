"""A kernel of one's own: on every backend, captured where it has a native version, by its reference elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels.contract import KERNELS
from fastnn.kernels.register import register, unregister

LINE = "scaled_cube x[N,F] -> y[N,F] ; factor:float ; split rows y"
GRADIENT = "scaled_cube_gradient x[N,F] dy[N,F] -> dx[N,F] ; factor:float ; split rows dx"


def scaled_cube(x, y, factor):
    np.multiply(factor * x * x, x, out=y)


def scaled_cube_gradient(x, dy, dx, factor):
    np.multiply(3 * factor * x * x, dy, out=dx)


def native_cube(x, y, factor, start, stop):
    for n in range(start, stop):
        for f in range(x.shape[1]):
            y[n, f] = factor * x[n, f] * x[n, f] * x[n, f]


def native_cube_gradient(x, dy, dx, factor, start, stop):
    three = x.dtype.type(3)
    for n in range(start, stop):
        for f in range(x.shape[1]):
            dx[n, f] = three * factor * x[n, f] * x[n, f] * dy[n, f]


CUDA = """
extern "C" __global__ void scaled_cube(const REAL* x, REAL* y, REAL factor, int64 N, int64 F) {
    int64 i = element();
    if (i < N * F) y[i] = factor * x[i] * x[i] * x[i];
}
"""
CUDA_GRADIENT = """
extern "C" __global__ void scaled_cube_gradient(const REAL* x, const REAL* dy, REAL* dx, REAL factor,
                                                int64 N, int64 F) {
    int64 i = element();
    if (i < N * F) dx[i] = 3 * factor * x[i] * x[i] * dy[i];
}
"""


@pytest.fixture(params=[True, False], ids=["native", "reference only"])
def native(request):
    if request.param:
        register(LINE, scaled_cube, native_cube, CUDA)
        register(GRADIENT, scaled_cube_gradient, native_cube_gradient, CUDA_GRADIENT)
    else:
        register(LINE, scaled_cube)
        register(GRADIENT, scaled_cube_gradient)
    yield request.param
    unregister("scaled_cube")
    unregister("scaled_cube_gradient")


class Cube(fn.layers.Layer):
    def forward(self, ops, x, training):
        self.x, y = x, ops.empty(x.shape)
        ops.scaled_cube(x, y, 0.25)
        return y

    def backward(self, ops, dy, needs_dx):
        dx = ops.empty(dy.shape)
        ops.scaled_cube_gradient(self.x, dy, dx, 0.25)
        return dx


def trained(backend):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 5)), rng.standard_normal((64, 2))
    layers = [fn.layers.Dense(7, "tanh", input_shape=(5,)), Cube(), fn.layers.Dense(2)]
    model = fn.Sequential(layers, backend=backend, seed=1, dtype="float64")
    model.compile("adam", "mse")
    model.fit(x, y, epochs=3, batch_size=16, verbose=0)
    return model


def test_gradients(backend, native):
    assert fn.testing.check_gradients(Cube(), (5,), backend=backend) < 1e-6


def test_a_model_trains_with_it(backend, native):
    if backend != "numpy" and not native:
        with pytest.warns(UserWarning, match="layer 'cube': kernel scaled_cube has no (native version|CUDA text)"):
            model = trained(backend)
        assert model.uncaptured
    else:
        model = trained(backend)
        assert not model.uncaptured
    if native:
        for a, b in zip(model.get_weights(), trained("numpy").get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_kernel_that_was_registered_anew_is_the_one_that_runs(monkeypatch):
    """Small steps on one thread become one function, which is kept: not for a kernel that is another one by now."""
    pytest.importorskip("numba")
    monkeypatch.setattr("fastnn.kernels.threads.choices", lambda: [1])

    def native_twice(x, y, factor, start, stop):
        for n in range(start, stop):
            for f in range(x.shape[1]):
                y[n, f] = x[n, f] + x[n, f]

    results = []
    for body in (native_cube, native_twice, native_cube):
        register(LINE, scaled_cube, body)
        register(GRADIENT, scaled_cube_gradient, native_cube_gradient)
        try:
            model = fn.Sequential([fn.layers.Dense(3, input_shape=(5,)), Cube()], backend="numba", seed=1)
            model.compile("sgd", "mse")
            model.warmup(16)
            x = np.random.default_rng(0).standard_normal((64, 5))
            results.append(model.fit(x, x[:, :3], batch_size=16, verbose=0).history["loss"][0])
        finally:
            unregister("scaled_cube")
            unregister("scaled_cube_gradient")
    assert results[0] == results[2] != results[1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="'dense' is in the table already"):
        register("dense x[N,F] -> y[N,F] ; split rows y", scaled_cube)
    with pytest.raises(TypeError, match="numpy must be a function of x, y, factor; got x, y"):
        register(LINE, lambda x, y: None)
    with pytest.raises(ValueError, match="cannot read the argument"):
        register("odd x -> y[N] ; split rows y", scaled_cube)
    assert "scaled_cube" not in KERNELS


@pytest.mark.parametrize("name", ["dense", "scaled_cub", 3])
def test_only_a_kernel_of_ones_own_is_taken_out(name):
    with pytest.raises(ValueError, match=f"name must be that of a kernel you registered, got {name!r}"):
        unregister(name)
    assert "dense" in KERNELS


def test_cuda_text_with_other_arguments_leaves_nothing_behind():
    text = 'extern "C" __global__ void scaled_cube(const REAL* x, REAL* y, REAL factor, int64 N) {}'
    with pytest.raises(TypeError, match=r"cupy must define .*REAL factor, int64 N, int64 F\); got .*int64 N\)"):
        register(LINE, scaled_cube, cupy=text)
    assert "scaled_cube" not in KERNELS


def test_a_native_version_with_other_arguments_leaves_nothing_behind():
    pytest.importorskip("numba")
    with pytest.raises(TypeError, match="native kernel scaled_cube"):
        register(LINE, scaled_cube, scaled_cube)
    assert "scaled_cube" not in KERNELS
