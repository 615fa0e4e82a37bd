"""Random numbers are the published ones, statistically sound, and the same bits for ever."""

import hashlib
import itertools
import math
import statistics

import numpy as np
import pytest

from fastnn import backends, random
from fastnn.kernels.numpy_.random import WORDS_AT_ONCE, philox, philox_words, random_bits, words_of_step

STREAM = random.stream_of(0, 0)


def sha256(array):
    """Hash values and order, not the machine's byte order."""
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def philox_by_hand(counter, seed):
    """The paper's algorithm on Python's integers."""
    c, k = list(counter), [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        low, high = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(high >> 32) ^ c[1] ^ k[0], high % 2**32, (low >> 32) ^ c[3] ^ k[1], low % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.mark.parametrize(
    "counter, seed, words",
    [
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0_A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter, seed, words):
    """The three vectors published with the paper's own code."""
    assert philox_by_hand(counter, seed) == words
    assert philox(np.array(counter, np.uint32)[:, None], seed).tolist() == [words]


def test_words_are_numbered_by_block_step_and_stream():
    seed, step, stream = 0x0123456789ABCDEF, 0xFFFFFFFE, 0xFFFFFFFF
    expected = [word for block in range(5) for word in philox_by_hand([block, 0, step, stream], seed)]
    words = philox_words(seed, 18, step, stream)
    assert words.dtype == np.uint32
    assert words.tolist() == expected[:18]


@pytest.mark.parametrize("first, count", [(0, 0), (0, 1), (1, 2), (3, 9), (4, 4), (7, 1), (6, 0)])
def test_first_is_an_offset(first, count):
    words = philox_words(9, count, 2, 3, first)
    assert words.tolist() == philox_words(9, 20, 2, 3)[first : first + count].tolist()


def test_last_word_and_beyond():
    assert philox_words(9, 1, 2, 3, 2**34 - 1)[0] == philox_by_hand([2**32 - 1, 0, 2, 3], 9)[3]
    with pytest.raises(ValueError, match="words must lie within"):
        philox_words(9, 2, 2, 3, 2**34 - 1)
    with pytest.raises(OverflowError):
        philox_words(9, 1, 2**32, 3)


@pytest.mark.parametrize("count", [0, 1, 4, 2001, WORDS_AT_ONCE // 2 + 1])
def test_words_of_neighbouring_steps_are_those_of_each(count):
    for step in (0, 1, 31, 32, 33, 2**32 - 1):
        np.testing.assert_array_equal(words_of_step(5, count, step, 7), philox_words(5, count, step, 7))


@pytest.mark.parametrize("size", [0, 5, WORDS_AT_ONCE, WORDS_AT_ONCE + 3])
def test_random_bits_fills_what_it_is_given(size):
    guarded = np.full(size + 1, 7, np.uint32)
    random_bits(np.array([8, 6, 9]), guarded[:size], seed=5, stream=7)
    np.testing.assert_array_equal(guarded[:size], philox_words(5, size, 6, 7))
    assert guarded[size] == 7


@pytest.mark.parametrize(
    "values, expected",
    [
        (
            lambda: philox_words(2**63 - 1, 1001, 3, 77),
            "4115ee0a7e19872c4b441222440accdea47570e90fb5269035060436251e03a7",
        ),
        (
            lambda: random.uniform(1, (784, 10), STREAM),
            "d805859076587e450f0049a7d01e19aca62eba72a431cfefeafb2a2f6879db28",
        ),
        (
            lambda: random.uniform(2**40 + 7, 999, random.stream_of(3, 1), step=5),
            "5d71f9b667ae2f53b86c11c8bca782ca7a9c9c15bd8b7586f18c33ced2a1678e",
        ),
        (
            lambda: random.normal(1, (784, 100), STREAM),
            "a87f426a58360e9aabf069db2074085db2a97030cf0b136f73bcdc9753f9433f",
        ),
        (
            lambda: random.normal(2**40 + 7, 999, random.stream_of(3, 1), step=5),
            "619f423bdf7f66927ed00417983877ce3ca3b3e22803209f1c5f948fdd5f308c",
        ),
        (
            lambda: random.truncated_normal(1, (784, 100), STREAM),
            "d37ed4b56d5b9b63a2071bb09de6dc1c76bdc907989bf6badc7beebb268459b1",
        ),
        (
            lambda: random.permutation(1, 2000, 4),
            "481ce4eb0b8ec9291424a5107f80d6bb4660cda8ddb1e9667f3b71b0dcaaac07",
        ),
    ],
)
def test_bits_never_change(values, expected):
    """The same on every backend and in every version: change a hash, and no run can be repeated."""
    assert sha256(values()) == expected


def test_uniform_follows_its_formula():
    words = philox_words(3, 12, 4, 5).tolist()
    u = random.uniform(3, (3, 4), 5, step=4)
    assert u.shape == (3, 4)
    assert u.dtype == np.float64
    assert u.ravel().tolist() == [(word >> 8) / 2**24 for word in words]
    np.testing.assert_array_equal(u, u.astype(np.float32))


def test_uniform_statistics():
    u = random.uniform(11, 100_000, STREAM)
    assert 0 <= u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    assert abs(u.mean() - 0.5) < 4 * math.sqrt(1 / 12 / u.size)
    assert abs(u.var() * 12 - 1) < 0.015
    counts = np.bincount((u * 64).astype(int), minlength=64)
    assert np.sum((counts - u.size / 64) ** 2 / (u.size / 64)) < 104  # chi-square of 63 degrees, 0.999


@pytest.mark.parametrize("other", [{"seed": 12}, {"stream": STREAM + 1}, {"step": 1}, {"seed": 11 + 2**32}])
def test_seed_stream_and_step_are_independent(other):
    """Neither equal, nor shifted against each other, nor correlated."""
    n = 20_000
    at = {"seed": 11, "stream": STREAM, "step": 0}
    a, b = (random.uniform(shape=n, **kwargs) - 0.5 for kwargs in (at, at | other))
    assert np.intersect1d(philox_words(count=n, **at), philox_words(count=n, **(at | other))).size < 5
    assert abs(np.mean(a * b)) * 12 < 4 / math.sqrt(n)


def test_normal_equals_the_quantile_of_its_word():
    """The standard library has AS241 too, with the C library's log."""
    quantile = statistics.NormalDist().inv_cdf
    expected = [quantile((word + 0.5) / 2**32) for word in philox_words(3, 20_000, 4, 5).tolist()]
    np.testing.assert_allclose(random.normal(3, 20_000, 5, step=4), expected, rtol=1e-14, atol=0)


def test_normal_quantile_at_the_ends_and_at_the_seam():
    """First and last word, the middle, both sides of |p - 0.5| = 0.425, and every binade of the logarithm."""
    words = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, *(2**k for k in range(1, 32))]
    words += [int(side * 2**32) + near for side in (0.075, 0.925) for near in range(-3, 4)]
    p = (np.array(words) + 0.5) / 2**32
    z = random._normal_quantile(p)
    np.testing.assert_allclose(z, [statistics.NormalDist().inv_cdf(x) for x in p], rtol=1e-14, atol=0)
    np.testing.assert_array_equal(z, -random._normal_quantile(1.0 - p))
    assert 6.33 < np.abs(z).max() < 6.34


def test_normal_statistics():
    z = np.sort(random.normal(11, 100_000, STREAM))
    assert abs(z.mean()) < 4 / math.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / z.size)
    cdf = np.array([statistics.NormalDist().cdf(x) for x in z[::100]])
    distance = np.abs(cdf - np.arange(0, z.size, 100) / z.size).max()
    assert distance < 1.63 / math.sqrt(z.size)  # Kolmogorov and Smirnov, 0.99


def test_truncated_normal_statistics():
    z = random.truncated_normal(11, 100_000, STREAM)
    assert 1.999 < np.abs(z).max() <= 2
    assert abs(z.mean()) < 4 * 0.88 / math.sqrt(z.size)
    assert abs(z.std() / random.TRUNCATED_STDDEV - 1) < 0.006
    normal = statistics.NormalDist()
    inside = (normal.cdf(1) - normal.cdf(-1)) / (normal.cdf(2) - normal.cdf(-2))
    assert abs(np.mean(np.abs(z) < 1) - inside) < 0.006


def test_truncated_stddev():
    """1 - 4 phi(2) / (CDF(2) - CDF(-2)), in textbooks."""
    normal = statistics.NormalDist()
    variance = 1 - 4 * normal.pdf(2) / (normal.cdf(2) - normal.cdf(-2))
    assert math.isclose(random.TRUNCATED_STDDEV, math.sqrt(variance), rel_tol=1e-14)


@pytest.mark.parametrize("draw", [random.uniform, random.normal, random.truncated_normal])
@pytest.mark.parametrize("shape", [(), 0, 7, (0, 3), (2, 3, 4)])
def test_shapes(draw, shape):
    values = draw(1, shape, STREAM)
    assert values.shape == (shape if isinstance(shape, tuple) else (shape,))
    np.testing.assert_array_equal(np.ravel(values), draw(1, 24, STREAM)[: values.size])


@pytest.mark.parametrize("n", [0, 1, 2, 10, 2000])
def test_permutation_is_one(n):
    order = random.permutation(5, n, 0)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_permutation_depends_on_seed_and_epoch_alone():
    seeds = 1, 2, 1 + 2**32
    orders = [random.permutation(seed, 100, epoch).tolist() for seed in seeds for epoch in range(3)]
    assert all(a != b for a, b in itertools.combinations(orders, 2))
    assert random.permutation(1, 100, 2).tolist() == orders[2]


def test_permutations_are_equally_likely():
    epochs = 4800
    found = [tuple(random.permutation(3, 4, epoch).tolist()) for epoch in range(epochs)]
    counts = np.array([found.count(order) for order in itertools.permutations(range(4))])
    assert np.sum((counts - epochs / 24) ** 2 / (epochs / 24)) < 49.7  # chi-square of 23 degrees, 0.999


@pytest.mark.parametrize("n", [0, 1, 5, 300, 70000])
def test_every_backend_gives_the_same_order(backend, n):
    shuffle = random.Shuffle(5, n, backends.get(backend))
    for epoch in (7, 8, 7):
        np.testing.assert_array_equal(shuffle(epoch), random.permutation(5, n, epoch))


def test_streams_never_collide():
    streams = {random.stream_of(layer, slot) for layer in range(50) for slot in range(random.STREAMS_PER_LAYER)}
    assert len(streams) == 50 * random.STREAMS_PER_LAYER
    assert min(streams) > random.SHUFFLE_STREAM
    assert random.stream_of(2**26 - 2, random.STREAMS_PER_LAYER - 1) == 2**32 - 1
    for layer, slot in [(0, random.STREAMS_PER_LAYER), (0, -1), (-1, 0), (2**26 - 1, 0)]:
        with pytest.raises(ValueError, match=r"layer_index|slot"):
            random.stream_of(layer, slot)


def test_check_seed():
    assert random.check_seed(np.int64(7)) == 7
    assert type(random.check_seed(np.int64(7))) is int
    assert random.check_seed(2**63 - 1) == 2**63 - 1
    for bad in (-1, 2**63):
        with pytest.raises(ValueError, match="seed must be"):
            random.check_seed(bad)
    for bad in (1.0, "1", None, True):
        with pytest.raises(TypeError, match="seed must be an integer"):
            random.check_seed(bad)


def test_fresh_seed():
    seeds = [random.fresh_seed() for _ in range(64)]
    assert len(set(seeds)) == 64
    assert all(random.check_seed(seed) == seed for seed in seeds)
    assert max(seeds) >= 2**62


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"seed": -1}, "seed"),
        ({"stream": 2**32}, "stream"),
        ({"stream": -1}, "stream"),
        ({"step": 2**32}, "step"),
        ({"shape": (3, -1)}, r"shape\[1\]"),
        ({"shape": (3, 2.5)}, r"shape\[1\]"),
        ({"shape": None}, r"shape\[0\]"),
    ],
)
def test_bad_arguments_are_named(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):
        random.normal(**({"seed": 1, "shape": 3, "stream": STREAM} | bad))
