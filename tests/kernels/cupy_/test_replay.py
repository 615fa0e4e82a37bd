"""Programs as CUDA graphs: few launches, one wait for a run of steps, nothing allocated, the same bits however run."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import simulated_cupy

import fastnn as fn
from fastnn import backends
from fastnn.capture import Port, Recorder
from fastnn.kernels.cupy_ import device
from fastnn.kernels.cupy_.replay import TOGETHER
from fastnn.program import Program

pytestmark = pytest.mark.skipif(not simulated_cupy.in_force(), reason="what is counted is the simulated device's")

rng = np.random.default_rng(2)
ROWS = 70 * 4 + 3
X, Y = rng.standard_normal((ROWS, 5)), rng.integers(0, 3, ROWS)


def network(backend="cupy", *, seed=4, optimizer="adam", eager=False, metrics=("accuracy",)):
    layers = [
        fn.layers.Dense(9, "relu", input_shape=(5,), kernel_regularizer="l2"),
        fn.layers.Dropout(0.2),
        fn.layers.Dense(3, "softmax"),
    ]
    model = fn.Sequential(layers, backend=backend, seed=seed)
    model.compile(optimizer, "sparse_categorical_crossentropy", list(metrics), run_eagerly=eager)
    return model


def state(model):
    kept = [slot for slots in model.optimizer.slots for slot in slots if slot is not None]
    return [array.tobytes() for array in model.get_weights() + kept]


def step_of(model, rows=4):
    """A training step whose feed is loaded, as `fit` leaves it at the beginning of an epoch."""
    from fastnn import passes
    from fastnn.checks import as_pair

    x, y = as_pair(model, X, Y)
    model.prepare_training()
    passes.load(model, "train", x, y, 70, np.arange(ROWS))
    step = model.steps.get("train", rows, True)
    step.refresh()
    return step


def test_a_run_of_steps_is_few_graphs_and_one_wait():
    step = step_of(network())
    assert step.run(1) == 1  # kernel by kernel
    kernels = len(step.replay.launches) + 1
    with simulated_cupy.counting() as first:
        assert step.run(2 * TOGETHER + 3) == 2 * TOGETHER + 3
    assert first["launches"] + first["products"] == (2 * TOGETHER + 1) * kernels  # written down, once in each graph
    assert first["graph launches"] == 2 + 3
    with simulated_cupy.counting() as later:
        assert step.run(TOGETHER) == TOGETHER
    assert (later["launches"], later["products"], later["graph launches"], later["synchronisations"]) == (0, 0, 1, 1)
    assert later["allocations"] == 0
    assert later["copies to host"] == 2  # clock and fault, and the ring's rows
    assert step.feed.clock.tolist() == [36 + TOGETHER, 36 + TOGETHER, 4 * (36 + TOGETHER)]
    assert step.feed.ring.array[: 36 + TOGETHER, 0].all()
    assert not step.feed.ring.array[36 + TOGETHER :].any()


def test_updates_are_one_launch():
    model = network()
    step = step_of(model)
    names = [launch.kernel.name for launch in step.replay.launches]
    assert names.count("adam_update") == 1
    assert [names.count(name) for name in ("dense", "dense_dx", "dense_dweight")] == [2, 1, 2]


def test_the_next_epochs_capture_nothing():
    model = network()
    with simulated_cupy.counting() as seen:
        model.fit(X, Y, batch_size=4, epochs=8, verbose=0)
    assert seen["graph launches"] >= 8 * (70 // TOGETHER)
    assert seen["products"] <= 5 * (1 + 2 * TOGETHER + 2) + 5 * 2 + 5  # once step by step, in four graphs, and the rest


@pytest.mark.parametrize("how", ["eager", "slices", "one by one"])
def test_bits_do_not_depend_on_how_steps_are_run(how, monkeypatch):
    wanted, other = network(), network(eager=how == "eager")
    wanted.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    if how == "slices":
        sizes = [1, 5, 40, 24]
        monkeypatch.setattr(fn.passes, "slices", lambda step, count, _: iter(sizes if count == sum(sizes) else [count]))
    watch = fn.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    other.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[watch] if how == "one by one" else None)
    assert state(other) == state(wanted)
    assert other.history.history == wanted.history.history


def test_weights_cross_only_when_asked_for():
    model = network()
    step = step_of(model)
    step.run(3)
    with simulated_cupy.counting() as seen:
        step.run(3)
    assert seen["copies to host"] == 2
    with simulated_cupy.counting() as seen:
        model.get_weights()
        model.get_weights()
    assert seen["copies to host"] == 1
    before = model.get_weights()
    model.layers[0].kernel.value[...] = 0.5  # from now on the host's are the newest
    step.run(1)
    after = model.get_weights()
    assert np.abs(after[0] - 0.5).max() < 0.1
    assert np.abs(before[2] - after[2]).max() < 0.1


def test_a_fault_stops_at_its_step():
    model, other = network(), network()
    spoiled = X.copy()
    spoiled[4 * 20 + 1, 2] = np.nan
    with pytest.raises(fn.NonFiniteError, match=rf"row {4 * 20 + 1} \(at step 21 of epoch 1\)"):
        model.fit(spoiled, Y, batch_size=4, verbose=0, shuffle=False)
    other.fit(X[:80], Y[:80], batch_size=4, verbose=0, shuffle=False)
    assert state(model) == state(other)
    assert model.optimizer.iterations == 20


def test_the_keyboard_interrupts_between_graphs(monkeypatch):
    import cupy

    model = network()
    step = step_of(model)
    step.run(1)
    launch, count = cupy.cuda.Graph.launch, 0

    def interrupted(self, stream=None):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        launch(self, stream)

    monkeypatch.setattr(cupy.cuda.Graph, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step.run(50)
    assert step.feed.clock.tolist() == [1 + 2 * TOGETHER] * 2 + [4 * (1 + 2 * TOGETHER)]
    monkeypatch.undo()
    other = step_of(network())
    other.run(1 + 2 * TOGETHER)
    assert state(model) == state(other.model)


def test_the_keyboard_interrupts_while_the_host_waits(monkeypatch):
    model = network()
    step = step_of(model)
    wait, calls = device.Fetch.wait, []

    def interrupted(self):
        calls.append(self)
        if len(calls) == 1:
            raise KeyboardInterrupt
        wait(self)

    monkeypatch.setattr(device.Fetch, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step.run(20)
    assert len(calls) == 2
    assert step.feed.clock.tolist() == [20, 20, 80]
    other = step_of(network())
    other.run(20)
    assert state(model) == state(other.model)


def test_an_allocation_in_a_step_is_an_error():
    import cupy

    replay = step_of(network()).replay
    replay.run(1)
    replay._calls.insert(3, lambda: cupy.empty(3))
    with pytest.raises(RuntimeError, match="bytes were allocated while a graph was captured"):
        replay.run(2)
    del replay._calls[3]
    assert replay.run(2) == 2  # the capture was ended
    assert gc.isenabled()


def test_a_wait_in_a_step_is_an_error():
    replay = step_of(network()).replay
    replay.run(1)
    replay._calls.insert(3, lambda: replay._control.get())
    with pytest.raises(RuntimeError, match="captur"):
        replay.run(2)


def test_what_the_program_only_reads_is_brought_for_each_pass():
    factor, out = np.full((2, 2), 3.0), np.zeros((4, 2))
    data, clock = Port("x", np.ones((4, 2))), np.zeros(3, np.int64)
    ops = Recorder(backends.get("cupy"), np.float64, clock, np.zeros(1, np.int64))
    x, z = ops.empty((2, 2)), ops.empty((2, 2))
    ops.gather(data, None, ops.clock, x)
    ops.dense(x, factor, None, z)
    ops.scatter(z, ops.clock, Port("out", out))
    replay = backends.get("cupy").replay(Program(ops.launches, 2, clock, np.zeros(1, np.int64)))
    for value in (3.0, 5.0):
        factor[...] = value
        clock[:] = 0
        replay.refresh()
        assert replay.run(2) == 2
        assert (out == 2 * value).all()


def test_models_share_layers_and_leave_the_device():
    first = network()
    second = fn.Sequential([first.layers[0], fn.layers.Dense(2)], backend="cupy", seed=5)
    second.compile("sgd", "mse")
    first.fit(X, Y, batch_size=4, verbose=0)
    second.fit(X, np.ones((ROWS, 2)), verbose=0)
    weights = first.get_weights()
    np.testing.assert_array_equal(weights[0], second.get_weights()[0])
    first.to("numpy")
    assert all(block.twin is None for block in first.blocks())
    for a, b in zip(weights, first.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    second.fit(X, np.ones((ROWS, 2)), verbose=0)  # its graphs do not use the memory that was given back
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
    assert not np.array_equal(weights[0], second.get_weights()[0])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_model_moves_to_the_device_and_back_in_the_middle(backend):
    stays, moves = network(backend), network(backend)
    for epoch in range(4):
        moves.to(("cupy", backend)[epoch % 2])
        for model in (stays, moves):
            model.fit(X, Y, batch_size=4, epochs=epoch + 1, initial_epoch=epoch, verbose=0)
    for a, b in zip(stays.get_weights(), moves.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert stays.optimizer.iterations == moves.optimizer.iterations


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_layer_may_be_trained_here_and_there(backend):
    found = []
    for looks in (False, True):
        first = network()
        second = fn.Sequential([first.layers[0], fn.layers.Dense(2)], backend=backend, seed=5)
        second.compile("sgd", "mse")
        for _ in range(2):
            for model, y in ((first, Y), (second, np.ones((ROWS, 2)))):
                model.fit(X, y, batch_size=100, verbose=0)
                if looks:
                    first.get_weights()
        np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
        found.append([w.tobytes() for w in first.get_weights() + second.get_weights()])
    assert found[0] == found[1]


def test_tf32_is_taken_up_by_programs_that_are_there():
    model = network()
    exact = model.predict(X)
    fn.use_tf32()
    try:
        rounded = model.predict(X)
        assert 1e-5 < np.abs(rounded - exact).max() < 1e-2
        wide = fn.Sequential(network().layers, backend="cupy")
        assert np.array_equal(wide.predict(X), rounded)
    finally:
        fn.use_tf32(False)
    assert np.array_equal(model.predict(X), exact)
    with pytest.raises(TypeError, match="on must be True or False, got 'yes'"):
        fn.use_tf32("yes")
