"""How a native kernel is given its arguments: as one block of 64-bit words, packed here and unpacked by native code.

Every native kernel is called as

    (argument block, start, stop, local)

The argument block holds the address, rows and columns of each array, then the scalars. `local` is the calling thread's
own memory: its clock, and the addresses of its scratch space and of its space for copies. An array at address SCRATCH
stands for the rows start..stop only and lies in the scratch space: so a gradient need not reach main memory.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.contract import Kernel

SCRATCH = 1  # an address that means: this array's tile lies in the thread's scratch space
SCRATCH_WORD = 4  # where `local` holds the address of the scratch space; before it stands the clock
ROWS_WORD = 5  # and that of the space for copied parts of matrices
LOCAL_WORDS = 8

_SCALARS = {"float": "real(bits(block_words[{}]))", "double": "bits(block_words[{}])", "int": "block_words[{}]"}


def array_words(value: np.ndarray | None) -> tuple[int, int, int]:
    """Address, rows and columns of an array in an argument block."""
    if value is None:
        return 0, 0, 0
    address = value.__array_interface__["data"][0]  # in half the time that `value.ctypes.data` takes
    return (address, *(value.shape if value.ndim == 2 else (value.size, 1)))


def places(contract: Kernel) -> list[int]:
    """Where in the argument block the words of each array begin; the clock has none."""
    arrays = [array.name for array in contract.arrays]
    return [3 * sum(name != "clock" for name in arrays[:i]) for i in range(len(arrays))]


def pack(contract: Kernel, args: list, scratch: int | None = None) -> np.ndarray:
    """The argument block of a launch; `scratch` is the index of an array that lives in scratch space."""
    words: list[int] = []
    for i, array in enumerate(contract.arrays):
        if array.name != "clock":
            address, *shape = array_words(args[i])
            words += [SCRATCH if i == scratch else address, *shape]
    for (_, kind), value in zip(contract.scalars, args[len(contract.arrays) :], strict=True):
        words.append(int(value) if kind == "int" else int(np.float64(value).view(np.int64)))
    return np.array(words, np.int64)


def entry_source(contract: Kernel, takes_local: bool) -> str:
    """The Python text of the function that unpacks the argument block and calls the kernel's body.

    The names that it uses are those of `words.namespace`.
    """
    lines = ["def entry(block, start, stop, local):", "    block_words = carray(integers(block), 64)"]
    at, names = 0, []
    for array in contract.arrays:
        if array.name == "clock":
            continue
        pointer = {"real": "reals", "int": "integers", "double": "doubles"}[array.element]
        address, rows, columns = (f"block_words[{at + k}]" for k in range(3))
        shape = f"({rows}, {columns})" if len(array.axes) == 2 else f"({rows},)"
        place = f"place({address}, local, start * {columns} * ITEMSIZE)" if array.writes else address
        lines.append(f"    {array.name} = carray({pointer}({place}), {shape})")
        names.append(array.name)
        at += 3
    for scalar, kind in contract.scalars:
        lines.append(f"    {scalar} = " + _SCALARS[kind].format(at))
        names.append(scalar)
        at += 1
    call = ", ".join([*names, "start", "stop"] + ["carray(integers(local), 8)"] * takes_local)
    lines.append(f"    body({call})")
    return "\n".join(lines)
