"""Checks of data before training, evaluation or prediction: what does not fit is refused before anything changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn.kernels.numpy_.data import all_finite
from fastnn.memory import on_host


def as_array(value: Any, argument: str) -> np.ndarray:
    """Return `value` as an array of numbers. Raises TypeError for text and objects, ValueError for ragged lists."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{argument} must be an array without a mask: fill what is missing, or leave the rows out")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{argument} must be an array; its rows differ in length ({error})") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{argument} must be an array of numbers, got dtype {array.dtype}")
    return _rows(array, argument)


def _rows(array: Any, argument: str) -> Any:
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{argument} must have at least one row, got shape {array.shape}")
    return array


def on_gpu(value: Any) -> bool:
    """True for an array of any library that lies in the memory of a CUDA device."""
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__dlpack_device__"):
        return value.__dlpack_device__()[0] in (2, 13)  # DLPack's numbers of CUDA memory, plain and managed
    return hasattr(value, "__cuda_array_interface__")


def as_samples(model: Any, x: Any, argument: str) -> Any:
    """Samples in the model's dtype, contiguous; builds the model on first use. A column may come flat, as (N,).

    What is on the GPU stays there, if that is where the model runs.
    """
    if on_gpu(x):
        if model.automatic:
            model.to("cupy").why_backend = f"cupy: {argument} is on the GPU"
        array = _rows(model.backend.adopt(x, model.dtype, argument), argument)
    else:
        array = as_array(x, argument)
    if not model.built:
        if array.ndim == 1:
            hint = f"use {argument}.reshape(-1, 1)"
            raise ValueError(f"{argument} must have shape (N, features), got {array.shape}; {hint}")
        model.build(array.shape[1:])
    wanted = model.input_shape
    if array.ndim == 1 and wanted == (1,):
        array = array.reshape(-1, 1)
    if array.shape[1:] != wanted:
        raise ValueError(f"{argument} must have shape (N, {', '.join(map(str, wanted))}), got {array.shape}")
    return _cast(array, model.dtype) if isinstance(array, np.ndarray) else array


def as_pair(model: Any, x: Any, y: Any, x_argument: str = "x", y_argument: str = "y") -> tuple[Any, Any]:
    """Samples and targets that fit the model; where they do not, a model that was built for them is as it was."""
    with unbuilt_if_refused(model):
        samples = as_samples(model, x, x_argument)
        return samples, as_targets(model, y, len(samples), y_argument)


@contextlib.contextmanager
def unbuilt_if_refused(model: Any) -> Iterator[None]:
    """Where an argument is refused, a model that was built for another one is as it was."""
    fresh = [] if model.built else [layer for layer in model.layers if not layer.built]
    try:
        yield
    except Exception:
        if fresh:
            model.unbuild(fresh)
        raise


def as_finite_pair(model: Any, data: Any, argument: str) -> tuple[Any, Any]:
    """The same for a pair (x, y) whose samples must be finite, too."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError(f"{argument} must be a pair (x, y), got {type(data).__name__}")
    x, y = as_pair(model, data[0], data[1], f"{argument}[0]", f"{argument}[1]")
    check_finite(x, f"{argument}[0]")
    return x, y


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Contiguous and aligned, in the network's dtype, in which what is too large becomes infinite."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    with np.errstate(over="ignore"):
        return np.require(array, dtype, ["C", "A"])


def check_finite(array: Any, argument: str, first: int = 0) -> None:
    """Raises ValueError naming the first row that is not finite, where `first` is the number of row 0."""
    array = on_host(array)
    if all_finite(array):
        return
    finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    raise ValueError(f"{argument} must be finite, got NaN or infinity in row {first + int(np.argmin(finite))}")


def as_targets(model: Any, y: Any, rows: int, argument: str) -> Any:
    """Targets as the loss wants them: int64 labels (N, 1), or numbers in the shape of the predictions.

    On the GPU they are looked at by way of a copy, and stay there if they are right as they are.
    """
    if not on_gpu(y):
        return _targets_on_host(model, as_array(y, argument), rows, argument)
    wanted = np.dtype(np.int64) if model.loss.integer_labels else model.dtype
    array = model.backend.adopt(y, None, argument)
    checked = _targets_on_host(model, as_array(on_host(array), argument), rows, argument)
    if array.dtype != wanted or not np.array_equal(checked.reshape(array.shape), on_host(array)):
        return checked
    return array.reshape(checked.shape)


def _targets_on_host(model: Any, array: np.ndarray, rows: int, argument: str) -> np.ndarray:
    if len(array) != rows:
        raise ValueError(f"{argument} must have {rows} rows, as many as x, got {len(array)}")
    shape = model.output_shape
    if model.loss.head == "softmax" and len(shape) > 1:
        name = f"loss {type(model.loss).__name__}"
        raise ValueError(f"{name} takes one row of classes for each sample, but output_shape is {shape}: add Flatten")
    if model.loss.integer_labels:
        return as_labels(array, shape[-1], argument)
    if array.shape[1:] != shape:
        if [n for n in array.shape[1:] if n > 1] != [n for n in shape if n > 1]:
            hint = "; integer labels want loss='sparse_categorical_crossentropy'" if array.ndim == 1 else ""
            raise ValueError(f"{argument} must have shape (N, {', '.join(map(str, shape))}), got {array.shape}{hint}")
        array = array.reshape(rows, *shape)
    array = _cast(array, model.dtype)
    check_finite(array, argument)
    if type(model.loss).__name__ == "BinaryCrossentropy" and (array.min() < 0 or array.max() > 1):
        found = f"{array.min():g} to {array.max():g}"
        raise ValueError(f"{argument} must be in [0, 1] for binary_crossentropy, got {found}")
    return array


def as_labels(array: np.ndarray, classes: int, argument: str) -> np.ndarray:
    """Integer labels, shape (N, 1). Raises ValueError for anything but whole numbers from 0 to classes - 1."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{argument} must be integer labels of shape (N,), got {array.shape}; "
            "one-hot rows want loss='categorical_crossentropy'"
        )
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            labels = array.astype(np.int64)
        if not np.array_equal(labels, array):
            raise ValueError(f"{argument} must be integer labels, got {array.dtype} with fractions or NaN")
    else:
        labels = array.astype(np.int64)  # a copy: nobody can change them once they were looked at
    if labels.view(np.uint64).max() >= classes:  # or below 0
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(f"{argument} must be labels from 0 to {classes - 1}, got {low if low < 0 else high}")
    return labels.reshape(-1, 1)


def check_result(what: str, layer: Any, value: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError where a layer gives back rows of another shape than it said."""
    if value.shape[1:] != shape:
        wanted = "(N, " + ", ".join(map(str, shape)) + ")"
        raise ValueError(f"{what} of layer {layer.name!r} must return an array of shape {wanted}, got {value.shape}")


def check_dtype(dtype: Any) -> np.dtype:
    """Return the dtype of a network. Raises TypeError, ValueError unless it is float32 or float64."""
    try:
        found = np.dtype("" if dtype is None else dtype)
    except TypeError:
        raise TypeError(f"dtype must be 'float32' or 'float64', got {dtype!r}") from None
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    return found
