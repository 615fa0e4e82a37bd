"""Launches that do not need each other run beside each other, and none before what it needs."""

from __future__ import annotations

import numpy as np
import pytest
import simulated_cupy

import fastnn as fn
from fastnn.kernels.cupy_ import branches
from fastnn.kernels.cupy_.branches import Place

pytestmark = pytest.mark.skipif(simulated_cupy.COMPILER is None, reason="g++ is not installed")


def longest(needed):
    """Launches in the longest chain of those that need each other."""
    lengths = []
    for direct in needed:
        lengths.append(1 + max((lengths[i] for i in direct), default=0))
    return max(lengths, default=0)


@pytest.mark.parametrize(
    "needed, expected, chain",
    [
        ([], [], 0),
        ([set(), {0}, {1}], [Place(0, []), Place(0, []), Place(0, [])], 3),
        ([set(), set(), {0, 1}], [Place(0, []), Place(1, []), Place(1, [0])], 2),
        ([set(), {0}, {0}, {1, 2}], [Place(0, []), Place(0, []), Place(1, [0]), Place(1, [1])], 3),
        # 2 needs 0 only through 1; 3 may not go behind 2, which it does not need
        ([set(), {0}, {0, 1}, {0}], [Place(0, []), Place(0, []), Place(0, []), Place(1, [0])], 3),
    ],
)
def test_a_launch_waits_for_what_it_needs_and_for_nothing_else(needed, expected, chain):
    assert branches.places(needed) == expected
    assert longest(needed) == chain


def test_any_order_that_the_waits_allow_respects_what_is_needed():
    """For random programs: whatever is needed comes before, through streams and waits alone; and nothing else does."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        count = int(rng.integers(1, 15))
        needed = [{i for i in range(j) if rng.random() < 0.25} for j in range(count)]
        places = branches.places(needed)
        wanted, reached = [], []
        for j, place in enumerate(places):
            wanted.append(needed[j].union(*(wanted[i] for i in needed[j])))
            before = {*place.waits, *(i for i in range(j) if places[i].stream == place.stream)}
            reached.append(before.union(*(reached[i] for i in before)))
        assert reached == wanted


def launches(layers):
    model = fn.Sequential(layers, backend="cupy", seed=1)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(np.ones((4, 8)), np.zeros(4, int), batch_size=4, epochs=1, verbose=0)
    return model.steps.get("train", 4, True).replay.launches


def test_weight_gradients_leave_the_chain():
    made = launches([fn.layers.Dense(8, "relu"), fn.layers.Dense(8, "relu"), fn.layers.Dense(3, "softmax")])
    needed = branches.needs(made)
    names = [launch.kernel.name for launch in made]
    # gather, 5 forward, loss, 2 dx and activation gradient, dweight, adam
    assert longest(needed) == 13 < len(made)
    update, checks = names.index("adam_update"), [i for i, name in enumerate(names) if name == "check_finite"]
    assert len(checks) == 2
    assert set(checks) <= needed[update]


X, Y = np.random.default_rng(2).standard_normal((40 * 4, 8)), np.arange(40 * 4) % 3


@pytest.fixture(params=[True, False], ids=["side by side", "a chain"])
def way(request, monkeypatch):
    """The only way in which steps are captured."""
    monkeypatch.setattr(branches.Trials, "__init__", lambda self: vars(self).update(best=request.param, _begun=[]))


def network(backend):
    layers = [fn.layers.Dense(9, "relu"), fn.layers.Dropout(0.2), fn.layers.Dense(7, "tanh"), fn.layers.Dense(3)]
    model = fn.Sequential(layers, backend=backend, seed=1)
    model.compile("adam", fn.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    return model


def test_both_ways_train_alike(way):
    model, eager = network("cupy"), network("cupy")
    eager.compile("adam", fn.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"], run_eagerly=True)
    histories = [m.fit(X, Y, batch_size=4, epochs=2, verbose=0).history for m in (model, eager)]
    assert histories[0] == histories[1]
    for a, b in zip(model.get_weights(), eager.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_no_update_overtakes_a_check(way):
    spoilt = X.copy()
    spoilt[85, 3] = np.nan
    model, until = network("cupy"), network("cupy")
    with pytest.raises(fn.NonFiniteError, match=r"row 85 \(at step 22 "):
        model.fit(spoilt, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    until.fit(X[:84], Y[:84], batch_size=4, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), until.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("chain, branched", [(1.0, 2.0), (2.0, 1.0)])
def test_the_faster_way_is_kept(monkeypatch, chain, branched):
    class Graph:
        def __init__(self, way):
            self.way = way

        def launch(self, stream):
            used.append(self.way)

    class Now:
        def __init__(self, stream, timed):
            self.used = len(used)

    used = []
    monkeypatch.setattr(branches, "_mark", Now)
    seconds = {True: branched, False: chain}
    monkeypatch.setattr(branches.cupy.cuda, "get_elapsed_time", lambda start, stop: seconds[used[start.used]])
    trials = branches.Trials()
    for _ in range(trials.TURNS):
        assert trials.best is None
        trials.launch(Graph, None)
        trials.launch(Graph, None)
        trials.settle()
    assert used == [True, False] * trials.TURNS
    assert trials.best is (branched < chain)
    trials.launch(Graph, None)
    assert used[-1] is trials.best
