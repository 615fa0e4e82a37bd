"""Numba functions as LLVM text: each is only translated, so that a kernel is optimized once, with all that it calls.

By itself Numba optimizes every function and makes machine code of it, for Python to call, and does so again in each
function that calls it. Python never calls ours, and the machine code that we keep is made of whole kernels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from numba import njit, types
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler import Compiler
from numba.core.registry import cpu_target


class _Library(JITCodeLibrary):
    """A function linked with those it calls."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0


class _Codegen(JITCPUCodegen):
    _library_class = _Library

    def set_env(self, env_name: str, env: object) -> None:
        pass


@functools.cache
def _target():
    return cpu_target.target_context.subtarget(_internal_codegen=_Codegen("fastnn"))


class _Lowering(Compiler):
    """Numba's compiler, but for what is made of a function."""

    def __init__(self, typing_context, target_context, *rest) -> None:
        super().__init__(typing_context, _target(), *rest)


# For what kernels call: Python never does, so that it needs no way in from there, which would take time to compile.
function = functools.partial(
    njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=_Lowering
)
inlined = functools.partial(function, forceinline=True)


def text_of(body: Callable, words: int, result: str) -> tuple[str, str]:
    """LLVM text of a function of so many 64-bit words with all it calls, and its symbol there."""
    compiled = function(body)
    compiled.compile({"void": types.void, "i64": types.intp}[result](*[types.intp] * words))
    (found,) = compiled.overloads.values()
    return found.library.get_llvm_str(), found.fndesc.llvm_func_name
