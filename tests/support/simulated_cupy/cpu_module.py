"""CUDA C as a library for this processor: compiled by g++ through cuda_on_cpu.h, kept on disk, launched like CuPy's.

    CpuModule(text, ("-DREAL=float",)).get_function("softmax")((blocks,), (threads,), (z, y, np.int64(9)))
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-U_FORTIFY_SOURCE")
GUARD = 64  # bytes around every array of the simulated device, as in the header
# A signalling NaN as float and as double: arithmetic on it changes its bits, so that x[n] *= 2 is seen, too.
GUARD_BYTES = bytes.fromhex("a5a5a57fa5a5f5ff")
ORDERS = (0, 1, 2, 3, 4)  # forwards, backwards, and threads shuffled by three seeds; odd ones a warp at a time

_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?([\w ]+?)\s+(\w+)\[\]\s*;")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def cache() -> Path:
    """Where compiled text is kept."""
    return Path(os.environ.get("FASTNN_CACHE") or tempfile.gettempdir()) / "cuda_on_cpu"


class NoCompiler(Exception):
    """There is no g++: what needs the simulated device cannot be tested."""


@functools.cache
def _compiler() -> str:
    if COMPILER is None:
        raise NoCompiler("g++ is not installed: without it CUDA text cannot run on this processor")
    return subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout


def _flags(options: Sequence[str]) -> list[str]:
    """g++'s words for NVRTC's options; raises ValueError for one that would change what we test."""
    flags = []
    for option in options:
        if option.startswith("-D"):
            flags.append(option)
        elif option not in ("-fmad=false", "--fmad=false") and not re.match("--?std=", option):
            raise ValueError(f"options: {option!r} means nothing on a processor")
    return flags


def build(source: str, options: Sequence[str]) -> Path:
    """The library of that text, compiled where it has not been before."""
    if re.search(r"^\s*#\s*include", source, re.MULTILINE):
        raise ValueError("source includes another file; a change of that would go unnoticed by caches")
    bare = _COMMENT.sub("", source)
    names = _KERNEL.findall(bare)
    body = _DYNAMIC.sub(r"\1* \2 = reinterpret_cast<\1*>(cuda_on_cpu::dynamic_shared);", source)
    exports = "\n".join(f"CUDA_KERNEL({name})" for name in dict.fromkeys(names))
    text = f'#include "{HEADER.name}"\nnamespace {{\n#line 1 "source.cu"\n{body}\n}}\n{exports}\n'
    return compiled(text, [*FLAGS, *_flags(options)])


def compiled(text: str, flags: Sequence[str]) -> Path:
    """The library of a C++ text, compiled where it has not been before."""
    digest = hashlib.sha256("\0".join([_compiler(), HEADER.read_text(), *flags, text]).encode()).hexdigest()[:24]
    library = cache() / f"{digest}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        part = library.with_name(f"{digest}.{os.getpid()}.part")
        command = [str(COMPILER), *flags, "-x", "c++", "-I", str(HEADER.parent), "-o", str(part), "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"g++ could not compile the CUDA text:\n{done.stderr[:4000]}")
        os.replace(part, library)
    return library


class CpuModule:
    """Text of CUDA C with the kernels in it."""

    def __init__(self, source: str, options: Sequence[str] = ()) -> None:
        # PyDLL: the global lock is held, since the header's state belongs to one launch at a time
        self.library = ctypes.PyDLL(str(build(source, options)))
        self.library.cuda_message.restype = ctypes.c_char_p

    def get_function(self, name: str) -> CpuKernel:
        """The kernel of that name; raises AttributeError where the text has none."""
        return CpuKernel(self.library, name)


class CpuKernel:
    """A kernel of a module; calling it runs it at once."""

    def __init__(self, library: Any, name: str) -> None:
        self.name, self.library = name, library
        if not hasattr(library, f"launch_{name}"):
            raise AttributeError(f"the CUDA text has no kernel named {name!r}")
        self._launch = getattr(library, f"launch_{name}")
        signature = getattr(library, f"signature_{name}")
        signature.restype = ctypes.c_char_p
        kinds, elements = signature().decode().split(" ")
        self.signature = list(zip(kinds, elements, strict=True))

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0, order: int = 0
    ) -> None:
        self.bind(grid, block, args, shared_mem).run(order)

    def bind(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0,
        ranges: Sequence[tuple[int, int]] = (),
    ) -> Bound:
        """A launch that may be run again and again with the arguments as they are now, as in a CUDA graph.

        Raises TypeError for an argument that is not of the kernel's type: CuPy would hand over its bytes all the
        same. `ranges`: first and last address of memory that lies between guard bytes.
        """
        if len(args) != len(self.signature):
            raise TypeError(f"{self.name} takes {len(self.signature)} arguments, got {len(args)}")
        words = [self._word(i, value) for i, value in enumerate(args)]
        return Bound(self, _three(grid), _three(block), words, shared_mem, ranges)

    def _word(self, index: int, value: Any) -> bytes:
        kind, element = self.signature[index]
        wanted = np.dtype(element).name
        if kind == "P":
            if isinstance(value, np.uintp) and value == 0:  # the null pointer
                return bytes(8)
            if isinstance(value, np.ndarray) and value.dtype == wanted and value.flags.c_contiguous:
                return np.uintp(value.ctypes.data).tobytes()
            wanted = f"a contiguous array of {wanted}"
        elif isinstance(value, np.generic) and value.dtype == wanted:
            return value.tobytes()
        given = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"argument {index} of {self.name} must be {wanted}, got {given}")


class Bound:
    """A launch with its arguments frozen."""

    def __init__(
        self, kernel: CpuKernel, grid: Any, block: Any, words: list[bytes], shared: int,
        ranges: Sequence[tuple[int, int]],
    ) -> None:
        self.kernel = kernel
        self._words = [ctypes.create_string_buffer(word, 8) for word in words]
        addresses = (ctypes.c_void_p * max(len(words), 1))(*map(ctypes.addressof, self._words))
        self._before = (grid, block, ctypes.c_size_t(shared), addresses)
        ends = [end for both in ranges for end in both]
        self._behind = ((ctypes.c_void_p * max(len(ends), 1))(*ends), len(ranges))

    def run(self, order: int = 0) -> None:
        """Run all threads, in one of ORDERS; raises RuntimeError for what a GPU would not survive, or hide."""
        if self.kernel._launch(*self._before, ctypes.c_uint64(order), *self._behind):
            raise RuntimeError(f"{self.kernel.name}: {self.kernel.library.cuda_message().decode()}")


def _three(sizes: Sequence[int]) -> Any:
    return (ctypes.c_uint * 3)(*(*sizes, 1, 1)[:3])
