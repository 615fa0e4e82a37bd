"""Models in files: one safetensors file holds the network, its weights and the state of its training.

The tensors are the parameters, `layer/parameter`, and what the optimizer keeps for each, `optimizer/layer/parameter/
slot`. All else is one JSON text in the file's metadata, under "fastnn": one entry, because safetensors writes several
in any order and the same model shall give the same bytes. Nothing is pickled, so nothing in a file is ever run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fastnn import backends, layers, losses, metrics, optimizers, random, registry
from fastnn.errors import positive_int
from fastnn.files import write_whole
from fastnn.layers.base import check_shape
from fastnn.model import Sequential

FORMAT = 3
"""Version of the format. Files of another one are refused, so it rises when a file comes to mean something new."""

MOST_STEPS = 1 << 62  # they are counted in 64 bits
_DTYPES = {"F32": "float32", "F64": "float64"}  # safetensors' names


def save_model(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write a model to one safetensors file, all of it or nothing; a file that was there is replaced at the end.

    Saved are the layers, their weights, what is trainable and, once compiled, loss, metrics, optimizer with its
    state, and the count of epochs. So a loaded model predicts the same bits, and a `fit` after loading gives the same
    bits as one without the break, on the same backend. Callbacks and the history are not saved.

    Raises ValueError for a model that is not built, or of which something cannot be described, such as a lambda as a
    metric; TypeError for a path that is none; OSError where the file cannot be written. No file is touched then.
    """
    path = os.path.realpath(_checked(path))
    if not model.built:
        raise ValueError("the model has no weights yet: give input_shape to the first layer, or call build or fit")
    tensors = _tensors(model)
    data = save(tensors, {"fastnn": json.dumps(_describe(model))})
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"path must be in a folder that exists, but there is no {folder!r}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"path must be a file's, but {path!r} is a folder or a device")
    write_whole(path, data)


def load_model(
    path: str | os.PathLike[str], *, backend: str | None = None, custom_objects: Mapping[str, Any] | None = None
) -> Sequential:
    """The model that `save_model` wrote to a file, ready to predict and to continue training.

    backend: as in Sequential; None for the one in force. custom_objects: {name: class or function} of your own layers,
    losses, metrics, optimizers, schedules, initializers and regularizers, by the names they had.

    Raises FileNotFoundError where there is no file, and ValueError, naming the path and what is wrong, for one that is
    damaged, not a fastnn model, from a newer fastnn or in need of custom_objects.
    """
    path = _checked(path)
    backends.get(backend)
    with registry.custom_objects(custom_objects):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"path must be a model's file, but there is none at {path!r}")
        try:
            with safe_open(path, framework="numpy") as file:
                description = _description(file.metadata())
                model = _rebuild(description, backend)
                _fill(_tensors(model), file)
        except SafetensorError as error:
            raise ValueError(f"{path!r} is truncated or not a safetensors file: {error}") from error
        except KeyError as error:
            raise ValueError(f"{path!r} is damaged: its description lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path!r} cannot be loaded: {error}") from error
    return model


