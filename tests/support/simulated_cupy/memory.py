"""Memory of the simulated device: poisoned when new, between guard bytes, limited, and reached by copies alone."""

from __future__ import annotations

import collections
import ctypes
import threading
import weakref
from typing import Any

import numpy as np
from simulated_cupy.cpu_module import GUARD, GUARD_BYTES

ALIGNMENT = 512  # as CuPy's pool has it

_libc = ctypes.CDLL(None)
_libc.malloc.argtypes, _libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
_libc.free.argtypes = [ctypes.c_void_p]


class CUDARuntimeError(RuntimeError):
    """What the CUDA runtime answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OutOfMemoryError(MemoryError):
    """More was asked for than is free."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class Device:
    """The state of the one simulated device; tests may change it through `altered`."""

    def __init__(self) -> None:
        self.total = 1 << 30  # bytes of memory
        self.used = 0
        self.failure: tuple[int, str] | None = None  # what the runtime answers to everything, such as (100, "...")
        self.order: int | None = None  # of threads; None takes one order after the other
        self.counts: collections.Counter[str] = collections.Counter()  # what was done so far
        self.lock = threading.RLock()
        self.local = threading.local()  # the current stream, and the capture under way, of each thread
        self.memories: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()
        self.streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self.pinned: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def check(self, what: str, captured: bool = False) -> None:
        """Raise what a broken device answers, and refuse what must not happen while a graph is captured."""
        if self.failure:
            raise CUDARuntimeError(*self.failure)
        if not captured and getattr(self.local, "capture", None) is not None:
            raise CUDARuntimeError(900, f"cudaErrorStreamCaptureUnsupported: {what} while a stream is capturing")

    def memory_at(self, address: int, size: int) -> Memory:
        """The live memory that holds these bytes; raises CUDARuntimeError where there is none."""
        for memory in list(self.memories.values()):
            if memory.ptr <= address and address + size <= memory.ptr + memory.size:
                return memory
        raise CUDARuntimeError(700, f"cudaErrorIllegalAddress: no memory of {size} bytes at {address:#x}")


device = Device()


