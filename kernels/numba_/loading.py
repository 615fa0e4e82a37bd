"""Native functions by their addresses: the first process on a machine compiles them, and all others load them.

What is compiled is kept on disk (`cache.py`): of each function an object file, which is loaded without importing Numba
at all; of a kernel also its module, to be linked with others (`fused.py`). A process loads a function once. Its threads
take turns at all this, by one lock.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable

import llvmlite
import llvmlite.binding as llvm

from fastnn.kernels.numba_ import native
from fastnn.kernels.numba_.arguments import entry_source
from fastnn.kernels.numba_.cache import Cache, folders
from fastnn.kernels.threads import cores

WORTH_A_PROCESS = 4  # kernels to be compiled: they take more time than to start one
# What LLVM makes instructions of, and not calls of the C library; memset and its like are offered to the loader.
_INSTRUCTIONS = re.compile(r"llvm\.(?!exp|log|pow|sin|cos|tan|asin|acos|atan|fmod|frem)|mem(set|cpy|move)")

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
    module = kernel_module(name, dtype)
    _bitcode[name, dtype] = module.as_bitcode()
    if native.is_built_in(name):
        cache().store(f"{name}-{dtype}.bc", _bitcode[name, dtype])
    return machine_code(module)


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
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
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
        _cache = Cache(folders(repr((llvmlite.__version__, llvm.llvm_version_info, host()))))
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


def kernel_module(name: str, dtype: str) -> llvm.ModuleRef:
    """The module of a native kernel for one element type: its body, below an entry that unpacks its arguments."""
    import numba

    from fastnn.kernels.numba_ import lowering, words

    body = native.body_of(name)
    real = {"float32": numba.float32, "float64": numba.float64, "int64": numba.int64}[dtype]
    namespace = words.namespace(real)
    namespace["body"] = lowering.function(body)
    exec(entry_source(native.contract_of(name), "local" in inspect.signature(body).parameters), namespace)
    return module_of(namespace["entry"], 4)


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


def machine_code(module: llvm.ModuleRef) -> bytes:
    """An object file for this host."""
    return bytes(machine().emit_object(module))


def machine() -> llvm.TargetMachine:
    """What code is made for."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    cpu, features = host()
    options = {"opt": 3, "reloc": "pic", "codemodel": "jitdefault", "jit": True}
    return target.create_target_machine(cpu=cpu, features=features, **options)


def host() -> tuple[str, str]:
    """The processor and its features as LLVM names them; NUMBA_CPU_NAME stands for another one, as in Numba."""
    name = os.environ.get("NUMBA_CPU_NAME")
    if name and name != "host":
        return name, os.environ.get("NUMBA_CPU_FEATURES", "")
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
