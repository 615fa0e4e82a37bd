"""Native loops that do nothing but multiply-add or stream memory: what this machine can do at best."""

from __future__ import annotations

import ctypes
import functools
import platform
import time
from collections.abc import Callable, Sequence

import numpy as np

from fastnn.kernels.numba_ import compiling, loading
from fastnn.kernels.numba_.crew import crew
from fastnn.memory import aligned

MULTIPLIER = 0.5  # with 1 added each time, every chain goes to 2: no overflow, no slow denormal numbers
UNROLL = 8  # so that counting costs little
STRIDE = 4 * 64  # bytes per turn of the triad, whatever the vector width
GAP = 21 * 64  # between arrays, which would disturb one another a multiple of 4096 bytes apart
REPEATS = 8  # the best counts: others may be using the machine
SECONDS = 0.006  # of one measurement

_Native = Callable[..., None]


def chains() -> int:
    """Independent sums: more than latency times pipes (8 on x86, 16 on ARM), and no more than there are registers."""
    return 20 if platform.machine().lower() in ("arm64", "aarch64") else 12


def vector_bytes() -> int:
    """The width of a vector."""
    from fastnn.kernels.numba_.vector import VECTOR_BYTES

    return VECTOR_BYTES


def _compile_fma(dtype: str) -> bytes:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    from fastnn.kernels.numba_.vector import Vector, loop

    real, count = getattr(numba, dtype), chains()

    @intrinsic
    def turns(typing, rounds, start):
        def generate(context, builder, signature, args):
            v = Vector(builder, real)

            def place(i):
                return v.address(args[1], ir.IntType(64)(i * v.lanes))

            def turn(_, sums):
                for _ in range(UNROLL):
                    sums = [v.fma(total, multiplier, one) for total in sums]
                return sums

            # All of them loaded: a compiler works out what it can see, and merges chains that start alike.
            multiplier, one, *sums = (v.load(place(i)) for i in range(count + 2))
            for i, total in enumerate(loop(builder, args[0], 1, sums, turn)):
                v.store(total, place(i + 2))
            return context.get_dummy_value()

        return numba.types.void(numba.types.intp, numba.types.intp), generate

    def fma(rounds, start):
        turns(rounds, start)

    return compiling.machine_code(compiling.module_of(fma, 2))


def _compile_triad() -> bytes:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic

    from fastnn.kernels.numba_.vector import Vector, loop

    @intrinsic
    def stream(typing, a, b, c, count):
        def generate(context, builder, signature, args):
            v = Vector(builder, numba.float32)
            scale = ir.Constant(v.type, [MULTIPLIER] * v.lanes)

            def turn(k, _):
                a, b, c = (builder.add(address, k) for address in args[:3])
                for i in range(0, STRIDE, vector_bytes()):
                    offset = ir.IntType(64)(i // v.bytes)
                    total = v.fma(scale, v.load(v.address(c, offset)), v.load(v.address(b, offset)))
                    v.store(total, v.address(a, offset))
                return []

            loop(builder, args[3], STRIDE, [], turn)
            return context.get_dummy_value()

        return numba.types.void(*[numba.types.intp] * 4), generate

    def triad(a, b, c, count, passes):
        for _ in range(passes):
            stream(a, b, c, count)

    return compiling.machine_code(compiling.module_of(triad, 5))


def load_fma(dtype: str) -> _Native:
    """The loop over (turns, address): at the address lie a multiplier, a summand and the chains, vector by vector."""
    address = loading.load_or_compile("fma", dtype, lambda: _compile_fma(dtype))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2)(address)


def load_triad() -> _Native:
    """The loop a = b + s c over (a, b, c, bytes of each, passes), in float32; bytes are a multiple of STRIDE."""
    address = loading.load_or_compile("triad", "float32", _compile_triad)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address)


def _seconds_per_turn(run: Callable[[int], object], alone: Callable[[int], object]) -> float:
    """The best time of `run(turns)` for one turn, over so many turns that starting threads is a small part of it.

    `alone` is the work of one thread, by which they are counted: on a busy machine threads start late.
    """

    def seconds(work: Callable[[int], object], turns: int) -> float:
        start = time.perf_counter()
        work(turns)
        return time.perf_counter() - start

    turns = 1
    while (taken := seconds(alone, turns)) < SECONDS / 4:
        turns *= 4
    turns = max(1, round(turns * SECONDS / taken))
    return min(seconds(run, turns) for _ in range(REPEATS)) / turns


def fma_rate(dtype: str, threads: int) -> float:
    """Floating-point operations a second in registers, two for each fused multiply-add, on `threads` threads."""
    function, lanes, sums = load_fma(dtype), vector_bytes() // np.dtype(dtype).itemsize, chains()
    blocks = [aligned((sums + 2, lanes), dtype) for _ in range(threads)]
    for block in blocks:
        block[0], block[1], block[2:] = MULTIPLIER, 1, np.arange(sums)[:, None] / sums

    def run(turns: int, used: int = threads) -> None:
        crew.run([functools.partial(function, turns, block.ctypes.data) for block in blocks[:used]])

    return 2.0 * lanes * sums * UNROLL * threads / _seconds_per_turn(run, functools.partial(run, used=1))


def triad_rates(sizes: Sequence[int], threads: Sequence[int]) -> dict[int, dict[int, float]]:
    """Bytes a second of a = b + s c, as {working set in bytes: {threads: rate}}.

    The working set is that of all threads together, three arrays of a third each; every thread has its own part.
    Counted are two loads and one store of each element, as in McCalpin's STREAM: where a store first fetches what
    it overwrites, the memory moves a third more.
    """
    function = load_triad()
    memory = aligned((max(sizes) + 4 * (GAP + STRIDE),), np.uint8)
    memory.view(np.float32)[...] = 1  # pages that nobody has written to are all one page
    rates: dict[int, dict[int, float]] = {}
    for size in sizes:
        rates[size] = {}
        for count in threads:
            part = max(size // (3 * count) // STRIDE, 1) * STRIDE
            starts = [memory.ctypes.data + i * (part * count + GAP) for i in range(3)]
            parts = [[start + t * part for start in starts] for t in range(count)]

            def run(passes: int, parts: list = parts, part: int = part) -> None:
                crew.run([functools.partial(function, *addresses, part, passes) for addresses in parts])

            seconds = _seconds_per_turn(run, functools.partial(run, parts=parts[:1]))
            rates[size][count] = 3.0 * part * count / seconds
    return rates