class altered:
    """`with altered(total=1000):` changes the device for a while; the attributes of `Device` can be given."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def __enter__(self) -> Device:
        self.before = {name: getattr(device, name) for name in self.changes}
        vars(device).update(self.changes)
        return device

    def __exit__(self, *error: Any) -> None:
        vars(device).update(self.before)


class Memory:
    """Bytes on the device."""

    def __init__(self, size: int) -> None:
        device.check("an allocation")
        if device.used + size > device.total:
            for stream in list(device.streams):  # work that waits may hold memory that nobody else does
                stream.run()
        if device.used + size > device.total:
            raise OutOfMemoryError(size, device.used)
        address = _libc.malloc(size + 2 * GUARD + ALIGNMENT)  # which is no memory of the host's for tracemalloc
        self.size, self.device_id = size, 0
        self.ptr = address + GUARD + -(address + GUARD) % ALIGNMENT
        for start, length in (self.ptr - GUARD, size + GUARD), (self.ptr + size, GUARD):
            ctypes.memmove(start, GUARD_BYTES * (length // 8 + 1), length)
        device.used += size
        device.counts["allocations"] += 1
        device.memories[self.ptr] = self
        weakref.finalize(self, _free, address, size).atexit = False

    @property
    def range(self) -> tuple[int, int]:
        """The first address, and the one behind the last."""
        return self.ptr, self.ptr + self.size


    def _alive(self) -> bool:
        """True while these bytes may be used."""
        return True


class UnownedMemory:
    """Bytes of memory that somebody else keeps alive."""

    def __init__(self, ptr: int, size: int, owner: Any, device_id: int = -1) -> None:
        self.ptr, self.size, self.owner, self.device_id = ptr, size, owner, device_id
        self._memory: Any = lambda: None
        self._find()

    def _find(self) -> Memory:
        memory = self._memory()
        if memory is None:
            memory = device.memory_at(self.ptr, self.size)
            self._memory = weakref.ref(memory)
        return memory

    @property
    def range(self) -> tuple[int, int]:
        """The first address of the memory that they are a part of, and the one behind the last."""
        return self._find().range

    def _alive(self) -> bool:
        """True while there is such memory."""
        try:
            return self._find() is not None
        except CUDARuntimeError:
            return False


def _free(address: int, size: int) -> None:
    device.used -= size
    _libc.free(address)


class MemoryPool:
    """Hands out memory; nothing is kept for later, so that what is used after it was freed shows."""

    def __init__(self, allocator: Any = None) -> None:
        self.free_all_blocks = lambda stream=None: None

    def malloc(self, size: int) -> MemoryPointer:
        """New memory."""
        return MemoryPointer(Memory(size), 0)

    def free_bytes(self) -> int:
        """Bytes that are kept for later."""
        return 0

    def used_bytes(self) -> int:
        """Bytes in use."""
        return device.used

    def total_bytes(self) -> int:
        """Bytes taken from the device."""
        return device.used


pool = MemoryPool()
_allocator = pool.malloc


def alloc(size: int) -> MemoryPointer:
    """New memory from the allocator in force."""
    return getattr(device.local, "allocator", _allocator)(size)


def set_allocator(allocator: Any = None) -> None:
    """Take memory from this function from now on."""
    global _allocator
    _allocator = allocator or pool.malloc


class using_allocator:
    """Take memory from this function within a block, in this thread."""

    def __init__(self, allocator: Any = None) -> None:
        self.allocator = allocator or pool.malloc

    def __enter__(self) -> None:
        self.before = vars(device.local).get("allocator")
        device.local.allocator = self.allocator

    def __exit__(self, *error: Any) -> None:
        if self.before is None:
            del device.local.allocator
        else:
            device.local.allocator = self.before


def alloc_pinned_memory(size: int) -> Any:
    """Memory of the host that a copy may read or write while the host goes on: a buffer with its address in `.ptr`."""
    device.check("an allocation")
    memory = type("PinnedMemoryPointer", (ctypes.c_ubyte * max(size, 1),), {})()
    memory.ptr = ctypes.addressof(memory)
    memory[:] = np.resize(np.frombuffer(GUARD_BYTES, np.uint8), len(memory)).tolist()
    device.pinned[memory.ptr] = memory
    return memory


def pinned_at(address: int, size: int) -> Any:
    """The pinned memory that holds these bytes; None where they are not pinned."""
    spans = list(device.pinned.items())
    return next((m for start, m in spans if start <= address and address + size <= start + len(m)), None)


def _pinned(address: int, size: int) -> Any:
    memory = pinned_at(address, size)
    if memory is None:
        raise ValueError(f"mem: an asynchronous copy needs pinned memory, and no {size} bytes at {address:#x} are")
    return memory


class MemoryPointer:
    """A place in the device's memory."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, 0

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    def _fits(self, size: int) -> None:
        first, end = self.mem.range
        if not first <= self.ptr <= self.ptr + size <= end:
            raise CUDARuntimeError(1, f"cudaErrorInvalidValue: {size} bytes do not fit into the memory")

    def _enqueue(self, copy: Any, size: int, others: tuple[Any, ...], stream: Any) -> None:
        from simulated_cupy.streams import enqueue

        self._fits(size)
        enqueue(copy, (self.mem, *others), stream)

    def copy_from_device_async(self, src: MemoryPointer, size: int, stream: Any = None) -> None:
        """Copy `size` bytes on the device."""
        src._fits(size)
        to, source = self.ptr, src.ptr
        self._enqueue(lambda: ctypes.memmove(to, source, size), size, (src.mem,), stream)

    def copy_from_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        """Copy from pinned memory, which is read when the copy runs."""
        to, source = self.ptr, _address(mem)
        self._enqueue(lambda: ctypes.memmove(to, source, size), size, (_pinned(source, size),), stream)

    def copy_to_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        """Copy to pinned memory, which is written when the copy runs."""
        to, source = _address(mem), self.ptr
        device.counts["copies to host"] += 1
        self._enqueue(lambda: ctypes.memmove(to, source, size), size, (_pinned(to, size),), stream)

    def copy_from_host(self, mem: Any, size: int) -> None:
        """Copy from any memory of the host, now: streams that do not block go on beside it."""
        device.check("a copy that waits")
        self._fits(size)
        ctypes.memmove(self.ptr, _address(mem), size)

    def copy_to_host(self, mem: Any, size: int) -> None:
        """Copy to any memory of the host, now: streams that do not block go on beside it."""
        device.check("a copy that waits")
        self._fits(size)
        device.counts["copies to host"] += 1
        ctypes.memmove(_address(mem), self.ptr, size)

    def memset_async(self, value: int, size: int, stream: Any = None) -> None:
        """Set each of `size` bytes."""
        to = self.ptr
        self._enqueue(lambda: ctypes.memset(to, value, size), size, (), stream)


def _address(mem: Any) -> int:
    return int(mem.value if isinstance(mem, ctypes.c_void_p) else mem)
