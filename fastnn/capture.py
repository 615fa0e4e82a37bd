"""Capture once, replay natively: layer code runs over kernels, and either runs them now or writes them down.

`Eager` runs each kernel at once. `Recorder` has the same face, but only writes the launch down; the launches, put in
order, are a `Program`, which the backend replays for many steps without coming back to layer code. Both end in the
same kernels, so both give the same bits.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastnn.errors import suggest
from fastnn.kernels.contract import KERNELS, Array, Kernel
from fastnn.memory import Shape, aligned


class NotCapturable(RuntimeError):
    """Layer code did something with a buffer that is no kernel, so it cannot be replayed."""


@contextlib.contextmanager
def naming(who: str) -> Iterator[None]:
    """Say whose code it was that could not be captured."""
    try:
        yield
    except NotCapturable as error:
        raise NotCapturable(f"{who}: {error}") from error


class Port:
    """A place in a program for an array that changes between replays, such as the data set."""

    def __init__(self, name: str, array: np.ndarray | None = None) -> None:
        self.name, self.array = name, array

    def __repr__(self) -> str:
        return f"Port({self.name!r})"


_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("recording", default=False)


def while_recording(array: np.ndarray) -> Any:
    """`array`, or under capture a buffer of it: what is computed from its values now would be wrong in later steps."""
    return Buffer(array) if _recording.get() else array


def _refuse(name: str) -> Callable:
    def method(self: Buffer, *args: Any, **kwargs: Any) -> Any:
        raise NotCapturable(f"{name} on a buffer under capture: its values do not exist yet; call kernels of `ops`")

    return method


class Buffer:
    """Memory of a program under capture: it has a shape and a dtype, but no values to compute with yet."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape: Shape = array.shape
        self.dtype, self.ndim, self.size = array.dtype, array.ndim, array.size

    def __len__(self) -> int:
        return len(self._array)

    def reshape(self, *shape: Any) -> Buffer:
        """The same memory in another shape."""
        return Buffer(self._array.reshape(*shape))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by Python itself, as by copy.deepcopy
            raise AttributeError(name)
        raise NotCapturable(f".{name} of a buffer under capture: its values do not exist yet; call kernels of `ops`")


_BINARY = "add|sub|mul|truediv|floordiv|mod|divmod|pow|matmul|lshift|rshift|and|or|xor"
_OTHER = (
    "array|array_ufunc|array_function|getitem|setitem|delitem|iter|contains|format|bool|int|float|complex|index|"
    "neg|pos|abs|invert|round|trunc|floor|ceil|lt|le|gt|ge|eq|ne"
)
for _name in [*_OTHER.split("|"), *(how + operator for operator in _BINARY.split("|") for how in ("", "r", "i"))]:
    setattr(Buffer, f"__{_name}__", _refuse(f"__{_name}__"))


def _fold(value: Any, kernel: Kernel, index: int, dtype: np.dtype) -> np.ndarray | Port | None:
    """Return an array argument with the table's number of axes; raises TypeError, ValueError naming it."""
    array = kernel.arrays[index]
    if isinstance(value, Port):
        return value
    if isinstance(value, Buffer):
        value = value._array
    if value is None:
        if array.optional:
            return None
        raise TypeError(f"{kernel.name}: {array.name} must be an array, got None")
    wanted = {"real": dtype, "int": np.dtype(np.int64), "double": np.dtype(np.float64)}[array.element]
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{kernel.name}: {array.name} must be an array, got {type(value).__name__}")
    if value.dtype != wanted and not (kernel.name == "gather" and value.dtype == np.int64):
        raise TypeError(f"{kernel.name}: {array.name} must be {wanted}, got {value.dtype}")
    if not value.flags.c_contiguous:
        raise ValueError(f"{kernel.name}: {array.name} must be contiguous in row-major order")
    if value.ndim == len(array.axes):
        return value
    return value.reshape(-1) if len(array.axes) == 1 else value.reshape(len(value), -1)


def _check_axes(kernel: Kernel, arrays: Sequence[np.ndarray | Port | None]) -> None:
    """Axes with the same letter must have the same length."""
    known: dict[str, tuple[int, str]] = {}
    for array, value in zip(kernel.arrays, arrays, strict=True):
        if isinstance(value, np.ndarray):
            for axis, length in zip(array.axes, value.shape, strict=True):
                first, where = known.setdefault(axis, (length, array.name))
                if first != length and axis.isalpha():
                    raise ValueError(f"{kernel.name}: axis {axis} is {first} in {where} but {length} in {array.name}")


