"""The loops that measure the machine do the arithmetic that they are counted for."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.memory import aligned

pytest.importorskip("numba")

from fastnn.kernels.numba_ import ceilings


def test_every_chain_is_computed(dtype):
    lanes = 64 // dtype.itemsize
    block = aligned((64, lanes), dtype)
    block[...] = np.random.default_rng(0).uniform(0.1, 0.9, block.shape)
    flat = block.reshape(-1)
    width = ceilings.vector_bytes() // dtype.itemsize
    chains = slice(2 * width, (2 + ceilings.chains()) * width)
    before = flat.copy()
    expected = before.copy()
    for _ in range(3 * ceilings.UNROLL):
        vectors = expected[chains].reshape(-1, width)
        expected[chains] = (vectors * before[:width] + before[width : 2 * width]).ravel()

    ceilings.load_fma(dtype.name)(3, block.ctypes.data)

    # The processor rounds once where NumPy rounds twice.
    np.testing.assert_allclose(flat, expected, rtol=16 * np.finfo(dtype).eps)
    assert (flat[chains] != before[chains]).all()


def test_triad():
    rows = 3 * ceilings.STRIDE // 4
    memory = aligned((3, rows), np.float32)
    memory[...] = np.random.default_rng(0).uniform(-1, 1, memory.shape)
    before = memory.copy()
    a, b, c = (row.ctypes.data for row in memory)

    ceilings.load_triad()(a, b, c, 2 * ceilings.STRIDE, 2)

    done = 2 * ceilings.STRIDE // 4
    expected = before[1] + np.float32(ceilings.MULTIPLIER) * before[2]
    np.testing.assert_allclose(memory[0, :done], expected[:done], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(memory[0, done:], before[0, done:])
    np.testing.assert_array_equal(memory[1:], before[1:])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_rates_are_positive_on_any_number_of_threads(threads):
    assert ceilings.fma_rate("float32", threads) > 0
    rates = ceilings.triad_rates([1000, 100_000], [threads])
    assert rates.keys() == {1000, 100_000}
    assert all(of.keys() == {threads} and of[threads] > 0 for of in rates.values())


def test_a_rate_is_work_by_time(monkeypatch):
    monkeypatch.setattr(ceilings, "_seconds_per_turn", lambda run, alone: 0.5)
    lanes = ceilings.vector_bytes() // 8
    per_turn = 2 * lanes * ceilings.chains() * ceilings.UNROLL
    assert ceilings.fma_rate("float64", 3) == 3 * per_turn / 0.5
    size = 3 * 2 * 10 * ceilings.STRIDE
    assert ceilings.triad_rates([size], [1, 2]) == {size: {1: size / 0.5, 2: size / 0.5}}


def test_the_best_repeat_counts_and_threads_that_start_late_do_not_shorten_the_work(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(ceilings.time, "perf_counter", lambda: now[0])
    asked = []

    def alone(turns):
        now[0] += turns * 1e-5

    def late(turns):
        asked.append(turns)
        now[0] += turns * 1e-5 + 1.0 / len(asked)

    seconds = ceilings._seconds_per_turn(late, alone)
    assert len(set(asked)) == 1
    assert asked[0] * 1e-5 == pytest.approx(ceilings.SECONDS, rel=0.01)
    assert seconds == pytest.approx(1e-5 + 1.0 / ceilings.REPEATS / asked[0])
