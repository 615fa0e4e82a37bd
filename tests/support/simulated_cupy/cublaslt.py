"""The product behind the simulated cuBLASLt, and the way by which our binding finds that library."""

from __future__ import annotations

import _thread
import ctypes
import functools
import threading
import types
from pathlib import Path

import numpy as np
from simulated_cupy import arrays, cpu_module
from simulated_cupy.memory import CUDARuntimeError, device
from simulated_cupy.streams import Stream, enqueue

SOURCE = Path(__file__).with_name("cublaslt.cpp")
TF32 = 77
EXECUTION_FAILED = 13


class Job(ctypes.Structure):
    """What the library hands over: the product D = op(A) op(B) + bias of matrices that count columns first."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("type", "compute", "transa", "transb")),
        *((name, ctypes.c_int64) for name in ("m", "n", "k", "lda", "ldb", "ldd")),
        *((name, ctypes.c_void_p) for name in ("a", "b", "d", "bias", "workspace")),
        ("workspace_bytes", ctypes.c_uint64),
        ("stream", ctypes.c_void_p),
    ]


def rounded(values: np.ndarray, compute: int) -> np.ndarray:
    """The values as the multiplier takes them: TF32 keeps 10 bits of the fraction."""
    if compute != TF32:
        return values
    return ((values.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def _multiply(pointer: object) -> int:
    """Put the product into its stream; a status, since an error cannot pass through the library."""
    job = ctypes.cast(pointer, ctypes.POINTER(Job)).contents
    dtype = np.dtype(np.float64 if job.type else np.float32)

    def matrix(address: int, columns: int, ld: int) -> np.ndarray:
        memories.append(device.memory_at(address, columns * ld * dtype.itemsize))
        return arrays.at(address, (columns, ld), dtype)

    memories: list = []
    try:
        a = matrix(job.a, job.m if job.transa else job.k, job.lda)
        b = matrix(job.b, job.k if job.transb else job.n, job.ldb)
        d = matrix(job.d, job.n, job.ldd)
        bias = matrix(job.bias, 1, job.m)[0] if job.bias else None
        workspace = None
        if job.workspace_bytes:
            memories.append(device.memory_at(job.workspace, job.workspace_bytes))
            workspace = arrays.at(job.workspace, (job.workspace_bytes,), np.uint8)
        a, b = (a.T if job.transa else a), (b.T if job.transb else b)
        compute = job.compute

        def run() -> None:
            with np.errstate(all="ignore"):
                if workspace is not None:
                    workspace.fill(0xFF)
                np.matmul(rounded(b, compute), rounded(a, compute), out=d)
                if bias is not None:
                    np.add(d, bias, out=d)

        device.counts["products"] += 1
        stream = next(each for each in (Stream.null, *device.streams) if each.ptr == (job.stream or 0))
        enqueue(run, memories, stream)
    except (CUDARuntimeError, StopIteration):
        return EXECUTION_FAILED
    except KeyboardInterrupt:  # it would be lost here: once more, when code runs that it can leave
        threading.Timer(0.01, _thread.interrupt_main).start()
    return 0


_callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_multiply)


@functools.cache
def library() -> str:
    """The path of the simulated library, which is compiled where it has not been before."""
    path = str(cpu_module.compiled(SOURCE.read_text(encoding="utf-8"), cpu_module.FLAGS))
    ctypes.CDLL(path).simulated_multiply(_callback)
    return path


def pathfinder() -> types.ModuleType:
    """NVIDIA's finder of libraries, which finds the simulated one."""
    module = types.ModuleType("cuda.pathfinder", __doc__)

    def load(name: str) -> types.SimpleNamespace:
        if name != "cublasLt":
            raise module.DynamicLibNotFoundError(name)
        return types.SimpleNamespace(abs_path=library())

    module.DynamicLibNotFoundError = type("DynamicLibNotFoundError", (RuntimeError,), {})
    module.load_nvidia_dynamic_lib = load
    return module
