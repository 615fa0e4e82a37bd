"""The three products of a fully connected layer, each as one call of cuBLASLt.

    dense            z = x weight + bias            dense_dx         dx = dz weight^T
    dense_dweight    dweight = x^T dz

cuBLASLt counts columns first, so it sees each of our matrices transposed; it is asked for out^T = right^T left^T.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import cupy
import numpy as np

from fastnn.kernels.cupy_ import cublaslt

WORKSPACE = 32 << 20  # bytes that an algorithm may ask for: what NVIDIA recommends for Hopper
ALIGNMENT = 16  # bytes; the widest load of a thread wants no more, and then a shape has one algorithm wherever it lies


class Plan(NamedTuple):
    """What decides which algorithm is chosen."""

    rows: int  # of the result
    columns: int
    inner: int
    transposed: tuple[bool, bool]  # left, right
    dtype: np.dtype
    bias: bool
    tf32: bool
    alignment: int

    def descriptor(self) -> ctypes.c_void_p:
        """How to multiply, as cuBLASLt takes it."""
        single = cublaslt.COMPUTE_32F_FAST_TF32 if self.tf32 else cublaslt.COMPUTE_32F
        compute = single if self.dtype == np.float32 else cublaslt.COMPUTE_64F
        made = cublaslt.make("MatmulDesc", compute, self.element)
        for attribute, transposed in zip((cublaslt.TRANSB, cublaslt.TRANSA), self.transposed, strict=True):
            cublaslt.set_attribute("MatmulDesc", made, attribute, ctypes.c_int32(transposed))
        if self.bias:
            epilogue = ctypes.c_uint32(cublaslt.EPILOGUE_BIAS)
            cublaslt.set_attribute("MatmulDesc", made, cublaslt.EPILOGUE, epilogue)
        return made

    def layouts(self) -> list[ctypes.c_void_p]:
        """The shapes of right, left and result, columns first."""
        shapes = [(self.inner, self.columns), (self.rows, self.inner)]
        turned = [shape[::-1] if t else shape for shape, t in zip(shapes, self.transposed[::-1], strict=True)]
        return [cublaslt.make("MatrixLayout", self.element, c, r, c) for r, c in [*turned, (self.rows, self.columns)]]

    @property
    def element(self) -> int:
        """The element type's number."""
        return cublaslt.R_32F if self.dtype == np.float32 else cublaslt.R_64F

    def __repr__(self) -> str:
        size = f"{self.rows} x {self.inner} by {self.inner} x {self.columns}"
        return f"{size} of {self.dtype}{' in TF32' * self.tf32}{' with bias' * self.bias}"


@functools.cache
def algorithm(plan: Plan) -> cublaslt.Heuristic:
    """The algorithm that cuBLASLt thinks best; raises RuntimeError where it has none."""
    preference = cublaslt.make("MatmulPreference")
    set_to = functools.partial(cublaslt.set_attribute, "MatmulPreference", preference)
    set_to(cublaslt.MAX_WORKSPACE_BYTES, ctypes.c_uint64(WORKSPACE))
    for attribute in cublaslt.MIN_ALIGNMENT:
        set_to(attribute, ctypes.c_uint32(plan.alignment))
    descriptor, (right, left, out) = plan.descriptor(), plan.layouts()
    result, found = cublaslt.Heuristic(), ctypes.c_int()
    try:
        asked = (cublaslt.handle(), descriptor, right, left, out, out, preference)
        cublaslt.call("MatmulAlgoGetHeuristic", *asked, 1, ctypes.byref(result), ctypes.byref(found))
    finally:
        _destroy(descriptor, [right, left, out])
        cublaslt.call("MatmulPreferenceDestroy", preference)
    if not found.value or result.state:
        raise RuntimeError(f"cuBLASLt has no algorithm for a product of {plan!r}")
    return result


def _destroy(descriptor: ctypes.c_void_p, layouts: Sequence[ctypes.c_void_p]) -> None:
    cublaslt.call("MatmulDescDestroy", descriptor)
    for layout in layouts:
        cublaslt.call("MatrixLayoutDestroy", layout)


_tried: set[Plan] = set()


class Product:
    """out = left right + bias, left or right transposed; calling it launches it on the current stream.

    It has a workspace of its own, so that products may run beside each other on several streams and in several
    graphs. The first product of a plan is launched at once: CUDA loads an algorithm when it first runs, which it must
    not do while a graph is captured.
    """

    def __init__(
        self, left: Any, right: Any, out: Any, bias: Any, transposed: tuple[bool, bool], tf32: bool = False
    ) -> None:
        inner = left.shape[0 if transposed[0] else 1]
        arrays = [array for array in (left, right, out, bias) if array is not None]
        alignment = functools.reduce(np.gcd, [array.data.ptr for array in arrays], ALIGNMENT)
        tf32 = tf32 and out.dtype == np.float32
        plan = Plan(*out.shape, inner, transposed, out.dtype, bias is not None, tf32, int(alignment))
        chosen = algorithm(plan)
        self._descriptor, self._layouts = plan.descriptor(), plan.layouts()
        weakref.finalize(self, _destroy, self._descriptor, self._layouts).atexit = False
        if bias is not None:
            pointer = ctypes.c_void_p(bias.data.ptr)
            cublaslt.set_attribute("MatmulDesc", self._descriptor, cublaslt.BIAS_POINTER, pointer)
        size = chosen.workspace_size
        workspace = cupy.cuda.alloc(size) if size else None
        self._one, self._zero = (np.array(number, out.dtype) for number in (1, 0))
        self._arrays = arrays, workspace  # which must live as long as this
        of_right, of_left, of_out = self._layouts
        self._args = (
            cublaslt.handle(), self._descriptor, self._one.ctypes.data,
            right.data.ptr, of_right, left.data.ptr, of_left, self._zero.ctypes.data,
            out.data.ptr, of_out, out.data.ptr, of_out,
            ctypes.byref(chosen.algorithm), workspace.ptr if workspace else None, size,
        )  # fmt: skip
        if plan not in _tried:
            self()
            _tried.add(plan)

    def __call__(self) -> None:
        """Launch on the current stream."""
        cublaslt.call("Matmul", *self._args, cupy.cuda.get_current_stream().ptr)


def prepare(name: str, values: Sequence[Any], tf32: bool = False) -> Product:
    """A launch of "dense", "dense_dx" or "dense_dweight" on device arrays, in the order of the table."""
    if name == "dense":
        x, weight, bias, z = values
        return Product(x, weight, z, bias, (False, False), tf32)
    if name == "dense_dx":
        dz, weight, dx = values
        return Product(dz, weight, dx, None, (False, True), tf32)
    x, dz, dweight = values
    return Product(x, dz, dweight, None, (True, False), tf32)
