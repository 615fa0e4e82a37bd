"""Blocks of memory, lent to a device and back; training and throwing models away keeps neither memory nor data."""

from __future__ import annotations

import copy
import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from fastnn import Sequential, memory
from fastnn.layers import Dense
from fastnn.memory import CHUNK, HUGE_PAGE, Block, aligned, block_of

rng = np.random.default_rng(4)
X = rng.standard_normal((50, 6)).astype(np.float32)
Y = rng.integers(0, 3, 50)


@pytest.fixture
def kept(monkeypatch):
    """Tells how many bytes are in use: those that Python traces, and the chunks that arrays are cut from."""
    pages, chunks = memory._pages, []

    def noted(size):
        array = pages(size)
        chunks.append((weakref.ref(array.base), size))
        return array

    monkeypatch.setattr(memory, "_pages", noted)
    monkeypatch.setattr(memory._own, "rest", np.zeros(0, np.uint8))
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0] + sum(size for base, size in chunks if base() is not None)
    tracemalloc.stop()


def test_a_hundred_fits_keep_no_memory(backend, kept):
    m = Sequential([Dense(8, "relu", input_shape=(6,)), Dense(3, "softmax")], seed=1)
    m.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def work(count):
        for i in range(count):
            m.fit(X, Y, batch_size=16, epochs=2, verbose=0, validation_split=0.2)
            m.predict(X[: 1 + i % 3])
            m.evaluate(X, Y)
            m.train_on_batch(X, Y)

    work(8)
    gc.collect()
    before, rest = kept(), len(memory._own.rest)
    work(100)
    gc.collect()
    assert len(memory._own.rest) == rest  # nothing was cut from a chunk
    grown = kept() - before
    assert grown < (300_000 if backend == "cupy" else 100_000)  # less than a set of buffers; and the simulator's books


def test_batches_of_many_sizes_keep_bounded_memory(backend, kept):
    m = Sequential([Dense(500, input_shape=(500,))])
    x = np.ones((300, 500))
    for rows in range(1, 301):
        m.predict(x[:rows], batch_size=300)
    gc.collect()
    assert kept() < 100 * 300 * 500 * 4 * 2  # of 300 programs not all are kept, and no data


def test_data_are_let_go(backend):
    m = Sequential([Dense(2, input_shape=(500,))])
    m.compile("sgd", "mse")
    uses = [
        lambda x, y: m.fit(x, y, batch_size=32, verbose=0, validation_data=(x, y)),
        lambda x, y: m.evaluate(x, y),
        lambda x, y: m.predict(x),
    ]
    for use in uses:
        x, y = np.ones((400, 500), np.float32), np.ones((400, 2), np.float32)
        seen = weakref.ref(x)
        use(x, y)
        del x, y
        gc.collect()
        assert seen() is None


def test_models_that_are_gone_free_their_memory(backend, kept):
    def make():
        m = Sequential([Dense(1000, input_shape=(1000,))])
        m.compile("adam", "mse")
        m.fit(np.ones((4, 1000)), np.ones((4, 1000)), verbose=0)

    make()
    gc.collect()
    before = kept()
    for _ in range(4):
        make()
    gc.collect()
    assert kept() - before < 8_000_000  # two of a model's five arrays


