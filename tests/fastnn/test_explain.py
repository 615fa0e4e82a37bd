"""The table of a captured step: every kernel of it, with sizes that can be counted; and nothing is learned by it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fastnn as fn


def network(**options):
    layers = [fn.layers.Dense(9, "relu", input_shape=(5,)), fn.layers.Dropout(0.1), fn.layers.Dense(3, "softmax")]
    model = fn.Sequential(layers, seed=1)
    model.compile("adam", "sparse_categorical_crossentropy", "accuracy", **options)
    return model


def test_every_kernel_is_in_the_table(backend):
    model = network()
    x, y = np.ones((30, 5)), np.zeros(30, int)
    model.fit(x, y, batch_size=8, verbose=0)
    before, iterations = model.get_weights(), model.optimizer.iterations
    found = model.explain(8)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.optimizer.iterations == iterations
    kernels = [row.kernel for row in found.rows]
    launches = model.steps.get("train", 8, True).replay.program.launches
    assert kernels == [launch.kernel.name for launch in launches]
    assert found.flop == 2 * 8 * (5 * 9 * 2 + 9 * 3 * 3)
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert found.microseconds > 0
    text = str(found)
    assert f"batch 8, {backend}, float32" in text
    assert text.count("dense_dweight") == 2
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["kernel"] == kernels[0]
    twin = network()
    for m in (model, twin):
        m.fit(x, y, batch_size=8, verbose=0)
    twin.fit(x, y, batch_size=8, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), model.get_weights(), strict=True))


def test_without_a_program_it_says_so(backend):
    with pytest.raises(ValueError, match=r"runs without capture \(run_eagerly\)"):
        network(run_eagerly=True).explain()
    with pytest.raises(ValueError, match="must be compiled"):
        fn.Sequential([fn.layers.Dense(1, input_shape=(2,))]).explain()
