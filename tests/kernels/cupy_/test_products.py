"""Products through cuBLASLt equal NumPy's, and ask the library for just what they then use."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys

import cupy
import numpy as np
import pytest
import simulated_cupy

from fastnn.kernels.cupy_ import cublaslt, products

simulated = simulated_cupy.in_force()
of_the_simulated = pytest.mark.skipif(not simulated, reason="looks at what the simulated library is strict about")

# rows, inputs, outputs; the third wants a workspace from the simulated library
SIZES = [(1, 1, 1), (5, 37, 3), (2, 300, 1), (33, 4, 64), (128, 10, 7)]
sizes = pytest.mark.parametrize("rows, inputs, outputs", SIZES)


@pytest.fixture
def numbers(dtype):
    """Normal numbers of a shape, on the host and on the device."""
    rng = np.random.default_rng(12)

    def draw(*shape):
        host = rng.standard_normal(shape).astype(dtype)
        return host, cupy.asarray(host)

    return draw


def result(name, values, shape, dtype, **options):
    out = cupy.empty(shape, dtype)
    products.prepare(name, (*values, out), **options)()
    return out.get()


@sizes
def test_products_equal_numpys(numbers, close, dtype, rows, inputs, outputs):
    (x, x_), (weight, weight_), (bias, bias_), (dz, dz_) = (
        numbers(*shape) for shape in ((rows, inputs), (inputs, outputs), (outputs,), (rows, outputs))
    )
    close(result("dense", (x_, weight_, bias_), (rows, outputs), dtype), x.astype(float) @ weight + bias)
    close(result("dense", (x_, weight_, None), (rows, outputs), dtype), x.astype(float) @ weight)
    close(result("dense_dx", (dz_, weight_), (rows, inputs), dtype), dz.astype(float) @ weight.T)
    close(result("dense_dweight", (x_, dz_), (inputs, outputs), dtype), x.T.astype(float) @ dz)


def test_tf32_is_asked_for_and_rounds_single_precision_only(numbers, dtype):
    (x, x_), (weight, weight_) = numbers(20, 30), numbers(30, 10)
    exact = x.astype(float) @ weight
    error = abs(result("dense", (x_, weight_, None), (20, 10), dtype, tf32=True) - exact).max() / abs(exact).max()
    assert 1e-5 < error < 1e-3 if dtype == np.float32 else error < 1e-14


def test_an_array_may_lie_anywhere(numbers, close, dtype):
    """Views of a larger array are less aligned than memory of their own, and the library must know."""
    (x, x_), (weight, weight_) = numbers(4, 3), numbers(3, 5)
    memory = cupy.empty(21, dtype)
    out = memory[1:].reshape(4, 5)
    products.prepare("dense", (x_, weight_, None, out))()
    close(out.get(), x.astype(float) @ weight)
    assert products.algorithm.cache_info().currsize > 0


def test_the_bits_do_not_depend_on_the_place(numbers, dtype):
    (_, x), (_, weight) = numbers(8, 3), numbers(3, 4)
    memory = cupy.empty(40, dtype)
    seen = set()
    for first in (0, 4, 8):
        out = memory[first : first + 32].reshape(8, 4)
        products.prepare("dense", (x, weight, None, out))()
        seen.add(out.get().tobytes())
    assert len(seen) == 1


def test_a_captured_product_allocates_and_loads_nothing(numbers, dtype):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        (_, x), (weight, weight_), (_, out) = numbers(2, 301), numbers(301, 1), numbers(2, 1)
        product = products.prepare("dense", (x, weight_, None, out))
        stream.begin_capture()
        product()
        graph = stream.end_capture()
        for value in (0, 1):
            x.fill(value)
            graph.launch()
            np.testing.assert_allclose(out.get(), np.full((2, 1), value * weight.sum()), rtol=1e-4)


@of_the_simulated
def test_each_product_has_a_workspace_of_its_own(numbers, dtype):
    (_, x), (_, weight), (_, out) = numbers(2, 303), numbers(303, 1), numbers(2, 1)
    one, other = (products.prepare("dense", (x, weight, None, out)) for _ in range(2))
    assert one._arrays[1].ptr != other._arrays[1].ptr


def test_the_library_forgets_products_that_are_gone(numbers, dtype, monkeypatch):
    gc.collect()
    made, gone = [], []
    make, call = cublaslt.make, cublaslt.call

    def note(name, *args):
        if name.endswith("Destroy"):
            gone.append(name.removesuffix("Destroy"))
        call(name, *args)

    monkeypatch.setattr(cublaslt, "make", lambda name, *args: made.append(name) or make(name, *args))
    monkeypatch.setattr(cublaslt, "call", note)
    (_, x), (_, weight), (_, out) = numbers(3, 11), numbers(11, 2), numbers(3, 2)
    product = products.prepare("dense", (x, weight, None, out))
    product()
    del product
    gc.collect()
    assert sorted(made) == sorted(gone)
    assert len(made) >= 4


REFUSED = [("MatmulDesc", (68, 1)), ("MatmulDesc", (70, 0)), ("MatrixLayout", (0, 3, 2, 2))]


@of_the_simulated
@pytest.mark.parametrize("name, args", REFUSED)
def test_what_the_library_refuses_is_told_in_its_words(name, args):
    with pytest.raises(RuntimeError, match=rf"cublasLt{name}Create: CUBLAS_STATUS_INVALID_VALUE \(7\)"):
        cublaslt.make(name, *args)


def test_a_shape_without_an_algorithm_is_named(numbers, monkeypatch, dtype):
    (_, x), (_, weight), (_, out) = numbers(3, 13), numbers(13, 2), numbers(3, 2)
    call = cublaslt.call

    def none_found(name, *args):
        call(name, *args)
        if name == "MatmulAlgoGetHeuristic":
            args[-1]._obj.value = 0

    monkeypatch.setattr(cublaslt, "call", none_found)
    with pytest.raises(RuntimeError, match=f"no algorithm for a product of 3 x 13 by 13 x 2 of {dtype}"):
        products.prepare("dense", (x, weight, None, out))


def test_a_missing_library_is_told_with_the_install_line(monkeypatch):
    import cuda.pathfinder as finder

    def find(name):
        raise finder.DynamicLibNotFoundError(name)

    monkeypatch.setattr(finder, "load_nvidia_dynamic_lib", find)
    with pytest.raises(ImportError, match=r'cuBLASLt is not installed: pip install "fastnn\[cuda13\]"'):
        cublaslt._library.__wrapped__()


THEIRS = """
import json
try:
    from nvmath.bindings import cublas, cublasLt as lt
