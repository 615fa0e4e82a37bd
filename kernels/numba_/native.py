"""Native kernels: Numba functions over arrays, each compiled to one address with one signature and cached on disk.

A kernel is written as a function of its arrays and scalars, as the contract lists them (without the clock), then
`start, stop`: the range of rows it may work on. `kernel` registers it; `address` compiles it on first use, or loads
the object file of an earlier process without importing Numba at all. How it is called is told in `arguments.py`.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from fastnn.kernels.contract import BUILT_IN, KERNELS, Kernel
from fastnn.kernels.numba_.arguments import entry_source
from fastnn.kernels.numba_.cache import Cache, folders
from fastnn.kernels.numba_.internal import INTERNAL
from fastnn.kernels.threads import cores

MODULES = ("activation", "data", "dense", "loss", "metric", "optimizer", "slabs")  # where the bodies are
WORTH_A_PROCESS = 4  # kernels to be compiled: they take more time than to start one

_bodies: dict[str, Callable] = {}
_bitcode: dict[tuple[str, str], bytes] = {}  # of what was compiled by this process
_addresses: dict[tuple[str, str], int] = {}


def kernel(body: Callable) -> Callable:
    """Register `body` as the native kernel of its name."""
    add_body(body.__name__, body)
    return body


def add_body(name: str, body: Callable) -> None:
    """Register a native kernel, after checking its arguments against the contract. Raises TypeError."""
    wanted = [a for a in contract_of(name).arguments if a != "clock"] + ["start", "stop"]
    given = [a for a in inspect.signature(body).parameters if a != "local"]
    if given != wanted:
        raise TypeError(f"native kernel {name} takes {given}, the contract wants {wanted}")
    _bodies[name] = body


def remove_body(name: str) -> None:
    """Forget a user's kernel and its machine code."""
    _bodies.pop(name, None)
    for key in [key for key in _addresses if key[0] == name]:
        del _addresses[key]
        _bitcode.pop(key, None)


def has(name: str) -> bool:
    """True when the kernel has a native version."""
    return name in BUILT_IN or name in _bodies


def is_built_in(name: str) -> bool:
    """True for kernels of ours: others may change from process to process, and are not kept on disk."""
    return name in BUILT_IN or name in INTERNAL


def contract_of(name: str) -> Kernel:
    """The signature of a kernel of the table, or of one that only this backend has."""
    return INTERNAL.get(name) or KERNELS[name]


def variant(launch: Any) -> str:
    """The element type that a launch's kernel is compiled for."""
    for array, value in zip(launch.kernel.arrays, launch.values, strict=False):
        if array.element == "real" and value is not None:
            return value.dtype.name
    return "int64"


def _compile(name: str, dtype: str) -> bytes:
    """Compile one kernel for one element type; returns an object file with the single symbol `fastnn_kernel`."""
    import numba

    from fastnn.kernels.numba_ import lowering, words

    for module in MODULES:
        importlib.import_module(f"fastnn.kernels.numba_.{module}")
    body = _bodies[name]
    real = {"float32": numba.float32, "float64": numba.float64, "int64": numba.int64}[dtype]
    namespace = words.namespace(real)
    namespace["body"] = lowering.function(body)
    exec(entry_source(contract_of(name), "local" in inspect.signature(body).parameters), namespace)
    module = module_of(namespace["entry"], 4)
    _bitcode[name, dtype] = module.as_bitcode()
    if is_built_in(name):
        cache().store(f"{name}-{dtype}.bc", _bitcode[name, dtype])
    return machine_code(module)


def bitcode(name: str, dtype: str) -> bytes | None:
    """The module of a compiled kernel, to be linked with others; None where it was not kept."""
    return _bitcode.get((name, dtype)) or cache().load(f"{name}-{dtype}.bc")


def flushing() -> tuple[str, str, str]:
    """LLVM text to declare, to begin and to end arithmetic that takes numbers below the least normal one for zero.

    They come up in every long training, as when the moments of a weight fade whose input is always 0, and take the
    processor many times as long. What a thread did before is restored: outside our kernels nothing changes.
    """
    architecture = llvm.get_process_triple().split("-")[0]
    if architecture == "x86_64":  # the bits "flush to zero" and "denormals are zero"
        declare = "declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)\n"
        begin = """
  %before = alloca i32
  %meanwhile = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %before)
  %control = load i32, ptr %before
  %flushing = or i32 %control, 32832
  store i32 %flushing, ptr %meanwhile
  call void @llvm.x86.sse.ldmxcsr(ptr %meanwhile)"""
        return declare, begin, "  call void @llvm.x86.sse.ldmxcsr(ptr %before)"
    if architecture in ("aarch64", "arm64"):  # the bit "flush to zero"
        declare = "declare i64 @llvm.aarch64.get.fpcr()\ndeclare void @llvm.aarch64.set.fpcr(i64)\n"
        begin = """
  %control = call i64 @llvm.aarch64.get.fpcr()
  %flushing = or i64 %control, 16777216
  call void @llvm.aarch64.set.fpcr(i64 %flushing)"""
        return declare, begin, "  call void @llvm.aarch64.set.fpcr(i64 %control)"
    return "", "", ""


