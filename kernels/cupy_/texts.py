"""The CUDA text: which kernels it has, what their functions must look like, how their threads are laid out.

Nothing here needs CuPy, so that the text can be checked where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.kernels.contract import Kernel

FOLDER = Path(__file__).parent
REALS = {"float32": "float", "float64": "double", "int64": "int64"}  # what REAL stands for, by the arrays' dtype
THREADS = 256  # of a block, where nothing else speaks for another number
WARP, ONE_BLOCK = 32, 1024
_ENTRY = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
_PLACE = re.compile(r"\b(element|group|own_row|own_column)\(\)")
_TYPES = {"real": "REAL", "int": "int64", "double": "double"}
_SCALARS = {"int": "int64", "float": "REAL", "double": "double"}


def signature(kernel: Kernel) -> str:
    """The CUDA function that the table asks for, as its first line reads.

    Arrays, then scalars, then the length of each axis in the order in which the line first names it. What changes
    parameters, which is what reads the table of rates, also sees the fault word.
    """
    parts = [f"{'' if a.writes else 'const '}{_TYPES[a.element]}* {a.name}" for a in kernel.arrays]
    parts += [f"{_SCALARS[kind]} {name}" for name, kind in kernel.scalars]
    parts += [f"int64 {axis}" for axis in axes(kernel)]
    if sees_fault(kernel):
        parts.append("const int64* fault")
    return f'extern "C" __global__ void {kernel.name}({", ".join(parts)})'


def axes(kernel: Kernel) -> list[str]:
    """The axes that have letters, in the order in which the line first names them."""
    return list(dict.fromkeys(axis for array in kernel.arrays for axis in array.axes if axis.isalpha()))


def sees_fault(kernel: Kernel) -> bool:
    """True for what must change nothing after a fault."""
    return any(array.name == "table" for array in kernel.arrays)


def source(file: str) -> str:
    """All the text that is compiled for a file of kernels: what they share, then its own."""
    return f'#line 1 "common.cuh"\n{_COMMON}\n#line 1 "{file}"\n{_texts[file]}'


def layout(kernel: Kernel, arrays: Sequence[Any]) -> Layout:
    """The grid and the block of a launch on these arrays."""
    shape = () if kernel.owner < 0 else arrays[kernel.owner].shape
    return LAYOUTS[_where[kernel.name][1]](shape)


def places(text: str) -> dict[str, str]:
    """The kernels in a text, each with the function that it asks for its place."""
    parts = _ENTRY.split(text)  # what stands before them; then name, parameters and body of each
    asked = {name: set(_PLACE.findall(body)) for name, body in zip(parts[1::3], parts[3::3], strict=True)}
    for name, found in asked.items():
        if len(found) > 1:
            raise ValueError(f"kernel {name} asks more than one function for its place: {', '.join(sorted(found))}")
    return {name: found.pop() if found else "" for name, found in asked.items()}


def add_source(kernel: Kernel, text: str) -> None:
    """Take the CUDA text of a user's kernel. Raises TypeError where the function is not as the table asks."""
    found = {match[1]: match[0] for match in _ENTRY.finditer(text)}.get(kernel.name, "")
    wanted = signature(kernel)
    if _words(found) != _words(wanted):
        raise TypeError(f"cupy must define {wanted}; got {found or 'no function of that name'}")
    _where[kernel.name] = (kernel.name, places(text)[kernel.name])
    _texts[kernel.name] = text


def remove_source(name: str) -> None:
    """Forget the text of a user's kernel."""
    _texts.pop(name, None)
    _where.pop(name, None)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|\S", text.replace("long long", "int64"))


def has(name: str) -> bool:
    """True when there is CUDA text for a kernel."""
    return name in _where


def file_of(name: str) -> str:
    """The file in which a kernel stands."""
    return _where[name][0]


def files() -> list[str]:
    """All files of kernels."""
    return list(_texts)


def entries(file: str) -> dict[str, str]:
    """The kernels of a file, each as its first line reads."""
    return {match[1]: match[0] for match in _ENTRY.finditer(_texts[file])}


def options(dtype: str) -> tuple[str, ...]:
    """What the compiler is told, for arrays of this dtype."""
    return ("-std=c++17", f"-DREAL={REALS[dtype]}")


Shape = tuple[int, ...]
Layout = tuple[tuple[int, int, int], tuple[int, int, int]]


def _flat(threads: int) -> Layout:
    return (max(1, -(-threads // THREADS)), 1, 1), (THREADS, 1, 1)


def _size(shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _rows(shape: Shape) -> Layout:
    """Narrow rows have a warp each, so that no thread idles; wide ones a block."""
    wide = _size(shape[1:]) > THREADS
    width, rows = (THREADS, 1) if wide else (WARP, 4)
    return (max(1, -(-shape[0] // rows)), 1, 1), (width, rows, 1)


def _columns(shape: Shape) -> Layout:
    return (max(1, -(-_size(shape) // WARP)), 1, 1), (WARP, WARP, 1)


# The grid and the block for the shape of the array that owns the work, by the function that a kernel asks.
LAYOUTS = {
    "element": lambda shape: _flat(_size(shape)),
    "group": lambda shape: _flat(-(-_size(shape) // 4)),
    "own_row": _rows,
    "own_column": _columns,
    "": lambda shape: ((1, 1, 1), (ONE_BLOCK, 1, 1)),
}

_COMMON = (FOLDER / "common.cuh").read_text(encoding="utf-8")
_texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.cu"))}
_where = {name: (file, place) for file, text in _texts.items() for name, place in places(text).items()}
