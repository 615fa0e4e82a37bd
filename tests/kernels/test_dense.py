"""The matrix products of a fully connected layer equal their sums, whatever is left over at the edges of tiles."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

# Rows around the height of a register tile, columns around the width of vectors, and inner axes of all kinds; the last
# have rows that compete for the same lines of a cache.
SHAPES = [
    (1, 1, 1),
    (3, 37, 53),
    (14, 31, 32),
    (15, 32, 33),
    (16, 33, 31),
    (17, 5, 16),
    (29, 3, 15),
    (31, 1, 17),
    (17, 784, 100),
    (1, 784, 10),
    (1, 7, 1),
    (1, 31, 1),
    (1, 784, 1),
    (70, 37, 53),
    (150, 200, 129),
    (100, 10, 1),
    (401, 2, 3),
    (416, 3, 9),
    (450, 3, 2),
    (30, 21, 300),
    (70, 64, 512),
    (70, 512, 65),
    (190, 512, 576),
    (190, 576, 512),
    (345, 550, 545),
    (600, 500, 300),
]
shapes = pytest.mark.parametrize("n, i, o", SHAPES)


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


@shapes
@pytest.mark.parametrize("with_bias", [True, False])
def test_dense(run, draw, close, n, i, o, with_bias):
    x, weight, bias = draw(n, i), draw(i, o), draw(o) if with_bias else None
    z = run("dense", x=x, weight=weight, bias=bias, z=(n, o)).z
    x, weight, bias = wide(x, weight, np.zeros(o) if bias is None else bias)
    close(z, np.einsum("ni,io->no", x, weight) + bias)


@shapes
def test_dense_dx(run, draw, close, n, i, o):
    dz, weight = draw(n, o), draw(i, o)
    dx = run("dense_dx", dz=dz, weight=weight, dx=(n, i)).dx
    close(dx, np.einsum("no,io->ni", *wide(dz, weight)))


@shapes
def test_dense_dweight(run, draw, close, n, i, o):
    x, dz = draw(n, i), draw(n, o)
    dweight = run("dense_dweight", x=x, dz=dz, dweight=(i, o)).dweight
    close(dweight, np.einsum("ni,no->io", *wide(x, dz)))


@shapes
def test_column_sum(run, draw, close, n, i, o):
    dz = draw(n, o)
    close(run("column_sum", dz=dz, dbias=(o,)).dbias, np.einsum("no->o", *wide(dz)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_number_reaches_what_depends_on_it_and_nothing_else(run, draw, bad):
    """Tiles are masked at the edges: a NaN must not leak into a neighbour's row or column."""
    x, weight, dz = draw(17, 37), draw(37, 33), draw(17, 33)
    x[16, 36] = dz[16, 32] = bad
    with np.errstate(invalid="ignore"):
        z = run("dense", x=x, weight=weight, bias=None, z=(17, 33)).z
        dx = run("dense_dx", dz=dz, weight=weight, dx=(17, 37)).dx
        dweight = run("dense_dweight", x=draw(17, 37), dz=dz, dweight=(37, 33)).dweight
    for result in (z, dx):
        assert np.isfinite(result[:16]).all()
        assert not np.isfinite(result[16]).any()
    assert np.isfinite(dweight[:, :32]).all()
    assert not np.isfinite(dweight[:, 32]).any()
    dbias = run("column_sum", dz=dz, dbias=(33,)).dbias
    assert np.isfinite(dbias[:32]).all()
    assert not np.isfinite(dbias[32])


def test_integers_are_exact(run, dtype):
    """Whole numbers have no rounding to hide behind: each product and each sum must be exact."""
    rng = np.random.default_rng(3)
    x, weight, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in [(19, 50), (50, 35), (35,)])
    assert np.array_equal(run("dense", x=x, weight=weight, bias=bias, z=(19, 35)).z, x @ weight + bias)
    dz = rng.integers(-4, 5, (19, 35)).astype(dtype)
    assert np.array_equal(run("dense_dx", dz=dz, weight=weight, dx=(19, 50)).dx, dz @ weight.T)
    assert np.array_equal(run("dense_dweight", x=x, dz=dz, dweight=(50, 35)).dweight, x.T @ dz)
    assert np.array_equal(run("column_sum", dz=dz, dbias=(35,)).dbias, dz.sum(axis=0))


SHORT = """
import llvmlite.binding as llvm
import numpy as np
from fastnn.kernels.numba_ import compiling

compiling.host = lambda: (llvm.get_host_cpu_name(), "-avx,-avx2,-avx512f")
from fastnn import backends
from fastnn.capture import Launch
from fastnn.kernels.contract import KERNELS
from fastnn.kernels.numba_.vector import VECTOR_BYTES

assert VECTOR_BYTES == 16
draw = np.random.default_rng(0).standard_normal
for real in (np.float32, np.float64):
    for n, inputs, outputs in ((16, 29, 43), (3, 7, 5), (9, 530, 18)):
        x, dz, weight, bias = draw((n, inputs)), draw((n, outputs)), draw((inputs, outputs)), draw(outputs)
        x, dz, weight, bias = (array.astype(real) for array in (x, dz, weight, bias))
        for name, given, wanted in (
            ("dense", (x, weight, bias), x @ weight + bias),
            ("dense_dx", (dz, weight), dz @ weight.T),
            ("dense_dweight", (x, dz), x.T @ dz),
        ):
            out = np.empty(wanted.shape, real)
            backends.get("numba").launch(Launch(KERNELS[name], [*given, out], np.dtype(real)))
            np.testing.assert_allclose(out, wanted, rtol=1e4 * np.finfo(real).eps, atol=1e3 * np.finfo(real).eps)
"""


def test_products_by_vectors_of_16_bytes(tmp_path):
    """Those of ARM's NEON, and of old processors: a register tile is wider than they are."""
    pytest.importorskip("numba")
    environment = {**os.environ, "FASTNN_CACHE": str(tmp_path), "FASTNN_QUIET": "1"}
    run = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr
