"""The table of kernels can be read, and every backend has all of its kernels with its very arguments."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from fastnn import backends
from fastnn.capture import Eager, Launch
from fastnn.kernels import contract, numpy_
from fastnn.kernels.contract import ELEMENTWISE, KERNELS, NEEDS_Z, TABLE_COLUMNS

every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))


def legend():
    """The shape letters that the table's docstring explains."""
    sentence = re.search(r"Shape letters:(.*?)\.", contract.__doc__, re.DOTALL).group(1)
    return {text.split()[0] for text in re.split(r",\s+(?:and\s+)?", sentence.strip())}


@every_kernel
def test_a_line_of_the_table_is_complete(kernel):
    assert len(set(kernel.arguments)) == len(kernel.arguments)
    assert any(array.writes for array in kernel.arrays)
    assert kernel.split in ("rows", "params", "single")
    assert (kernel.owner >= 0) == (kernel.split != "single")
    assert {kind for _, kind in kernel.scalars} <= {"int", "float", "double"}
    # A native kernel finds its arguments in 64 words.
    assert 3 * len(kernel.arrays) + len(kernel.scalars) <= 64


@every_kernel
def test_axes_are_explained_letters_or_lengths(kernel):
    axes = {axis for array in kernel.arrays for axis in array.axes}
    assert {axis for axis in axes if not axis.isdigit()} <= legend()


@every_kernel
def test_threads_share_an_axis_of_something_written(kernel):
    if kernel.split == "single":
        return
    shared = kernel.arrays[kernel.owner].axes[0]
    assert any(shared in array.axes[:1] for array in kernel.arrays if array.writes) or kernel.name in (
        "scatter",  # writes rows of a data set, each row of the batch its own
        "check_finite",  # sets bits of one word
    )


@pytest.mark.parametrize("argument", ["x", "x[n]", "x[N]:text", "x[N", "*x[N]"])
def test_what_is_no_array_is_refused(argument):
    with pytest.raises(ValueError, match=re.escape(f"kernel f: cannot read the argument '{argument}'")):
        contract.parse(f"f {argument} -> y[N] ; split rows y")


@pytest.mark.parametrize(
    "line",
    [
        "f x[N] -> y[N] ; split colums y",
        "f x[N] -> y[N] ; b:flaot ; split rows y",
        "f x[N] -> y[N] ; rows y",
        "f x[N] -> y[N] ; split rows q",
        "f x[N] -> y[N] ; split rows",
        "f x[N] -> y[N] ; split single y",
        "f x[N] y[N] ; split rows y",
        "f",
        "",
    ],
)
def test_what_is_no_line_of_the_table_is_refused(line):
    with pytest.raises(ValueError, match=r"line must be like|kernel f: split must name"):
        contract.parse(line)


def test_a_line_is_text():
    with pytest.raises(TypeError, match="line must be a line of the kernels' table, got 3"):
        contract.parse(3)


def test_a_line_reads_like_a_signature():
    kernel = contract.parse("f x[N,I] ids[N]:int? sums[K]:double -> +w[I] y[N] ; rate:float steps:int ; split rows y")
    assert kernel.arguments == ("x", "ids", "sums", "w", "y", "rate", "steps")
    assert [(a.element, a.optional, a.reads, a.writes) for a in kernel.arrays] == [
        ("real", False, True, False),
        ("int", True, True, False),
        ("double", False, True, False),
        ("real", False, True, True),
        ("real", False, False, True),
    ]
    assert kernel.arrays[0].axes == ("N", "I")
    assert kernel.scalars == (("rate", "float"), ("steps", "int"))
    assert (kernel.split, kernel.owner) == ("rows", 4)


def test_the_reference_has_the_kernels_of_the_table_and_no_others():
    assert set(numpy_.__all__) == set(KERNELS)


@every_kernel
def test_the_reference_takes_the_arguments_of_the_table(kernel):
    function = getattr(numpy_, kernel.name)
    assert tuple(inspect.signature(function).parameters) == kernel.arguments
    assert function.__doc__, "the reference is written to be read"


@every_kernel
def test_native_kernels_take_the_arguments_of_the_table(kernel):
    pytest.importorskip("numba")
    native = importlib.import_module("fastnn.kernels.numba_.native")
    given = list(inspect.signature(native.body_of(kernel.name)).parameters)
    if given[-1] == "local":  # the thread's memory, where it keeps the clock
        given.pop()
    else:
        assert "clock" not in kernel.arguments
    assert given == [*(name for name in kernel.arguments if name != "clock"), "start", "stop"]


@every_kernel
def test_every_kernel_is_tested(kernel):
    assert f'"{kernel.name}"' in TESTS


@every_kernel
def test_every_backend_says_that_it_has_the_kernel(kernel, backend):
    if (backend, kernel.name) == ("cupy", "order_of"):
        pytest.skip("the order of the rows is made on the host")
    backends.get(backend).check(kernel)


def test_lists_beside_the_table_fit_it():
    assert set(ELEMENTWISE) > NEEDS_Z
    assert set(TABLE_COLUMNS) == {name for name, k in KERNELS.items() if any(a.name == "table" for a in k.arrays)}


X, W, B, Z = np.ones((2, 3)), np.ones((3, 4)), np.ones(4), np.ones((2, 4))


@pytest.mark.parametrize(
    "error, message, args",
    [
        (TypeError, "dense takes x, weight, bias, z; got 3 arguments", (X, W, B)),
        (TypeError, "dense: weight must be an array, got None", (X, None, B, Z)),
        (TypeError, "dense: x must be an array, got list", ([1.0], W, B, Z)),
        (TypeError, "dense: bias must be float64, got float32", (X, W, B.astype(np.float32), Z)),
        (ValueError, "dense: x must be contiguous", (np.ones((3, 2)).T, W, B, Z)),
        (ValueError, "dense: axis O is 4 in weight but 5 in bias", (X, W, np.ones(5), Z)),
        (ValueError, "dense: axis N is 2 in x but 3 in z", (X, W, None, np.ones((3, 4)))),
    ],
)
def test_arguments_that_do_not_fit_the_table_are_named(error, message, args):
    with pytest.raises(error, match=re.escape(message)):
        Launch(KERNELS["dense"], args, np.dtype(np.float64))


def test_an_unknown_kernel_is_named_with_the_nearest_known():
    with pytest.raises(AttributeError, match="unknown kernel 'dens': did you mean 'dense'"):
        Eager(backends.get("numpy"), np.float64).dens(X, W, B, Z)
