"""Updates of neighbouring parameters are one launch, with the same bits; what is not alike or not near stays apart."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn as fn
from fastnn import backends
from fastnn.capture import Port, Recorder
from fastnn.memory import Block, aligned
from fastnn.peephole import joined
from fastnn.program import Program

SHAPES = [(5, 7), (7,), (16, 2), (1,), (3, 3)]  # of 35, 7, 32, 1 and 9 elements: with and without a gap behind them
CLOCK, FAULT = np.zeros(3, np.int64), np.zeros(1, np.int64)
TABLE = Port("table", np.array([[0.1, 2.0, 3.0]]))


def blocks(count):
    return [Block(SHAPES, np.float64) for _ in range(count)]


def adam(ops, *arrays, epsilon=1e-7):
    ops.adam_update(TABLE, ops.clock, *arrays, 0.9, 0.999, epsilon, 0.0)


def recorded(pieces, epsilons=None):
    ops = Recorder(backends.get("numpy"), np.float64, CLOCK, FAULT)
    for i, arrays in enumerate(pieces):
        adam(ops, *arrays, epsilon=epsilons[i] if epsilons else 1e-7)
    return ops.launches


def sizes(launches):
    return [launch.args[2].size for launch in joined(launches)]


def test_neighbours_become_one_launch():
    kept = blocks(4)
    pieces = list(zip(*(block.arrays for block in kept), strict=True))
    (one,) = joined(recorded(pieces))
    assert [one.args[i].size for i in range(2, 6)] == [40 + 8 + 32 + 8 + 9] * 4
    assert one.args[0] is TABLE
    assert one.args[6:] == [0.9, 0.999, 1e-7, 0.0]


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adam"])
def test_the_bits_are_the_same_and_zeros_between_stay_zeros(name, monkeypatch):
    optimizer = fn.optimizers.get(name)
    columns = max(optimizer.columns, 1)
    table = Port("table", np.array([[0.1, 2.0, 3.0][:columns]]))
    draw = np.random.default_rng(3)
    values = [[draw.standard_normal(shape) for shape in SHAPES] for _ in range(2)]
    got = []
    for apart in (False, True):
        slots = [None if slot is None else Block(SHAPES, np.float64) for slot in optimizer.slot_names()]
        weight, gradient = blocks(2)
        ops = Recorder(backends.get("numpy"), np.float64, CLOCK.copy(), FAULT.copy())
        for i in range(len(SHAPES)):
            weight.arrays[i][...], gradient.arrays[i][...] = values[0][i], values[1][i]
            kept = [None if slot is None else slot.arrays[i] for slot in slots]
            getattr(ops, optimizer.kernel)(
                table, ops.clock, weight.arrays[i], gradient.arrays[i], *kept, *optimizer.scalars()
            )
        program = Program(ops.launches, 1, CLOCK.copy(), FAULT.copy())
        with monkeypatch.context() as patch:
            if apart:
                patch.setattr("fastnn.kernels.numpy_.backend.joined", list)
            replay = backends.get("numpy").replay(program)
        assert len(replay.calls) == (len(SHAPES) if apart else 1)
        assert replay.run(1) == 1
        for block in [weight, *(slot for slot in slots if slot is not None)]:
            inside = np.concatenate([array.ravel() for array in block.arrays])
            assert np.count_nonzero(block.flat) == np.count_nonzero(inside) == 84
        got.append([b.flat.tobytes() for b in [weight, *slots] if b is not None])
    assert got[0] == got[1]


def test_what_lies_elsewhere_or_is_not_alike_stays_apart():
    weight, gradient, m, v = blocks(4)
    pieces = list(zip(weight.arrays, gradient.arrays, m.arrays, v.arrays, strict=True))
    assert sizes(recorded([pieces[0], pieces[2], pieces[3]])) == [35, 33]
    assert sizes(recorded([pieces[1], pieces[0]])) == [7, 35]
    assert sizes(recorded(pieces[:3], epsilons=[1e-7, 1e-7, 1e-3])) == [47, 32]
    other = Block(SHAPES, np.float64)
    mixed = [pieces[0], (*pieces[1][:3], other.arrays[1])]
    assert sizes(recorded(mixed)) == [35, 7]
    alone = [tuple(aligned(shape, np.float64) for _ in range(4)) for shape in SHAPES]
    assert sizes(recorded(alone)) == [35, 7, 32, 1, 9]
    memory = [aligned((47,), np.float64) for _ in range(4)]  # side by side, but nobody says what lies between
    near = [tuple(m[:35].reshape(5, 7) for m in memory), tuple(m[40:] for m in memory)]
    assert sizes(recorded(near)) == [35, 7]


def test_a_frozen_layer_parts_its_neighbours(backend):
    model = fn.Sequential([fn.layers.Dense(4, input_shape=(5,)), fn.layers.Dense(4), fn.layers.Dense(2)], seed=1)
    model.layers[1].trainable = False
    model.compile("adam", "mse")
    for frozen, sizes in ((True, [32 + 4, 16 + 2]), (False, [32 + 16 + 16 + 16 + 16 + 2])):
        model.layers[1].trainable = not frozen
        before = model.get_weights()
        model.fit(np.ones((8, 5)), np.ones((8, 2)), verbose=0)
        same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
        assert same == [False, False, frozen, frozen, False, False]
        launches = joined(model.steps.get("train", 8, True).replay.program.recorded)
        assert [each.args[2].size for each in launches if each.kernel.name == "adam_update"] == sizes


def test_layers_in_two_models_share_their_weights(backend):
    first = fn.Sequential([fn.layers.Dense(4, "tanh", input_shape=(5,)), fn.layers.Dense(2)], seed=1)
    second = fn.Sequential([first.layers[0], fn.layers.Dense(3)], seed=2)
    x = np.random.default_rng(0).standard_normal((20, 5))
    for model, outputs in ((first, 2), (second, 3)):
        model.compile("adam", "mse")
        model.predict(x)
        model.fit(x, np.ones((20, outputs)), verbose=0)
    first.fit(x, np.ones((20, 2)), verbose=0)
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
    second.fit(x, np.ones((20, 3)), verbose=0)
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
    np.testing.assert_array_equal(
        first.predict(x), fn.Sequential([fn.layers.Activation("linear", input_shape=(5,)), *first.layers]).predict(x)
    )
