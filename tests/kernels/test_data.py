"""Rows go into a batch and back where the clock says; what is not finite is seen; random words are Philox's."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels.numpy_.random import philox_words

ELSEWHERE = 1 << 40  # in the elements of the clock that a kernel must not look at


@pytest.mark.parametrize("rows, features", [(1, 1), (1, 63), (3, 37), (16, 33)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_gather(run, draw, dtype, rows, features, shuffled):
    data = draw(40, features)
    order = np.random.default_rng(1).permutation(40) if shuffled else None
    out = run("gather", data=data, permutation=order, clock=[ELSEWHERE, ELSEWHERE, 7], out=(rows, features)).out
    expected = data[7 : 7 + rows] if order is None else data[order[7 : 7 + rows]]
    assert np.array_equal(out, expected)


def test_gather_labels(run):
    labels = np.arange(50).reshape(50, 1) * 3
    order = np.arange(50)[::-1]
    out = run("gather", data=labels, permutation=order, clock=[ELSEWHERE, ELSEWHERE, 10], out=(5, 1)).out
    assert out.dtype == np.int64
    assert out[:, 0].tolist() == [117, 114, 111, 108, 105]


@pytest.mark.parametrize("rows, features", [(1, 1), (3, 37), (16, 33)])
def test_scatter_writes_its_rows_alone(run, draw, rows, features):
    values, before = draw(rows, features), draw(40, features)
    out = run("scatter", values=values, clock=[ELSEWHERE, ELSEWHERE, 7], out=before).out
    expected = before.copy()
    expected[7 : 7 + rows] = values
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 33)])
def test_check_finite_sees_it_anywhere(run, draw, shape, bad):
    for place in np.ndindex(shape):
        values = draw(*shape)
        values[place] = bad
        fault = run("check_finite", values=values, fault=np.array([0b101]), code=0b10).fault
        assert fault[0] == 0b111, place
    assert run("check_finite", values=values, fault=np.array([0b111]), code=0b10).fault[0] == 0b111
    two = np.array([[bad, 0, bad]], values.dtype)
    assert run("check_finite", values=two, fault=np.array([0]), code=0b10).fault[0] == 0b10


def test_check_finite_lets_the_largest_and_smallest_pass(run, dtype):
    limits = np.finfo(dtype)
    values = np.array([[limits.max, limits.min, limits.smallest_subnormal, -0.0]], dtype)
    assert run("check_finite", values=values, fault=np.array([0]), code=2).fault[0] == 0
    assert run("check_finite", values=values, fault=np.array([4]), code=2).fault[0] == 4


def test_random_bits_known_answer(run):
    """The first vector published with Philox4x32-10: zero key and counter."""
    out = run("random_bits", clock=[ELSEWHERE, 0, ELSEWHERE], out=(4,), seed=0, stream=0).out
    assert [hex(word) for word in out] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


@pytest.mark.parametrize("count", [1, 3, 17, 1000])
@pytest.mark.parametrize("seed, step, stream", [(9, 2, 3), (2**63 - 1, 0, 64), (2**57 - 3, 2**32 - 2, 2**32 - 1)])
def test_random_bits_are_the_same_on_every_backend(run, count, seed, step, stream):
    out = run("random_bits", clock=[ELSEWHERE, step, ELSEWHERE], out=(count,), seed=seed, stream=stream).out
    assert out.tolist() == philox_words(seed, count, step, stream).tolist()


@pytest.mark.parametrize("words", [[9, 2**32 - 1, 9, 0, 9], [0], [2**31, 2**31 - 1, 255, 256, 65536, 1], [7] * 20])
def test_order_of_sorts_and_keeps_ties_in_order(run, words):
    _check_order(run, np.array(words))


@pytest.mark.parametrize("rows", [1000, 20_000])
@pytest.mark.parametrize("limit", [3, 2**10, 2**16, 2**32])
def test_order_of_sorts_words_that_are_alike(run, rows, limit):
    words = np.random.default_rng(2).integers(0, limit, rows)
    _check_order(run, words)
    _check_order(run, 2**32 - 1 - words)


def _check_order(run, words):
    order = run("order_of", words=words, order=(len(words),), work=(len(words) + 2048,)).order
    assert np.array_equal(order, np.argsort(words, kind="stable"))