def _checked(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a file's path, got {path!r}")
    return os.fsdecode(path)


# --- from a model to a file ---


def _describe(model: Sequential) -> dict[str, Any]:
    """All but the tensors, as JSON can hold it."""
    return {
        "version": FORMAT,
        "name": model.name,
        "dtype": model.dtype.name,
        "seed": model.seed,
        "input_shape": list(model.input_shape),
        "epochs_trained": model.epochs_trained,
        "layers": [_describe_layer(layer) for layer in model.layers],
        "training": _describe_training(model) if model.compiled else None,
    }


def _describe_layer(layer: layers.Layer) -> dict[str, Any]:
    described = _plain(f"layer {layer.name!r}", layers.serialize, layer)
    frozen = [p.name for p in layer.parameters if not p.trainable]
    return {"name": layer.name, **described, "trainable": layer.trainable, "frozen": frozen}


def _describe_training(model: Sequential) -> dict[str, Any]:
    return {
        "optimizer": _plain("the optimizer", optimizers.serialize, model.optimizer),
        "loss": _plain("the loss", losses.serialize, model.loss),
        "metrics": [_plain(f"metric {m.name!r}", metrics.serialize, m) for m in model.metrics],
        "run_eagerly": model.run_eagerly,
        "iterations": model.optimizer.iterations,
        "began": model.optimizer.began if _has_slots(model) else model.optimizer.iterations,
        "slots": _has_slots(model),
    }


def _plain(what: str, serialize: Callable[[Any], dict[str, Any]], thing: Any) -> dict[str, Any]:
    """The description of a thing, which JSON is seen to hold."""
    try:
        described = serialize(thing)
        json.dumps(described)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{what} cannot be saved: {error}") from error
    return described


def _tensors(model: Sequential) -> dict[str, np.ndarray]:
    """The arrays of a model, under their names in a file. Raises ValueError where two have one name."""
    names = {p: f"{layer.name}/{p.name}" for layer in model.layers for p in layer.parameters}
    named = [(names[p], p.value) for p in model.parameters]
    if _has_slots(model):
        for p, slots in zip(model.trainable_parameters, model.optimizer.slots, strict=True):
            kept = zip(model.optimizer.slot_names(), slots, strict=True)
            named += [(f"optimizer/{names[p]}/{slot_name}", slot) for slot_name, slot in kept if slot is not None]
    tensors: dict[str, np.ndarray] = {}
    for name, array in named:
        if name in tensors:
            raise ValueError(f"two weights would have the name {name!r} in the file: rename a layer or a parameter")
        tensors[name] = array
    return tensors


def _has_slots(model: Sequential) -> bool:
    """True when the next fit would go on with what the optimizer keeps, rather than begin anew for other weights."""
    return model.compiled and not model.begins_anew and model.optimizer.fits(model.trainable_parameters)


# --- from a file to a model ---


def _description(metadata: Mapping[str, str] | None) -> Any:
    if "fastnn" not in (metadata or {}):
        raise ValueError("it is a safetensors file, but not of a fastnn model")
    description = json.loads((metadata or {})["fastnn"])
    version = positive_int("version", description["version"])
    if version != FORMAT:
        age = "a newer" if version > FORMAT else "an older"
        raise ValueError(f"it has format {version} of {age} fastnn, where this one reads format {FORMAT}")
    return description


def _rebuild(description: Any, backend: str | None) -> Sequential:
    """The model as described, compiled if it was, with fresh weights and slots."""
    seed = random.check_seed(description["seed"])
    model = Sequential(name=description["name"], backend=backend, seed=seed, dtype=description["dtype"])
    for entry in description["layers"]:
        layer = layers.deserialize({key: entry[key] for key in ("class_name", "config")})
        layer.name, layer.trainable = entry["name"], entry["trainable"]
        model.add(layer)
    shape = check_shape("input_shape", description["input_shape"])
    if not model.built:
        model.build(shape)
    if model.input_shape != shape:
        raise ValueError(f"its input_shape is {shape}, but that of its first layer is {model.input_shape}")
    for layer, entry in zip(model.layers, description["layers"], strict=True):
        for p in layer.parameters:
            p.trainable = p.name not in entry["frozen"]
    model.epochs_trained = positive_int("epochs_trained", description["epochs_trained"], minimum=0)
    training = description["training"]
    if training is not None:
        optimizer = optimizers.deserialize(training["optimizer"])
        measured = [metrics.deserialize(m) for m in training["metrics"]]
        model.compile(optimizer, losses.deserialize(training["loss"]), measured, run_eagerly=training["run_eagerly"])
        optimizer.iterations = _step("iterations", training["iterations"], MOST_STEPS)
        optimizer.began = _step("began", training["began"], optimizer.iterations)
        if training["slots"]:
            model.prepare_training()
    return model


def _step(name: str, value: Any, most: int) -> int:
    step = positive_int(name, value, minimum=0)
    if step > most:
        raise ValueError(f"{name} must be at most {most}, got {step}")
    return step


def _fill(tensors: Mapping[str, np.ndarray], file: Any) -> None:
    """Copy a file's tensors into arrays. Raises ValueError unless names, shapes and dtypes are theirs."""
    held = set(file.keys())
    for wrong, what in ((tensors.keys() - held, "lacks"), (held - tensors.keys(), "has, beyond what it describes,")):
        if wrong:
            raise ValueError(f"it {what} the tensors {', '.join(sorted(wrong))}")
    for name, array in tensors.items():
        entry = file.get_slice(name)
        shape, dtype = tuple(entry.get_shape()), _DTYPES.get(entry.get_dtype(), entry.get_dtype())
        if (shape, dtype) != (array.shape, array.dtype.name):
            wanted = f"{array.dtype.name} of shape {array.shape}"
            raise ValueError(f"its tensor {name} must be {wanted}, got {dtype} of shape {shape}")
        array[...] = file.get_tensor(name)
