"""What the benchmarks share."""

from __future__ import annotations

import pytest

from fastnn import backends


@pytest.fixture
def usable():
    """A function that skips the benchmark of a backend that is not installed, or has no GPU to run on."""

    def check(name):
        try:
            backends.get(name)
        except (ImportError, OSError, RuntimeError) as reason:
            pytest.skip(str(reason))

    return check
