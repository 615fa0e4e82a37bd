"""Native functions by their addresses: the first process on a machine compiles them, and all others load them.

What is compiled is kept on disk (`cache.py`), but for users' kernels: of each function an object file, which is loaded
without importing Numba at all; of a kernel also its module, to be linked with others (`fused.py`). A process loads a
function once, and its threads take turns at that.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable

import llvmlite
import llvmlite.binding as llvm

from fastnn.kernels.numba_ import compiling, native
from fastnn.kernels.numba_.cache import Cache, folders
from fastnn.kernels.threads import cores

WORTH_A_PROCESS = 4  # kernels to be compiled: they take more time than to start one

lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child must not find the lock held by a thread that it does not have
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)

_addresses: dict[tuple[str, str], int] = {}  # by the name of a function and the type of its elements
_bitcode: dict[tuple[str, str], bytes] = {}  # of what was compiled by this process
_engines: list = []  # they own the machine code
_cache: Cache | None = None
_told = False


def address(name: str, dtype: str) -> int:
    """The address of native kernel `name` for arrays of `dtype` ("float32", "float64" or "int64")."""
    return load_or_compile(name, dtype, lambda: _compile(name, dtype))


def load_or_compile(name: str, dtype: str, compile_it: Callable[[], bytes]) -> int:
    """The address of a native function: from memory, from the object file on disk, or compiled now and kept there."""

    def compile_and_tell() -> bytes:
        _say_compiling()
        return compile_it()

    with lock:
        key = (name, dtype)
        if key not in _addresses:
            if native.is_built_in(name) or not native.has(name):
                code = cache().get(f"{name}-{dtype}.o", compile_and_tell)
            else:  # a user's kernel: nobody could tell whether what is on disk is still what the user wrote
                code = compile_and_tell()
            _addresses[key] = load(code)
        return _addresses[key]


def _compile(name: str, dtype: str) -> bytes:
    """The object file of a kernel for one element type; its module is kept, too."""
    module = compiling.kernel_module(name, dtype)
    _bitcode[name, dtype] = module.as_bitcode()
    if native.is_built_in(name):
        cache().store(f"{name}-{dtype}.bc", _bitcode[name, dtype])
    return compiling.machine_code(module)


def bitcode(name: str, dtype: str) -> bytes | None:
    """The module of a compiled kernel, to be linked with others; None where it was not kept."""
    return _bitcode.get((name, dtype)) or cache().load(f"{name}-{dtype}.bc")


def forget(name: str) -> None:
    """Forget the machine code of a user's kernel: another one may come under its name."""
    for key in [key for key in _addresses if key[0] == name]:
        del _addresses[key]
        _bitcode.pop(key, None)


def load(code: bytes, symbol: str = "fastnn_kernel") -> int:
    """The address of a function of an object file."""
    if not _engines:
        _offer_symbols()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), compiling.machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address(symbol)


def _offer_symbols() -> None:
    """Tell the loader where the three functions of C are that LLVM makes loops into."""
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    for name in ("memset", "memcpy", "memmove"):
        llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)


def cache() -> Cache:
    """The object files of this host, compiler and source."""
    global _cache
    if _cache is None:
        _cache = Cache(folders(repr((llvmlite.__version__, llvm.llvm_version_info, compiling.host()))))
    return _cache


def compile_ahead(wanted: Iterable[tuple[str, str]]) -> None:
    """Compile what is missing of these kernels together with a second process: Numba uses one core only.

    That one begins at the other end of the list, and both load what the other has left in the cache. Should it fail,
    or find no folder, all is compiled here. The products come first: a process translates what they share once.
    """
    missing = [key for key in dict.fromkeys(wanted) if key not in _addresses and native.is_built_in(key[0])]
    missing.sort(key=lambda key: not key[0].startswith("dense"))
    missing = [(name, dtype) for name, dtype in missing if cache().load(f"{name}-{dtype}.o") is None]
    if len(missing) < WORTH_A_PROCESS or cores() < 2 or not sys.executable or getattr(sys, "frozen", False):
        return
    _say_compiling()
    text = f"from fastnn.kernels.numba_ import loading\nfor key in {missing[::-1]}: loading.address(*key)"
    environment = {**os.environ, "FASTNN_QUIET": "1"}
    try:
        process = subprocess.Popen([sys.executable, "-c", text], env=environment, stderr=subprocess.DEVNULL)
    except OSError:
        return
    try:
        for name, dtype in missing:
            address(name, dtype)
    finally:  # also where the keyboard interrupts
        process.terminate()  # it may still be making what is here already
        process.wait()


def _say_compiling() -> None:
    global _told
    if not _told and not os.environ.get("FASTNN_QUIET"):
        text = "fastnn: compiling native kernels for this machine (once; `fastnn warmup` does it ahead) ..."
        print(text, file=sys.stderr)
    _told = True
