"""The table of native kernels is complete, and takes only what fits the contract."""

from __future__ import annotations

import pytest

from fastnn.kernels.contract import KERNELS

pytest.importorskip("numba")
from fastnn.kernels.numba_ import native
from fastnn.kernels.numba_.internal import INTERNAL


def test_a_broken_kernel_tells_its_name():
    def dense(x, weight, z):
        pass

    with pytest.raises(TypeError, match=r"native kernel dense takes \['x', 'weight', 'z'\], the contract wants"):
        native.kernel(dense)
    assert native.has("dense")
    assert not native.has("sparkle")


def test_every_kernel_of_the_contract_has_a_native_body():
    assert native.body_of("dense").__name__ == "dense"
    assert set(native._bodies) == {*KERNELS, *INTERNAL}
