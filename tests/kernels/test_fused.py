"""A short step as one function gives the same bits as its launches one by one, and stops where they stop."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import fastnn as fn

pytest.importorskip("numba")

from fastnn.kernels.numba_ import backend, fused, loading

ROWS = 6


def classifier(optimizer="adam"):
    model = fn.Sequential(
        [
            fn.layers.Dense(9, "relu", input_shape=(7,), kernel_regularizer="l2"),
            fn.layers.Dropout(0.3),
            fn.layers.Dense(3, "softmax"),
        ],
        backend="numba", seed=1,
    )  # fmt: skip
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def neuron(optimizer="sgd"):
    model = fn.Sequential([fn.layers.Dense(1, "sigmoid", input_shape=(7,))], backend="numba", seed=1, dtype="float64")
    model.compile(optimizer, "binary_crossentropy")
    return model


def switch(optimizer="adam"):
    """Vectors of two and of four numbers are loaded and stored without a mask."""
    layers = [fn.layers.Dense(4, "relu", input_shape=(7,)), fn.layers.Dense(2, "softmax")]
    model = fn.Sequential(layers, backend="numba", seed=1)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def prepared(model, rows, steps, spoil=None):
    """The model's training step with data in its feed, ready to run on one thread."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps * rows, 7)).astype(model.dtype)
    if spoil is not None:
        x[spoil] = np.nan
    y = rng.integers(0, 2, steps * rows)
    if not model.loss.integer_labels:
        y = y.astype(model.dtype)
    model.prepare_training()
    fn.passes.load(model, "train", x, y, steps, rng.permutation(steps * rows) if spoil is None else None)
    step = model.steps.get("train", rows, spoil is None)
    step.refresh()
    step.replay.choice.way = 1, 0
    step.replay.plans[0].fused.function = None  # the one that an earlier test left
    return step


def state(model):
    slots = [slot for slots in model.optimizer.slots for slot in slots if slot is not None]
    ring = model.steps.feeds["train"].ring.array
    return b"".join(array.tobytes() for array in [*model.get_weights(), *slots, ring])


@pytest.mark.parametrize(
    "make, rows, optimizer",
    [
        (classifier, 1, "adam"),
        (classifier, ROWS, "rmsprop"),
        (neuron, 1, "sgd"),
        (neuron, ROWS, "adagrad"),
        (switch, 1, "adam"),
        (switch, ROWS, "sgd"),
    ],
)
def test_the_bits_are_those_of_the_launches(make, rows, optimizer):
    states = []
    for together in (False, True):
        model = make(optimizer)
        step = prepared(model, rows, 8)
        if together:
            step.replay.plans[0].fused.make()
            assert step.replay.plans[0].fused.function is not None
        assert [step.run(3), step.run(5)] == [3, 5]
        assert model.steps.feeds["train"].clock.tolist() == [8, 8, 8 * rows]
        states.append(state(model))
    assert states[0] == states[1]


@pytest.mark.parametrize("some, shortened", [(1, True), (2, True), (3, False), (4, True), (7, False)])
def test_a_vector_of_a_power_of_two_needs_no_mask(some, shortened):
    mask = ", ".join(f"i1 {'true' if i < some else 'false'}" for i in range(8))
    kind, where = "<8 x float>", f"ptr nonnull align 4 %p, <8 x i1> <{mask}>"
    load = f"  %x = call {kind} @llvm.masked.load.v8f32.p0({where}, {kind} zeroinitializer), !noalias !1"
    store = f"  tail call void @llvm.masked.store.v8f32.p0({kind} %x, {where}), !noalias !1"
    text = fused._MASKED.sub(fused._unmasked, f"{load}\n{store}")
    if shortened:
        lines = text.split("\n")
        assert lines[0] == f"  %x.first = load <{some} x float>, ptr %p, align 4"
        assert re.fullmatch(rf"  store <{some} x float> %first\d+, ptr %p, align 4", lines[3])
    else:
        assert text == f"{load}\n{store}"
    for other in (load.replace("zeroinitializer", "%y"), store.replace("i1 false>", "i1 true>")):
        assert fused._MASKED.sub(fused._unmasked, other) == other


def test_a_fault_stops_before_the_update():
    states = []
    for together in (False, True):
        model = classifier()
        step = prepared(model, ROWS, 5, spoil=(3 * ROWS + 2, 6))
        if together:
            step.replay.plans[0].fused.make()
        assert step.run(5) == 3
        assert int(step.feed.fault[0]) == fn.steps.BAD_INPUT | fn.steps.BAD_LOSS
        states.append(state(model))
    assert states[0] == states[1]


