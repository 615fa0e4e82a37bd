"""Hold exp, log, tanh, erf and their kin to exact values, to vector code and to the same bits everywhere."""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import re
import subprocess
import sys
from decimal import Decimal, localcontext

import numpy as np
import pytest

from fastnn.kernels.numpy_ import special

INF, NAN = math.inf, math.nan


def exact_erf(x: Decimal) -> Decimal:
    """2/sqrt(pi) * exp(-x^2) * sum of 2^n x^(2n+1) / (2n+1)!!, all terms of one sign."""
    if abs(x) > 12:
        return Decimal(1).copy_sign(x)
    term = total = x
    n = 0
    while abs(term) > abs(total) * Decimal("1e-40"):
        n += 1
        term *= 2 * x * x / (2 * n + 1)
        total += term
    return 2 / Decimal("3.14159265358979323846264338327950288419716939937511").sqrt() * (-x * x).exp() * total


EXACT = {
    "exp": lambda x: x.exp(),
    "expm1": lambda x: x.exp() - 1,
    "log": lambda x: x.ln(),
    "log1p": lambda x: (1 + x).ln(),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": lambda x: 1 - 2 / ((2 * x).exp() + 1),
    "erf": exact_erf,
}
NAMES = list(EXACT)
# The largest error each may have, in units in the last place.
ULPS = {"exp": 2, "expm1": 2, "log": 2, "log1p": 2, "sigmoid": 4, "tanh": 4, "erf": 4}

both_types = pytest.mark.parametrize("real", [np.float32, np.float64])
each_function = pytest.mark.parametrize("name", NAMES)


def points(name: str, real: type) -> np.ndarray:
    """Numbers of the type across a function's domain, dense where its formula changes, and close to zero."""
    rng = np.random.default_rng(7)
    single = real == np.float32
    tiny = 10.0 ** rng.uniform(-12, -1, 60)
    if name == "log":
        largest = math.log(np.finfo(real).max) - 2  # both ways: it takes normal numbers
        x = np.r_[np.exp(rng.uniform(-largest, largest, 150)), 1 + tiny, 1 - tiny, rng.uniform(0.3, 3, 150)]
    elif name == "log1p":
        x = np.r_[tiny, rng.uniform(0, 1, 200)]  # of powers of e below 1
    else:
        lowest, highest = {
            "exp": (-87.3 if single else -708.3, 88.7 if single else 709.7),
            "expm1": (-40, 88.7 if single else 709.7),
            "sigmoid": (-87.3 if single else -708.3, 40),
            "tanh": (-25, 25),
            "erf": (-8, 8),
        }[name]
        around = np.r_[rng.uniform(-0.7, 0.7, 100), rng.uniform(-9, 9, 100)]
        x = np.r_[rng.uniform(lowest, highest, 150), tiny, -tiny, around]
    return x.astype(real)


def worst_ulps(name: str, x: np.ndarray, y: np.ndarray) -> float:
    """The largest distance of y from the exact function of x, in units in the last place of the result."""
    errors = []
    with localcontext() as context:
        context.prec = 60
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            exact = EXACT[name](Decimal(a))
            unit = np.spacing(np.abs(x.dtype.type(float(exact))))
            errors.append(abs(Decimal(b) - exact) / Decimal(float(unit)))
    return float(max(errors))


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.dtype == expected.dtype and actual.tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def vmath():
    pytest.importorskip("numba")
    return importlib.import_module("fastnn.kernels.numba_.vmath")


def loops_over(vmath) -> dict:
    """For each function a native loop over a contiguous array, compiled when a test first calls it."""
    njit = pytest.importorskip("numba").njit

    def loop_over(function):
        @njit(error_model="numpy")
        def loop(x, y):
            for i in range(x.size):
                y[i] = function(x[i])

        def apply(x):
            y = np.empty_like(x)
            loop(x, y)
            return y

        apply.native = loop
        return apply

    return {name: loop_over(getattr(vmath, name)) for name in NAMES}


@pytest.fixture(scope="module")
def loops(vmath):
    return loops_over(vmath)


@both_types
@each_function
def test_accuracy(loops, name, real):
    x = points(name, real)
    assert worst_ulps(name, x, loops[name](x)) <= ULPS[name]


