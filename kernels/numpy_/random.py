"""Random bits as a pure function of where they are used, so that every backend can give the same ones.

Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import functools

import numpy as np

from fastnn.kernels.coefficients import KEY_STEPS, MULTIPLIERS
from fastnn.kernels.contract import ITERATION

MASK = 0xFFFFFFFF
ROUNDS = 10
WORDS_AT_ONCE = 1 << 16  # the temporaries of so many words stay in cache


def philox(counter: np.ndarray, seed: int) -> np.ndarray:
    """Encrypt 128-bit counters, uint32 of shape (4, blocks), into words, uint32 of shape (blocks, 4)."""
    words = np.empty((counter.shape[1], 4), np.uint32)
    for first in range(0, len(words), WORDS_AT_ONCE // 4):
        part = slice(first, first + WORDS_AT_ONCE // 4)
        words[part].T[...] = _rounds(counter[:, part], seed)
    return words


def _rounds(counter: np.ndarray, seed: int) -> list[np.ndarray]:
    """The four words of each block.

    One round multiplies 32 x 32 bits into 64 and mixes the halves with the key (seed low, seed high);
    then the key moves on by KEY_STEPS.
    """
    c0, c1, c2, c3 = counter.astype(np.uint64)
    key0, key1 = seed & MASK, seed >> 32
    for _ in range(ROUNDS):
        c0 *= MULTIPLIERS[0]
        c2 *= MULTIPLIERS[1]
        c1 ^= c2 >> 32
        c1 ^= key0
        c3 ^= c0 >> 32
        c3 ^= key1
        c0 &= MASK
        c2 &= MASK
        c0, c1, c2, c3 = c1, c2, c3, c0
        key0, key1 = (key0 + KEY_STEPS[0]) & MASK, (key1 + KEY_STEPS[1]) & MASK
    return [c0, c1, c2, c3]


def philox_words(seed: int, count: int, step: int, stream: int, first: int = 0) -> np.ndarray:
    """Return words number `first` to `first + count - 1` of one stream at one step: shape (count,), uint32.

    Word i is word i % 4 of the block with key (seed low, seed high) and counter (i // 4, 0, step, stream).
    `seed` is an int of 64 bits, `step` and `stream` have 32. Raises ValueError beyond word 2**34, where
    i // 4 no longer fits its 32 bits, and OverflowError where `step` or `stream` does not.
    """
    if first < 0 or count < 0 or first + count > 1 << 34:
        raise ValueError(f"words must lie within 0 to 2**34, got first={first} and count={count}")
    blocks = np.arange(first // 4, (first + count + 3) // 4, dtype=np.uint32)
    counter = np.zeros((4, blocks.size), np.uint32)
    counter[0], counter[2], counter[3] = blocks, step, stream
    return philox(counter, seed).ravel()[first % 4 : first % 4 + count]


def words_of_step(seed: int, count: int, step: int, stream: int) -> np.ndarray:
    """The first `count` words of one stream at one step, to be read only.

    Where they are few, those of neighbouring steps are drawn along with them and kept: a hundred calls of NumPy take
    longer than the few numbers that they work on.
    """
    blocks = (count + 3) // 4
    steps = WORDS_AT_ONCE // (4 * blocks or 1)
    if steps < 2:
        return philox_words(seed, count, step, stream)
    return _words_of_steps(seed, blocks, step // steps, steps, stream)[step % steps, :count]


@functools.lru_cache(64)
def _words_of_steps(seed: int, blocks: int, part: int, steps: int, stream: int) -> np.ndarray:
    """Words of the steps from part * steps, shape (steps, 4 * blocks)."""
    counter = np.zeros((4, steps, blocks), np.uint32)
    counter[0], counter[3] = np.arange(blocks), stream
    counter[2] = (part * steps + np.arange(steps))[:, None] & MASK
    words = philox(counter.reshape(4, -1), seed).reshape(steps, 4 * blocks)
    words.flags.writeable = False
    return words


def random_bits(clock: np.ndarray, out: np.ndarray, seed: int, stream: int) -> None:
    """Fill `out`, a flat array of integers, with words 0, 1, 2, ... of one stream at the clock's iteration."""
    out[:] = words_of_step(seed, out.size, int(clock[ITERATION]), stream)


def order_of(words: np.ndarray, order: np.ndarray, work: np.ndarray) -> None:
    """order = the indices that sort `words`, integers from [0, 2**32); equal words stay in order.

    They are sorted by their lower halves and then by their upper ones: for integers of 16 bits NumPy counts instead of
    comparing, and stably. `work`, with room for len(words) + 2048 integers, is
    scratch space for implementations that need it.
    """
    by_lower = words.astype(np.uint16).argsort(kind="stable")
    upper = (words >> 16).astype(np.uint16).take(by_lower)
    by_lower.take(upper.argsort(kind="stable"), out=order, mode="clip")
