"""From a Numba function to machine code of this host.

A function becomes one module with all that it calls, which LLVM optimizes as a whole, under a single symbol. The code
needs nothing of Python, of Numba or of a library, but for memset and its like: so any later process can load it.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable

import llvmlite.binding as llvm

from fastnn.kernels.numba_ import native
from fastnn.kernels.numba_.arguments import entry_source

# What LLVM makes instructions of, and not calls of the C library; memset and its like are offered to the loader.
_INSTRUCTIONS = re.compile(r"llvm\.(?!exp|log|pow|sin|cos|tan|asin|acos|atan|fmod|frem)|mem(set|cpy|move)")


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