SPECIAL = {
    "exp": [(0, 1), (-0.0, 1), (1000, INF), (-1000, 0), (INF, INF), (-INF, 0), (NAN, NAN)],
    "expm1": [(0, 0), (1000, INF), (-1000, -1), (INF, INF), (-INF, -1), (NAN, NAN)],
    "log": [(1, 0), (NAN, NAN)],
    "log1p": [(0, 0), (NAN, NAN)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (1000, 1), (-1000, 0), (INF, 1), (-INF, 0), (NAN, NAN)],
    "tanh": [(0, 0), (-0.0, -0.0), (1000, 1), (-1000, -1), (INF, 1), (-INF, -1), (NAN, NAN)],
    "erf": [(0, 0), (-0.0, -0.0), (1000, 1), (-1000, -1), (INF, 1), (-INF, -1), (NAN, NAN)],
}


@both_types
@each_function
def test_special_values(loops, name, real):
    x, expected = np.array(SPECIAL[name], real).T.copy()
    y = loops[name](x)
    np.testing.assert_array_equal(y, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(y[number]), np.signbit(expected[number]))


@both_types
@each_function
def test_nan_with_any_payload_stays_nan(loops, name, real):
    bits = np.dtype(real).str.replace("f", "u")
    first = np.array(INF, real).view(bits)
    x = (first + np.array([1, 2, 3, 5, 1 << 7, 1 << 20, (1 << 22) + 1], bits)).view(real)
    assert np.isnan(loops[name](np.r_[x, -x])).all()


@both_types
def test_exp_is_monotone_where_it_overflows_and_vanishes(loops, real):
    def neighbours(x: float) -> np.ndarray:
        bits = np.dtype(real).str.replace("f", "i")
        steps = np.arange(-3000, 3001).astype(bits)
        return np.sort((np.array(x, real).view(bits) + steps).view(real))

    limits = np.finfo(real)
    for edge in (math.log(limits.max), math.log(limits.smallest_normal)):
        y = loops["exp"](neighbours(edge))
        assert np.all(y[1:] >= y[:-1])
        assert np.all((y == 0) | (y >= limits.smallest_normal))
        # Both sides of the edge were seen: it lies within a few numbers of where it belongs.
        outside = y == (INF if edge > 0 else 0)
        assert 2990 <= outside.sum() <= 3010


@both_types
def test_relative_accuracy_of_tiny_arguments(loops, real):
    x = np.array([1e-20, -1e-20, 1e-30, -1e-37, np.finfo(real).smallest_normal], real)
    for name in ("tanh", "expm1"):
        np.testing.assert_array_equal(loops[name](x), x)
    np.testing.assert_array_equal(loops["log1p"](abs(x)), abs(x))
    slope = real(2 / math.sqrt(math.pi))
    np.testing.assert_allclose(loops["erf"](x), slope * x, rtol=4 * np.finfo(real).eps, atol=0)


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_functions_are_odd_to_the_bit(loops, name):
    x = points(name, np.float32)
    assert same(loops[name](-x), -loops[name](x))


@both_types
@each_function
def test_same_bits_alone_and_at_every_offset(vmath, loops, name, real):
    x = points(name, real)[-160::4][:37]
    whole = loops[name](x)
    assert whole.size == 37
    for start in range(1, 37):
        assert same(loops[name](x[start:]), whole[start:])
    alone = np.array([getattr(vmath, name)(number) for number in x], real)
    assert same(alone, whole)


def instructions(listing: str, head: str, end: str) -> str:
    """The part of a listing from the line that matches `head` to the one that matches `end`."""
    begin = re.search(head, listing, re.MULTILINE).end()
    return listing[begin : begin + re.search(end, listing[begin:], re.MULTILINE).start()]