def module_of(body: Callable, words: int, result: str = "void", flushes: bool = False) -> llvm.ModuleRef:
    """An optimized module with the one symbol `fastnn_kernel`: `body`, compiled as a function of so many 64-bit words.

    Numba's own entry reports exceptions through the interpreter, which our kernels never raise; the entry written
    here calls the function itself, so that the object file needs nothing of Python or Numba. One that is called from
    Python and calls kernels `flushes` (see `flushing`) for all of them.
    """
    from fastnn.kernels.numba_ import lowering

    declare, begin, end = flushing() if flushes else ("", "", "")
    text, symbol = lowering.text_of(body, words, result)
    text = re.sub(r"declare void @NRT_MemInfo_call_dtor\(ptr\).*", "", text)  # our arrays own nothing to be freed
    names = ", ".join(f"i64 %a{i}" for i in range(words))
    text += f"""
{declare}
define {result} @fastnn_kernel({names}) {{
  %result = alloca i64
  %error = alloca ptr
{begin}
  %status = call i32 @"{symbol}"(ptr %result, ptr %error, {names})
  %value = load i64, ptr %result
{end}
  ret {"void" if result == "void" else "i64 %value"}
}}
define void @NRT_MemInfo_call_dtor(ptr %info) {{
  ret void
}}
"""
    module = llvm.parse_assembly(text)
    for function in module.functions:
        if not function.is_declaration and function.name != "fastnn_kernel":
            function.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine(), options)
    builder.getModulePassManager().run(module, builder)
    foreign = [f.name for f in module.functions if f.is_declaration and not _INSTRUCTIONS.match(f.name)]
    if foreign:
        raise RuntimeError(f"a native kernel must not call {foreign}: nothing resolves it when loaded from the cache")
    return module


def machine_code(module: llvm.ModuleRef) -> bytes:
    """An object file for this host."""
    return bytes(machine().emit_object(module))


# What LLVM makes instructions of, and not calls of the C library; memset and its like are offered to the loader.
_INSTRUCTIONS = re.compile(r"llvm\.(?!exp|log|pow|sin|cos|tan|asin|acos|atan|fmod|frem)|mem(set|cpy|move)")


def machine() -> llvm.TargetMachine:
    """What code is made for."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    cpu, features = host()
    options = {"opt": 3, "reloc": "pic", "codemodel": "jitdefault", "jit": True}
    return target.create_target_machine(cpu=cpu, features=features, **options)


def _offer_symbols() -> None:
    """Tell the loader where the three functions of C are that LLVM makes loops into."""
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    for name in ("memset", "memcpy", "memmove"):
        llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)


def host() -> tuple[str, str]:
    """The processor and its features as LLVM names them; NUMBA_CPU_NAME stands for another one, as in Numba."""
    name = os.environ.get("NUMBA_CPU_NAME")
    if name and name != "host":
        return name, os.environ.get("NUMBA_CPU_FEATURES", "")
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


_cache: Cache | None = None
lock = threading.Lock()
_engines: list = []  # they own the machine code
_told = False
if hasattr(os, "register_at_fork"):  # a child must not find the lock held by a thread that it does not have
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def _say_compiling() -> None:
    global _told
    if not _told and not os.environ.get("FASTNN_QUIET"):
        text = "fastnn: compiling native kernels for this machine (once; `fastnn warmup` does it ahead) ..."
        print(text, file=sys.stderr)
    _told = True


def cache() -> Cache:
    """The object files of this host, compiler and source."""
    global _cache
    if _cache is None:
        _cache = Cache(folders(repr((llvmlite.__version__, llvm.llvm_version_info, host()))))
    return _cache


def load_or_compile(name: str, dtype: str, compile_it: Callable[[], bytes]) -> int:
    """The address of a native function: from memory, from the object file on disk, or compiled now and kept there."""

    def compile_and_tell() -> bytes:
        _say_compiling()
        return compile_it()

    with lock:
        key = (name, dtype)
        if key not in _addresses:
            if is_built_in(name) or name not in _bodies:
                code = cache().get(f"{name}-{dtype}.o", compile_and_tell)
            else:  # a user's kernel: nobody could tell whether what is on disk is still what the user wrote
                code = compile_and_tell()
            _addresses[key] = load(code)
        return _addresses[key]


def compile_ahead(wanted: Iterable[tuple[str, str]]) -> None:
    """Compile what is missing of these kernels together with a second process: Numba uses one core only.

    That one begins at the other end of the list, and both load what the other has left in the cache. Should it fail,
    or find no folder, all is compiled here. The products come first: a process translates what they share once.
    """
    missing = [key for key in dict.fromkeys(wanted) if key not in _addresses and is_built_in(key[0])]
    missing.sort(key=lambda key: not key[0].startswith("dense"))
    missing = [(name, dtype) for name, dtype in missing if cache().load(f"{name}-{dtype}.o") is None]
    if len(missing) < WORTH_A_PROCESS or cores() < 2 or not sys.executable or getattr(sys, "frozen", False):
        return
    _say_compiling()
    text = f"from fastnn.kernels.numba_ import native\nfor key in {missing[::-1]}: native.address(*key)"
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


def load(code: bytes, symbol: str = "fastnn_kernel") -> int:
    """The address of a function of an object file."""
    if not _engines:
        _offer_symbols()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address(symbol)


def address(name: str, dtype: str) -> int:
    """The address of native kernel `name` for arrays of `dtype` ("float32", "float64" or "int64")."""
    return load_or_compile(name, dtype, lambda: _compile(name, dtype))
