"""Every kernel on every backend beside the plain NumPy expression: what is not faster than that has no reason to exist.

Backends replay a program of one launch, so that on numba no Python runs between launches. One round is LAUNCHES
launches; `us_per_launch` of --benchmark-json divides.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bench import kernel_cases as cases
from fastnn import backends
from fastnn.capture import Launch
from fastnn.kernels.contract import KERNELS
from fastnn.program import Program

LAUNCHES = 64  # fewer than the steps of the rings and tables in kernel_cases
ROUNDS = 20


def plain(name, values):
    """The loop over the plain expression, as a function without arguments."""
    expression, given = cases.PLAIN[name], SimpleNamespace(**values)

    def run():
        for _ in range(LAUNCHES):
            expression(given)

    return run


def replayed(backend, name, values):
    """The replay of LAUNCHES launches, as a function without arguments."""
    launch = Launch(KERNELS[name], list(values.values()), np.float32)
    clock = values.get("clock", np.zeros(3, np.int64))
    program = Program([launch], 0, clock, np.zeros(1, np.int64))  # of no rows: each launch takes the same ones
    replay = backends.get(backend).replay(program)
    replay.refresh()

    def run():
        clock[:] = 0
        replay.run(LAUNCHES)

    while not replay.threads:  # numba tries how many threads are best
        run()
    return run


@pytest.mark.parametrize("size", cases.SIZES)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("who", ["plain", *backends.available()])
def test_kernel(benchmark, usable, who, name, size):
    if reason := cases.reason_against(name):
        pytest.skip(reason)
    if who != "plain":
        usable(who)
    values = cases.arguments(name, cases.SIZES[size])
    run = plain(name, values) if who == "plain" else replayed(who, name, values)
    benchmark.group = f"{name}, {size}"
    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=2)
    benchmark.extra_info["us_per_launch"] = 1e6 * benchmark.stats.stats.min / LAUNCHES
