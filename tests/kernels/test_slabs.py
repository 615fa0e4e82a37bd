"""Every way to run a program gives the same bits: rows or slabs of weights, whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn as fn

pytest.importorskip("numba")

from fastnn.kernels.numba_ import blocking

ROWS = 6


def trained(way, threads, layers, dtype="float32", rows=ROWS, spoil=None):
    """Weights after some steps in the given way, the finished steps and the fault word."""
    model = fn.Sequential(layers(), backend="numba", seed=1, dtype=dtype)
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5 * rows, *model.input_shape)).astype(dtype)
    y = rng.integers(0, model.output_shape[-1], 5 * rows)
    if spoil is not None:
        x[spoil] = np.nan
    model.prepare_training()
    fn.passes.load(model, "train", x, y, 5, rng.permutation(5 * rows) if spoil is None else None)
    step = model.steps.get("train", rows, spoil is None)
    step.refresh()
    replay = step.replay
    replay.choice.way = threads, way
    done = step.run(5)
    return model, done, int(step.feed.fault[0])


def wide():
    return [fn.layers.Dense(20, "relu", input_shape=(700,)), fn.layers.Dense(5, "softmax")]


def deep():
    sizes = (600, 520, 7)
    return [fn.layers.Dense(n, "tanh", **{"input_shape": (784,)} if n == 600 else {}) for n in sizes]


def odd():  # halves of different widths, whose rows would compete for the same lines if they were not spread
    return [fn.layers.Dense(20, "relu", input_shape=(1023,)), fn.layers.Dense(5, "softmax")]


def image():  # the product's rows are not what was gathered
    return [fn.layers.Dropout(0.5, input_shape=(900,)), fn.layers.Dense(9, "softmax", use_bias=False)]


def strips():  # the last columns are made by another way, if the rows are many
    return [fn.layers.Dense(33, "relu", input_shape=(700,)), fn.layers.Dense(9, "softmax")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, ROWS, 70])
@pytest.mark.parametrize("layers", [wide, deep, odd, image, strips])
def test_slabs_and_rows_give_the_same_bits(layers, rows, dtype):
    reference, _, _ = trained(0, 1, layers, dtype, rows)
    for way, threads in [(0, 2), (1, 1), (1, 2), (1, 3), (1, 5)]:
        model, done, fault = trained(way, threads, layers, dtype, rows)
        assert (done, fault) == (5, 0)
        for expected, weights in zip(reference.get_weights(), model.get_weights(), strict=True):
            assert expected.tobytes() == weights.tobytes()


def test_a_slab_sees_what_is_not_finite():
    for way, threads in [(0, 1), (1, 1), (1, 2)]:
        _, done, fault = trained(way, threads, wide, spoil=(2 * ROWS, 699))
        assert (done, fault & fn.steps.BAD_INPUT) == (2, fn.steps.BAD_INPUT)


@pytest.mark.parametrize("layers, kernels", [
    (wide, {"gather_halves", "dense_halves", "dense_dweight_halves", "sum_slabs"}),
    (image, {"dense_slabs", "sum_slabs"}),
])  # fmt: skip
def test_a_batch_is_gathered_in_halves_where_only_a_product_reads_it(layers, kernels):
    model, _, _ = trained(1, 2, layers)
    replay = model.steps.get("train", ROWS, True).replay
    rows, slabs = ({e.kernel.name for groups in p.groups for g in groups for e in g.launches} for p in replay.plans)
    assert slabs - rows == kernels


def test_rows_of_halves_begin_on_cache_lines_and_do_not_compete():
    for columns in (512, 701, 784, 1023, 1024, 4096):
        for size in (4, 8):
            width = blocking.half_width(columns, size)
            assert columns <= 2 * width <= columns + 4 * 64 // size
            assert width * size % 64 == 0
            assert width * size % blocking.ALIAS_BYTES


def test_short_sums_and_large_batches_have_one_way():
    model, _, _ = trained(0, 1, lambda: [fn.layers.Dense(5, "softmax", input_shape=(511,))])
    assert len(model.steps.get("train", ROWS, True).replay.plans) == 1
    model, _, _ = trained(0, 1, lambda: [fn.layers.Dense(5, "softmax", input_shape=(512,))])
    assert len(model.steps.get("train", ROWS, True).replay.plans) == 2
    model, _, _ = trained(0, 1, lambda: [fn.layers.Dense(5, "softmax", input_shape=(512,))], rows=513)
    assert len(model.steps.get("train", 513, True).replay.plans) == 1


def test_sums_are_cut_evenly():
    assert [blocking.slabs(32, n) for n in (1, 511, 512, 513, 784, 1024, 1025)] == [1, 1, 2, 4, 4, 4, 6]
    assert [blocking.slabs(rows, 784) for rows in (1, 784, 785)] == [4, 4, 1]
    assert [blocking.blocks(n) for n in (1, 512, 513, 784, 1024, 1025)] == [1, 1, 2, 2, 2, 3]