except ImportError:
    raise SystemExit(3)
result = lt.matmul_heuristic_result_dtype
preference = lt.MatmulPreferenceAttribute
print(json.dumps({
    "COMPUTE_32F": cublas.ComputeType.COMPUTE_32F,
    "COMPUTE_64F": cublas.ComputeType.COMPUTE_64F,
    "COMPUTE_32F_FAST_TF32": cublas.ComputeType.COMPUTE_32F_FAST_TF32,
    "TRANSA": lt.MatmulDescAttribute.TRANSA,
    "TRANSB": lt.MatmulDescAttribute.TRANSB,
    "EPILOGUE": lt.MatmulDescAttribute.EPILOGUE,
    "BIAS_POINTER": lt.MatmulDescAttribute.BIAS_POINTER,
    "EPILOGUE_BIAS": lt.Epilogue.BIAS,
    "MAX_WORKSPACE_BYTES": preference.MAX_WORKSPACE_BYTES,
    "MIN_ALIGNMENT": [preference[f"MIN_ALIGNMENT_{letter}_BYTES"] for letter in "ABCD"],
    "places": [result.fields[name][1] for name in result.names],
    "size": result.itemsize,
}))
"""


def test_numbers_are_those_of_nvidias_headers():
    """nvmath-python is made from the headers: where it is installed, its tables are compared with ours."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", THEIRS], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("nvmath-python is not installed")
    theirs = json.loads(done.stdout)
    result = cublaslt.Heuristic
    assert theirs.pop("places") == [getattr(result, name).offset for name, _ in result._fields_]
    assert theirs.pop("size") == ctypes.sizeof(result)
    assert theirs.pop("MIN_ALIGNMENT") == list(cublaslt.MIN_ALIGNMENT)
    assert theirs == {name: getattr(cublaslt, name) for name in theirs}
