"""The part of NVIDIA's cuBLASLt that we need: the product that a CUDA graph can capture.

CuPy's own products go through cuBLAS, which CuPy refuses to capture (cupy issue 6290). nvmath-python binds the same
functions, but importing it loads 250 modules in 0.9 s, and CuPy's users do not have it; these eleven need no more than
ctypes. Numbers and layouts are those of cublasLt.h, version 12 and 13.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

R_32F, R_64F = 0, 1  # cudaDataType_t
COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70  # cublasComputeType_t
TRANSA, TRANSB, EPILOGUE, BIAS_POINTER = 3, 4, 7, 8  # cublasLtMatmulDescAttributes_t
MAX_WORKSPACE_BYTES, MIN_ALIGNMENT = 1, (5, 6, 7, 8)  # cublasLtMatmulPreferenceAttributes_t, the latter of A, B, C, D
EPILOGUE_BIAS = 4  # cublasLtEpilogue_t


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t, of which nothing is known but its size."""

    _fields_ = [("data", c_uint64 * 8)]


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: an algorithm and the workspace that it needs."""

    _fields_ = [
        ("algorithm", Algorithm),
        ("workspace_size", c_size_t),
        ("state", c_int),
        ("waves_count", ctypes.c_float),
        ("reserved", c_int * 4),
    ]


_ARGUMENTS = {
    "cublasLtCreate": [POINTER(c_void_p)],
    "cublasLtMatmulDescCreate": [POINTER(c_void_p), c_int, c_int],
    "cublasLtMatmulDescSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatmulDescDestroy": [c_void_p],
    "cublasLtMatrixLayoutCreate": [POINTER(c_void_p), c_int, c_uint64, c_uint64, c_int64],
    "cublasLtMatrixLayoutDestroy": [c_void_p],
    "cublasLtMatmulPreferenceCreate": [POINTER(c_void_p)],
    "cublasLtMatmulPreferenceSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatmulPreferenceDestroy": [c_void_p],
    # handle, product, A, B, C, D, preference, number wanted, results, number found
    "cublasLtMatmulAlgoGetHeuristic": [*[c_void_p] * 7, c_int, POINTER(Heuristic), POINTER(c_int)],
    # handle, product, alpha, A and its layout, B, beta, C, D, algorithm, workspace, its size, stream
    "cublasLtMatmul": [*[c_void_p] * 12, POINTER(Algorithm), c_void_p, c_size_t, c_void_p],
}


@functools.cache
def _library() -> Any:
    from cuda import pathfinder  # comes with CuPy and finds the libraries of wheels, conda and the CUDA toolkit

    try:
        library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path)
    except (pathfinder.DynamicLibNotFoundError, OSError) as error:
        raise ImportError('cuBLASLt is not installed: pip install "fastnn[cuda13]" (or "fastnn[cuda12]")') from error
    for name, arguments in _ARGUMENTS.items():
        getattr(library, name).argtypes = arguments
    library.cublasLtGetStatusString.restype = ctypes.c_char_p
    return library


def call(name: str, *args: Any) -> None:
    """Call the library's function "cublasLt" + name; raises RuntimeError with its words where it fails."""
    status = getattr(_library(), f"cublasLt{name}")(*args)
    if status:
        raise RuntimeError(f"cublasLt{name}: {_library().cublasLtGetStatusString(status).decode()} ({status})")


def make(name: str, *args: Any) -> c_void_p:
    """What the library's function "cublasLt" + name + "Create" makes."""
    made = c_void_p()
    call(f"{name}Create", ctypes.byref(made), *args)
    return made


def set_attribute(name: str, made: c_void_p, attribute: int, value: Any) -> None:
    """Set an attribute of a "MatmulDesc" or a "MatmulPreference"; `value` is a ctypes number of the right size."""
    call(f"{name}SetAttribute", made, attribute, ctypes.byref(value), ctypes.sizeof(value))


@functools.cache
def handle() -> c_void_p:
    """The library's state for this process' device."""
    return make("")