UNORDERED = ("clock", "fault")  # the one is only read, the other only gains bits
Place = tuple[Port | None, int, int]  # a port, or None and the first byte and the one after the last


def _place(array: np.ndarray | Port) -> Place:
    if isinstance(array, Port):
        return array, 0, 1
    first = array.ctypes.data
    return None, first, first + array.nbytes


class Launch:
    """One kernel with its arguments."""

    def __init__(self, kernel: Kernel, args: Sequence[Any], dtype: np.dtype) -> None:
        if len(args) != len(kernel.arguments):
            raise TypeError(f"{kernel.name} takes {', '.join(kernel.arguments)}; got {len(args)} arguments")
        count = len(kernel.arrays)
        arrays = [_fold(value, kernel, i, dtype) for i, value in enumerate(args[:count])]
        _check_axes(kernel, arrays)
        self.kernel, self.dtype = kernel, dtype
        self.args: list[Any] = [*arrays, *args[count:]]
        owner = self.args[kernel.owner] if kernel.owner >= 0 else None
        self.count = 1 if owner is None else len(owner)
        self.bound: Any = None  # the backend's packed form, which the next launch uses again

    @property
    def arrays(self) -> list[np.ndarray | Port | None]:
        """The array arguments."""
        return self.args[: len(self.kernel.arrays)]

    @functools.cached_property
    def places(self) -> list[tuple[Array, Place]]:
        """Where the arrays lie whose order of use matters."""
        named = zip(self.kernel.arrays, self.arrays, strict=True)
        return [(array, _place(value)) for array, value in named if value is not None and array.name not in UNORDERED]

    @property
    def values(self) -> list[Any]:
        """The arguments with the arrays that now stand in the ports."""
        return [value.array if isinstance(value, Port) else value for value in self.args]

    @property
    def share(self) -> tuple[str, int]:
        """How threads share the work: launches with the same answer give each thread the same rows."""
        return (self.kernel.split, self.count)

    def __repr__(self) -> str:
        shapes = ", ".join("-" if a is None else a.name if isinstance(a, Port) else str(a.shape) for a in self.arrays)
        return f"{self.kernel.name}({shapes})"


class Ops:
    """The kernels as methods: `ops.dense(x, weight, bias, z)`. Some of them want `ops.clock` or `ops.fault`."""

    def __init__(
        self, backend: Any, dtype: Any, clock: np.ndarray | None = None, fault: np.ndarray | None = None
    ) -> None:
        self.backend, self.dtype = backend, np.dtype(dtype)
        self.clock = np.zeros(3, np.int64) if clock is None else clock
        self.fault = np.zeros(1, np.int64) if fault is None else fault

    def empty(self, shape: Shape, dtype: Any = None) -> Any:
        """New memory of this shape; its values are undefined."""
        raise NotImplementedError

    def given(self, value: Any) -> Any:
        """What a layer gave back, as kernels take it."""
        raise NotImplementedError

    def _launch(self, launch: Launch) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_") or name not in KERNELS:
            raise AttributeError(str(suggest("kernel", name, KERNELS)))
        kernel = KERNELS[name]
        return lambda *args: self._launch(Launch(kernel, args, self.dtype))


class Eager(Ops):
    """Runs every kernel at once."""

    def empty(self, shape: Shape, dtype: Any = None) -> np.ndarray:
        dtype = np.dtype(dtype or self.dtype)
        return np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)  # what nobody writes shall not look right

    def given(self, value: Any) -> np.ndarray:
        return np.require(value, self.dtype, ["C", "A"])

    def _launch(self, launch: Launch) -> None:
        self.backend.launch(launch)


class Recorder(Ops):
    """Writes every launch down and runs nothing; within `with recorder:` parameters have no values either."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.launches: list[Launch] = []
        self.clock: Any = Buffer(self.clock)

    def __enter__(self) -> Recorder:
        self._token = _recording.set(True)
        return self

    def __exit__(self, *error: Any) -> None:
        _recording.reset(self._token)

    def empty(self, shape: Shape, dtype: Any = None) -> Buffer:
        return Buffer(aligned(shape, dtype or self.dtype))

    def given(self, value: Any) -> Any:
        if not isinstance(value, Buffer):
            raise NotCapturable(f"{type(value).__name__} given back under capture: it would be the same in every step")
        return value

    def _launch(self, launch: Launch) -> None:
        self.backend.check(launch.kernel)
        self.launches.append(launch)