@both_types
@each_function
def test_loop_becomes_vector_code_that_calls_nothing(loops, name, real):
    numba = pytest.importorskip("numba")
    array = numba.from_dtype(np.dtype(real))[::1]
    native = loops[name].native
    if (array, array) not in native.signatures:
        native.compile((array, array))
    symbol = re.escape(native.overloads[(array, array)].fndesc.llvm_func_name)
    ir = instructions(native.inspect_llvm((array, array)), rf'^define .*@"?{symbol}"?\(', r"^}")
    over = r"^\s*\.(size|cfi_endproc|seh_endproc)|^\S*func_end"
    assembly = instructions(native.inspect_asm((array, array)), rf"^_?{symbol}:", over)

    kind, bits = ("float", 32) if real == np.float32 else ("double", 64)
    assert re.search(rf"<\d+ x {kind}> @llvm\.fma\.v\d+f{bits}", ir)
    # These become an instruction or a few; nothing else is called, least of all the C library.
    called = set(re.findall(r"\bcall\b[^@\n]*@([\w.]+)", ir))
    assert {f for f in called if not re.match(r"llvm\.(fma|fabs|copysign|is\.fpclass)\.", f)} == set()
    assert not re.search(r"^\s+(callq?|blr?)\s", assembly, re.MULTILINE)
    assert re.search(r"fn?m(add|sub|la|ls)", assembly)
    assert real == np.float64 or "double" not in ir


@both_types
def test_fma_rounds_once(vmath, real):
    native = pytest.importorskip("numba").njit(lambda a, b, c: vmath.fma(a, b, c))
    eps = np.finfo(real).eps
    assert native(1 + eps, 1 - eps, real(-1)) == -(eps**2)


@both_types
@each_function
def test_result_has_the_type_of_the_argument(vmath, name, real):
    kind = pytest.importorskip("numba").from_dtype(np.dtype(real))
    function = getattr(vmath, name)
    function(real(0.5))
    assert function.overloads[(kind,)].signature.return_type == kind


def test_other_types_are_refused(vmath):
    error = importlib.import_module("numba.core.errors").TypingError
    with pytest.raises(error, match="float32 or float64"):
        vmath.exp(1)
    njit = pytest.importorskip("numba").njit
    with pytest.raises(error, match="all of one type"):
        njit(lambda a, b: vmath.fma(a, b, b))(np.float32(1), np.float64(1))


def digest_of(loops: dict) -> str:
    """A digest of the bits of all functions, in both types, on a grid."""
    digest = hashlib.sha256()
    for real in (np.float32, np.float64):
        for name in NAMES:
            digest.update(np.nan_to_num(loops[name](np.linspace(-20, 20, 1001).astype(real))).tobytes())
    return digest.hexdigest()


ELSEWHERE = f"""
import runpy
test = runpy.run_path({__file__!r})
loops = test["loops_over"](__import__("fastnn.kernels.numba_.vmath", fromlist=["vmath"]))
print(test["digest_of"](loops))
ir = "".join(loops["exp"].native.inspect_llvm().values())
print(max(width for width in (1, 2, 4, 8) if f"<{{width}} x double>" in ir))
"""


def test_same_bits_with_narrower_vectors(loops):
    features = importlib.import_module("llvmlite.binding").get_host_cpu_features()
    if not (features.get("avx512f") and features.get("fma")):
        pytest.skip("needs a processor with AVX-512, to compare it with AVX2")
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [digest_of(loops), "4"]


@both_types
def test_numpy_erf_accuracy_and_special_values(real):
    x = points("erf", real)
    y = special.erf(x)
    assert worst_ulps("erf", x, y) <= 4
    assert same(special.erf(-x), -y)
    x, expected = np.array(SPECIAL["erf"], real).T
    np.testing.assert_array_equal(special.erf(x), expected)
    assert math.copysign(1, special.erf(np.array([-0.0], real))[0]) == -1


@both_types
def test_native_erf_agrees_with_numpy(loops, real):
    x = points("erf", real)
    np.testing.assert_allclose(loops["erf"](x), special.erf(x), rtol=6 * np.finfo(real).eps, atol=0)


def test_numpy_erf_takes_any_shape():
    x = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)
    assert special.erf(x.T).tobytes() == special.erf(x).T.tobytes()
    assert special.erf(np.empty((0, 3))).shape == (0, 3)
    assert special.erf(np.float64(0.25)) == pytest.approx(math.erf(0.25), rel=1e-15)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        special.erf(np.arange(3))