def test_arrays_begin_on_cache_lines_and_lie_side_by_side(monkeypatch):
    monkeypatch.setattr(memory._own, "rest", np.zeros(0, np.uint8))
    first, second = aligned((3, 5), np.float32), aligned((2,), np.float64)
    assert first.ctypes.data % HUGE_PAGE == 0
    assert second.ctypes.data == first.ctypes.data + 64
    large = aligned((CHUNK // 8 + 1, 4), np.int8)  # just too large to be cut from a chunk
    assert large.ctypes.data % HUGE_PAGE == 0
    third = aligned((0, 4), np.int64), aligned((), np.int64)
    assert third[1].ctypes.data == second.ctypes.data + 64
    for array in (first, second, large, *third):
        assert array.flags.c_contiguous
        assert not array.any()
        array[...] = 1


def test_threads_that_ask_for_memory_at_once_get_their_own():
    made = []

    def ask(number):
        for _ in range(300):
            array = aligned((number % 7 + 1, 100), np.int64)
            array[...] = number
            made.append((number, array))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 * 300
    assert all((array == number).all() for number, array in made)


class Twin:
    """A device's side of a block, which counts what crosses."""

    def __init__(self, block):
        self.values, self.ups, self.downs = np.full_like(block.flat, np.nan), 0, 0

    def upload(self, flat):
        self.values[...] = flat
        self.ups += 1

    def download(self, flat):
        flat[...] = self.values
        self.downs += 1

    def save(self, copy):
        return [*self.values]

    def restore(self, copy):
        self.values[...] = copy

    def finite(self):
        return bool(np.isfinite(self.values).all())


def test_a_block_is_its_arrays_on_cache_lines_with_zeros_between():
    block = Block([(3, 5), (7,), (), (16,), (0,)], np.float32)
    for number, array in enumerate(block.arrays, 1):
        array[...] = number
        assert array.ctypes.data % 64 == 0 or array.size == 0
        assert array.flags.c_contiguous
        assert block_of(array) is block
        assert block_of(array.reshape(-1)) is block
    assert [array.shape for array in block.arrays] == [(3, 5), (7,), (), (16,), (0,)]
    assert np.unique(block.flat, return_counts=True)[1].tolist() == [1 + 9 + 15, 15, 7, 1, 16]
    assert block_of(np.zeros(3)) is None
    copied = copy.deepcopy(block)
    block.flat[...] = 0
    assert [array.max(initial=0) for array in copied.arrays] == [1, 2, 3, 4, 0]
    assert block_of(copied.arrays[1]) is copied


def test_values_cross_only_to_who_does_not_have_the_newest():
    block = Block([(4,), (2, 2)], np.float64)
    twin = block.twin = Twin(block)
    block.arrays[0][...] = 1
    block.lend()
    block.lend()
    assert twin.ups == 1
    block.read()
    assert twin.downs == 0
    twin.values += 1
    block.returned()
    assert block.finite()
    block.read()
    block.read()
    assert twin.downs == 1
    assert block.arrays[0].tolist() == [2] * 4
    block.lend()  # only read: nothing to bring
    assert twin.ups == 1
    block.lend(anew=True)
    assert twin.ups == 1
    block.write()
    block.arrays[1][0, 0] = np.inf
    assert not block.finite()
    block.lend()
    assert (twin.ups, twin.downs) == (2, 1)
    block.lend()
    block.lend(anew=True)  # an array was handed out, and may have been changed
    assert (twin.ups, twin.downs) == (3, 1)
    block.returned()
    block.read()
    block.lend(anew=True)
    assert (twin.ups, twin.downs) == (3, 2)
    kept = block.save()
    block.arrays[1][0, 0] = 5  # nobody said so: it is lost
    twin.values[...] = 0
    block.restore(kept)
    block.leave_device()
    assert block.twin is None
    assert block.arrays[1][0, 0] == np.inf
    host = block.save()
    block.flat[...] = 9
    assert block.save(host) is host
    block.flat[...] = 0
    block.restore(host)
    assert (block.flat == 9).all()


def test_nan_between_the_arrays_harms_nobody():
    block = Block([(3,), (3,)], np.float64)
    block.flat[4] = np.nan
    assert block.finite()
    block.twin = Twin(block)
    block.lend()
    block.returned()
    assert block.finite()
    block.arrays[1][2] = -np.inf
    block.write()
    block.arrays[1][2] = -np.inf
    assert not block.finite()


def test_a_copied_layer_stands_alone(backend):
    model = Sequential([Dense(3, input_shape=(2,)), Dense(200)], seed=1)
    model.predict(np.ones((1, 2)))
    (block,) = {p.block for p in model.parameters}
    assert len(block.arrays) == 4
    layer = copy.deepcopy(model.layers[0])
    assert [len(p.block.arrays) for p in layer.parameters] == [1, 1]
    np.testing.assert_array_equal(layer.kernel.numpy(), model.layers[0].kernel.numpy())
    layer.kernel.assign(np.ones((2, 3)))
    assert not np.array_equal(layer.kernel.value, model.layers[0].kernel.value)