def test_new_data_is_seen():
    model = neuron()
    step = prepared(model, 1, 8)
    step.replay.plans[0].fused.make()
    step.run(8)
    step = prepared(model, 1, 20)  # other arrays, of another length
    before = model.get_weights()
    assert step.run(20) == 20
    assert not np.array_equal(before[0], model.get_weights()[0])
    other = neuron()
    for steps in (8, 20):
        prepared(other, 1, steps).run(steps)
    assert state(model) == state(other)


def test_what_takes_turns_by_tiles_or_is_long_stays_as_it_is():
    model = classifier()
    assert prepared(model, ROWS, 2).replay.plans[0].fused.fits
    assert not prepared(classifier(), 20000, 1).replay.plans[0].fused.fits
    layers = [fn.layers.Dense(2, input_shape=(7,)), *(fn.layers.Dense(2) for _ in range(9))]
    deep = fn.Sequential(layers, backend="numba")
    deep.compile("sgd", "mse")
    deep.fit(np.ones((4, 7)), np.ones((4, 2)), verbose=0)
    assert not deep.steps.get("train", 4, True).replay.plans[0].fused.fits
    wide = fn.Sequential([fn.layers.Dense(3000, input_shape=(7,))], backend="numba")
    wide.compile("sgd", "sparse_categorical_crossentropy")
    step = prepared(wide, 14, 2)
    assert all(group.tile(group.share[1]) >= group.share[1] for phase in step.replay.plans[0].groups for group in phase)
    assert not step.replay.plans[0].fused.fits


def test_a_kernel_of_the_users_own_without_a_module_is_no_error(monkeypatch):
    step = prepared(classifier(), ROWS, 2)
    monkeypatch.setattr(loading, "bitcode", lambda name, dtype: None)
    step.replay.plans[0].fused.make()
    assert step.replay.plans[0].fused.function is None
    assert step.run(2) == 2


def test_many_short_steps_begin_it_in_a_thread_and_the_next_process_finds_it(monkeypatch):
    monkeypatch.setattr(backend, "FUSE_AFTER_SECONDS", 0.0)
    step = prepared(classifier(), ROWS, 8)
    made = step.replay.plans[0].fused
    load = loading.cache().load
    monkeypatch.setattr(loading.cache(), "load", lambda name: load(name) if name.endswith(".bc") else None)
    monkeypatch.setattr(fused, "_functions", {})
    step.run(8)
    made._thread.join()
    assert made.function is not None
    monkeypatch.undo()
    other = prepared(classifier(), ROWS, 8).replay.plans[0].fused
    monkeypatch.setattr(fused, "_optimized", lambda *args: pytest.fail("compiled again"))
    monkeypatch.setattr(fused, "_functions", {})
    assert other.load()
    assert other.name == made.name
    model = classifier()
    model.prepare_training()
    assert model.steps.get("train", ROWS, True).replay.plans[0].fused.function is other.function


def test_the_name_tells_shapes_and_scalars():
    names = {
        prepared(model, rows, 2).replay.plans[0].fused.name
        for model, rows in ((classifier(), 6), (classifier(), 5), (classifier("sgd"), 6), (neuron(), 6))
    }
    assert len(names) == 4
    assert prepared(classifier(), 6, 2).replay.plans[0].fused.name in names


def test_a_script_that_ends_while_the_function_is_made_ends_well():
    script = f"""
import numpy as np, fastnn as fn
from fastnn.kernels.numba_ import backend
backend.FUSE_AFTER_SECONDS = 0.0
model = fn.Sequential([fn.layers.Dense({np.random.default_rng().integers(3, 60)}, input_shape=(5,))], backend="numba")
model.compile("sgd", "mse")
fn.set_threads(1)
model.fit(np.ones((640, 5)), np.ones((640, model.output_shape[0])), verbose=0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_warmup_makes_it_now():
    model = classifier()
    model.warmup(ROWS)
    for shuffled in (True, False):
        assert model.steps.get("train", ROWS, shuffled).replay.plans[0].fused.function is not None
    with pytest.raises(ValueError, match="must be compiled and have its weights"):
        fn.Sequential([fn.layers.Dense(2)], backend="numba").warmup()
    with pytest.raises(ValueError, match="batch_size must be"):
        model.warmup(0)
