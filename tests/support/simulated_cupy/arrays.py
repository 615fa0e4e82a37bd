"""Arrays of the simulated device and kernels on them: nothing turns into host values unasked."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from simulated_cupy.cpu_module import ORDERS, CpuModule
from simulated_cupy.memory import MemoryPointer, alloc, device, pinned_at
from simulated_cupy.streams import Stream, enqueue, get_current_stream

_orders = itertools.cycle(ORDERS)


def at(address: int, shape: Sequence[int], dtype: Any, strides: Sequence[int] | None = None) -> np.ndarray:
    """What lies at an address, as a NumPy array; whoever calls keeps the memory alive."""
    dtype = np.dtype(dtype)
    if strides is None:
        strides = [dtype.itemsize * int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    size = dtype.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if all(shape) else 0
    buffer = (ctypes.c_ubyte * size).from_address(address)
    return np.ndarray(tuple(shape), dtype, buffer, strides=tuple(strides))


def _refuse(name: str) -> Any:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{name} of an array on the device: in a step it would wait for the device; use .get()")

    return method


class ndarray:
    """An array on the device."""

    __array_priority__ = 100

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: MemoryPointer | None = None, strides: Any = None, order: str = "C"
    ) -> None:
        self.shape: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(map(int, shape))
        self.dtype, self.ndim = np.dtype(dtype), len(self.shape)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.itemsize, self.nbytes = self.dtype.itemsize, self.size * self.dtype.itemsize
        self.data = alloc(self.nbytes) if memptr is None else memptr
        self._view = at(self.data.ptr, self.shape, self.dtype, strides)  # an address: it keeps no memory alive
        self.strides, self.flags = self._view.strides, self._view.flags
        if self.data.ptr + self.nbytes > self.data.mem.ptr + self.data.mem.size:
            raise ValueError(f"memptr: the memory is too small for shape {self.shape} of {self.dtype}")

    def _part(self, view: np.ndarray) -> ndarray:
        offset = view.ctypes.data - self.data.mem.ptr if view.size else 0
        return ndarray(view.shape, view.dtype, MemoryPointer(self.data.mem, offset), view.strides)

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        return f"<array on the device: shape {self.shape}, {self.dtype}>"

    def __getitem__(self, key: Any) -> ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(part is None or part is ... or isinstance(part, int | slice) for part in parts):
            raise TypeError(f"the simulated device takes ints and slices as indices, got {key!r}")
        return self._part(self._view[(*parts, ...) if ... not in parts else key])

    def __setitem__(self, key: Any, value: Any) -> None:
        part = self[key]
        if isinstance(value, ndarray):
            target, source = part._view, value._view
            enqueue(lambda: np.copyto(target, source, casting="unsafe"), (part.data.mem, value.data.mem))
        else:
            part.fill(value)

    def reshape(self, *shape: Any) -> ndarray:
        """The same memory in another shape."""
        view = self._view.reshape(*shape)
        if view.size and not np.shares_memory(view, self._view):
            raise ValueError("the simulated device reshapes contiguous arrays only")
        return self._part(view)

    def ravel(self) -> ndarray:
        """The same memory as a row."""
        return self.reshape(-1)

    def view(self, dtype: Any) -> ndarray:
        """The same memory as elements of another type."""
        return self._part(self._view.view(dtype))

    def fill(self, value: Any) -> None:
        """Set every element."""
        if not np.isscalar(value):
            raise TypeError(f"value must be a scalar, got {type(value).__name__}")
        view = self._view
        enqueue(lambda: view.fill(value), (self.data.mem,))

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        """A copy with elements of another type."""
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        result = empty(self.shape, dtype)
        result[...] = self
        return result

    def copy(self) -> ndarray:
        """A copy on the device."""
        return self.astype(self.dtype)

    def get(self, stream: Stream | None = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        """A copy on the host; waits for the stream."""
        device.check("a copy to the host that waits")
        device.counts["copies to host"] += 1
        (stream or get_current_stream()).synchronize()
        if out is None:
            return self._view.copy()
        np.copyto(out, self._view, casting="no")
        return out

    def set(self, arr: np.ndarray, stream: Stream | None = None) -> None:
        """Copy from the host: the values as they are now or, from pinned memory, as they are when the copy runs."""
        device.check("a copy from memory that is not pinned")
        if not isinstance(arr, np.ndarray) or (arr.shape, arr.dtype) != (self.shape, self.dtype):
            raise ValueError(f"arr must be a NumPy array of shape {self.shape} and {self.dtype}")
        source = arr if pinned_at(arr.ctypes.data, arr.nbytes) is not None else arr.copy()
        view = self._view
        enqueue(lambda: np.copyto(view, source), (self.data.mem,), stream)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None if self.flags.c_contiguous else self.strides
        place = {"data": (self.data.ptr, False), "strides": strides, "stream": 1}
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3, **place}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # kDLCUDA

    def __dlpack__(self, **asked: Any) -> Capsule:
        return Capsule(self)


_BINARY = "add|sub|mul|truediv|floordiv|mod|pow|matmul|and|or|xor"
_OTHER = "array|array_ufunc|array_function|bool|int|float|complex|index|iter|contains|neg|abs|invert|lt|le|gt|ge|eq|ne"
for _name in [*_OTHER.split("|"), *(how + operator for operator in _BINARY.split("|") for how in ("", "r", "i"))]:
    setattr(ndarray, f"__{_name}__", _refuse(f"__{_name}__"))


class Capsule:
    """Stands for what DLPack hands from one library to another."""

    def __init__(self, array: ndarray) -> None:
        self.array = array


def from_dlpack(array: Any) -> ndarray:
    """An array of another library that lies on the device, without a copy."""
    if array.__dlpack_device__()[0] != 2:
        raise ValueError("array: it does not lie on a CUDA device")
    given = array.__dlpack__().array
    return given.reshape(given.shape)


def empty(shape: Any, dtype: Any = float) -> ndarray:
    """New memory, poisoned."""
    return ndarray(shape, dtype)


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    """New memory of zeros."""
    array = empty(shape, dtype)
    array.data.memset_async(0, array.nbytes)
    return array


def asarray(a: Any, dtype: Any = None) -> ndarray:
    """What lies on the device as it is, anything else as a copy there."""
    if isinstance(a, ndarray):
        return a if dtype is None else a.astype(dtype, copy=False)
    face = getattr(a, "__cuda_array_interface__", None)
    if face is not None:
        kind, strides = np.dtype(face["typestr"]), face.get("strides")
        array = at(face["data"][0], face["shape"], kind, strides)
        memory = device.memory_at(face["data"][0], array.nbytes)
        return ndarray(face["shape"], kind, MemoryPointer(memory, face["data"][0] - memory.ptr), strides)
    host = np.ascontiguousarray(a, dtype)
    array = empty(host.shape, host.dtype)
    array.set(host)
    return array


def asnumpy(a: ndarray) -> np.ndarray:
    """A copy on the host."""
    return a.get()


class RawModule:
    """CUDA text; its kernels run on the processor."""

    def __init__(
        self, code: str, *, options: tuple[str, ...] = (), backend: str = "nvrtc", name_expressions: Any = None
    ) -> None:
        self.code, self.options = code, tuple(options)
        self._module: CpuModule | None = None

    def compile(self) -> None:
        """Compile the text, which a capture would not survive."""
        if self._module is None:
            device.check("compiling a module")
            self._module = CpuModule(self.code, self.options)

    def get_function(self, name: str) -> RawKernel:
        """The kernel of that name."""
        self.compile()
        return RawKernel(self._module, name)


class RawKernel:
    """A kernel; calling it puts it into the current stream."""

    def __init__(self, module: Any, name: str) -> None:
        self.name, self._kernel = name, module.get_function(name)

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        for index, arg in enumerate(args):
            if isinstance(arg, np.ndarray):
                raise TypeError(f"argument {index} of {self.name} lies on the host")
        words = [arg._view if isinstance(arg, ndarray) else arg for arg in args]
        memories = [arg.data.mem for arg in args if isinstance(arg, ndarray)]
        bound = self._kernel.bind(grid, block, words, shared_mem, [memory.range for memory in memories])
        device.counts["launches"] += 1
        enqueue(lambda: bound.run(next(_orders) if device.order is None else device.order), memories)
