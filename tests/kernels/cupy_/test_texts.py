"""The CUDA text is what the table asks for, and NVIDIA's compiler takes it for every GPU that is supported."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastnn.kernels import contract
from fastnn.kernels.contract import BUILT_IN, ELEMENTWISE, KERNELS, parse
from fastnn.kernels.cupy_ import texts

ELSEWHERE = {"dense", "dense_dx", "dense_dweight", "order_of"}  # cuBLASLt's; and shuffles are drawn by the host
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
IN_FLOAT64 = {"record", "penalty", "sgd_update", "adagrad_update", "rmsprop_update", "adam_update"}  # sums and rates
DTYPES = {"data.cu": ("float32", "float64", "int64"), "random.cu": ("int64",), "step.cu": ("int64",)}
COMPILED = [(file, dtype) for file in texts.files() for dtype in DTYPES.get(file, ("float32", "float64"))]
SWISH = parse("swish x[N,F] -> y[N,F] ; beta:float ; split rows y")
TEXT = """extern "C" __global__ void swish(const REAL* x, REAL* y, REAL beta,
                                 long long N, int64 F) {
    int64 i = element();
    if (i < N * F) y[i] = x[i] * sigmoid(beta * x[i]);
}"""


def test_every_kernel_of_the_table_has_a_function():
    functions = {name for file in texts.files() for name in texts.entries(file)}
    assert functions == (BUILT_IN - ELSEWHERE) | {"advance"}


@pytest.mark.parametrize("name", sorted(BUILT_IN - ELSEWHERE))
def test_functions_take_what_the_table_says(name):
    found = texts.entries(texts.file_of(name))[name]
    assert " ".join(found.split()) == texts.signature(KERNELS[name])


def test_constants_of_the_table_mean_the_same():
    text = texts.source("activation.cu")
    clock, kinds = (names.split(", ") for names in re.findall(r"enum { (.*?) }", text))
    assert [getattr(contract, name) for name in clock] == [0, 1, 2]
    assert [kind.lower() for kind in kinds] == list(ELEMENTWISE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file, dtype", COMPILED)
def test_kernels_compile_for_every_architecture(nvrtc, record_compiled, file, dtype, architecture):
    ptx = nvrtc.compile(texts.source(file), (*texts.options(dtype), f"-arch={architecture}"))
    functions = dict(zip(*[iter(re.split(r"\.visible \.entry (\w+)\(", ptx)[1:])] * 2, strict=True))
    assert set(functions) == set(texts.entries(file))
    record_compiled(architecture, functions)
    if dtype == "float32":  # a forgotten REAL(...) costs 64 times the time on most GPUs
        assert {name for name, body in functions.items() if ".f64" in body} <= IN_FLOAT64
    assert not any(".local" in body for body in functions.values()), "registers spill, or an array is indexed"


def test_the_compiler_is_heard(nvrtc):
    with pytest.raises(ValueError, match=r"loss\.cu.*undefined"):
        nvrtc.compile(texts.source("loss.cu").replace("row_sum(total)", "row_sun(total)"), texts.options("float32"))


@pytest.mark.parametrize("place, shape, grid, block", [
    ("element", (3, 100), 2, (256, 1)), ("element", (1, 256), 1, (256, 1)), ("group", (1, 1025), 2, (256, 1)),
    ("own_row", (9, 256), 3, (32, 4)), ("own_row", (9, 257), 9, (256, 1)), ("own_column", (33,), 2, (32, 32)),
    ("", (), 1, (1024, 1)), ("element", (0, 5), 1, (256, 1)),
])  # fmt: skip
def test_layouts(place, shape, grid, block):
    assert texts.LAYOUTS[place](shape) == ((grid, 1, 1), (*block, 1))


def test_a_kernel_of_ones_own():
    texts.add_source(SWISH, TEXT)
    try:
        assert texts.has("swish")
        assert texts.layout(SWISH, [np.empty((3, 100)), np.empty((3, 100))])[0] == (2, 1, 1)
        assert texts.source("swish").endswith(TEXT)
    finally:
        texts.remove_source("swish")
    assert not texts.has("swish")


@pytest.mark.parametrize("old, new, error, words", [
    ("const REAL* x", "REAL* x", TypeError, r"cupy must define .*const REAL\* x.*; got .*\(REAL\* x"),
    ("REAL beta", "float beta", TypeError, "cupy must define .* REAL beta.*; got .* float beta"),
    ("swish(", "swash(", TypeError, r"int64 N, int64 F\); got no function of that name"),
    ("element();", "element() + own_row();", ValueError, "kernel swish asks more than one .*: element, own_row"),
])  # fmt: skip
def test_text_that_does_not_fit_the_table_is_refused(old, new, error, words):
    with pytest.raises(error, match=words):
        texts.add_source(SWISH, TEXT.replace(old, new))
    assert not texts.has("swish")
