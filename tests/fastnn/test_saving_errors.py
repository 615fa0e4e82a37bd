"""What cannot be saved or loaded is refused with a reason, before anything changes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import fastnn
from fastnn import layers, losses, metrics, optimizers, schedules
from fastnn.saving import load_model

X, Y = np.arange(12.0).reshape(4, 3), np.ones((4, 2))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "model.safetensors")


def small(*more, optimizer=None):
    model = fastnn.Sequential([layers.Dense(2, input_shape=(3,)), *more], seed=1, backend="numpy")
    if optimizer is not None:
        model.compile(optimizer, "mse")
        model.fit(X, Y, verbose=0)
    return model


# ---- saving ----


def test_an_unbuilt_model_is_refused(path):
    with pytest.raises(ValueError, match="the model has no weights yet"):
        fastnn.Sequential([layers.Dense(2)]).save(path)
    assert not os.path.exists(path)


def test_two_weights_of_one_name_are_refused(path):
    model = small(layers.Dense(2, name="a"), layers.Dense(2, name="b"))
    model.layers[2].name = "a"
    with pytest.raises(ValueError, match="two weights would have the name 'a/kernel'"):
        model.save(path)
    assert not os.path.exists(path)


def test_paths_that_are_no_files(tmp_path):
    for bad in (None, 3, b"model"):
        with pytest.raises(TypeError, match="path must be a file's path"):
            small().save(bad)
        with pytest.raises(TypeError, match="path must be a file's path"):
            load_model(bad)
    with pytest.raises(FileNotFoundError, match=r"in a folder that exists.*missing"):
        small().save(tmp_path / "missing" / "model")
    with pytest.raises(ValueError, match="is a folder"):
        small().save(tmp_path)
    for nothing in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match=f"there is none at {str(nothing)!r}"):
            load_model(nothing)
    assert os.listdir(tmp_path) == []


class Scale(layers.Layer):
    """A user's layer that does not keep what it was given."""

    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self._factor = factor

    def forward(self, ops, x, training):
        return x


class Table(Scale):
    """One that keeps what no file holds."""

    def get_config(self):
        return {**super().get_config(), "factor": np.ones(3)}


class Stranger(Scale):
    """One whose description is not that of its constructor."""

    def get_config(self):
        return {"factor": 1.0, "colour": "red"}

    def __init__(self, factor=2.0):
        super().__init__(factor)


class Flatten(layers.Layer):
    """One that would come back as the library's."""

    def forward(self, ops, x, training):
        return x


class Nameless:
    """A function that has neither a name nor a configuration."""

    def __call__(self, *args):
        return np.zeros((2, 2))


class Halves(schedules.LearningRateSchedule):
    """A schedule that does not say how it was made."""

    def rates(self, steps):
        return 0.5**steps


UNTOLD = {
    "argument": ([Scale()], "layer 'scale' cannot be saved: Scale.get_config leaves out the constructor's factor"),
    "array": ([Table()], "layer 'table' cannot be saved: Object of type ndarray is not JSON serializable"),
    "stranger": ([Stranger()], "layer 'stranger' cannot be saved: Stranger cannot be made.*'colour'"),
    "name": ([Flatten()], "layer 'flatten' cannot be saved: .* has the name of one of the library's"),
    "lambda": (
        [layers.Dense(2, kernel_initializer=lambda shape: np.ones(shape), name="odd")],
        "layer 'odd' cannot be saved: initializer <lambda> has no name",
    ),
    "nameless": (
        [layers.Dense(2, kernel_initializer=Nameless())],
        "layer 'dense_1' cannot be saved: initializer Nameless cannot be described: it has no get_config",
    ),
}


@pytest.mark.parametrize("more, message", UNTOLD.values(), ids=UNTOLD)
def test_a_layer_that_cannot_be_described_is_named(more, message, path):
    small().save(path)
    old = Path(path).read_bytes()
    with pytest.raises(ValueError, match=message):
        small(*more).save(path)
    assert Path(path).read_bytes() == old
    assert os.listdir(os.path.dirname(path)) == ["model.safetensors"]


class Measure(metrics.Metric):
    """A user's metric that does not keep what it was given."""

    name = "my measure"

    def __init__(self, power):
        self._power = power


@pytest.mark.parametrize(
    "compiled, message",
    [
        ({"metrics": ["mae", lambda y, p: 0.0]}, "metric '<lambda>' cannot be saved: metric <lambda> has no name"),
        ({"metrics": Measure(2)}, "metric 'my measure' cannot be saved: Measure.get_config leaves out .* power"),
        ({"metrics": Nameless()}, "metric 'metric' cannot be saved: metric Nameless cannot be described"),
        ({"optimizer": optimizers.SGD(Halves())}, "the optimizer cannot be saved: Halves must define get_config"),
        ({"loss": type("Huber", (losses.MeanSquaredError,), {})()}, "the loss cannot be saved: loss Huber of your own"),
    ],
)
def test_what_a_model_was_compiled_with_is_named(compiled, message, path):
    model = small()
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert not os.path.exists(path)


# ---- loading ----


def test_a_truncated_file(path):
    small(optimizer="adam").save(path)
    whole = Path(path).read_bytes()
    for length in [0, 5, 8, 100, len(whole) // 2, len(whole) - 1]:
        Path(path).write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated or not a safetensors file") as error:
            load_model(path)
        assert path in str(error.value)


def test_other_peoples_files(path):
    Path(path).write_text("dear diary, " * 100, encoding="utf-8")
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        load_model(path)
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": np.zeros(3)}, path, metadata)
        with pytest.raises(ValueError, match="safetensors file, but not of a fastnn model") as error:
            load_model(path)
        assert path in str(error.value)


def _set(place, key, value):
    place[key] = value


DAMAGE = {
    "newer": (lambda told, t: _set(told, "version", 4), "format 4 of a newer fastnn, where this one reads format 3"),
    "older": (lambda told, t: _set(told, "version", 1), "format 1 of an older fastnn, where this one reads format 3"),
    "lacks": (lambda told, t: told.pop("seed"), "damaged: its description lacks 'seed'"),
    "layer": (lambda told, t: _set(told["layers"][0], "class_name", "Dens"), "unknown layer 'Dens': did you mean"),
    "config": (lambda told, t: _set(told["layers"][0]["config"], "units", -2), "units must be at least 1"),
    "argument": (lambda told, t: _set(told["layers"][0]["config"], "unit", 2), "does not describe a Dense.*'unit'"),
    "dtype": (lambda told, t: _set(told, "dtype", "float16"), "dtype must be 'float32' or 'float64'"),
    "version": (lambda told, t: _set(told, "version", None), "version must be an integer, got None"),
    "seed": (lambda told, t: _set(told, "seed", None), "must be an integer, got None"),
    "epochs": (lambda told, t: _set(told, "epochs_trained", -1), "epochs_trained must be at least 0"),
    "steps": (lambda told, t: _set(told["training"], "iterations", 1.5), "iterations must be an integer"),
    "input": (lambda told, t: _set(told, "input_shape", [4]), r"input_shape is \(4,\), but .* \(3,\)"),
    "metric": (lambda told, t: _set(told["training"], "metrics", [3]), "cannot be loaded"),
    "list": (lambda told, t: _set(told, "layers", [3]), "cannot be loaded"),
    "missing": (lambda told, t: t.pop("dense/bias"), "lacks the tensors dense/bias$"),
    "surplus": (lambda told, t: _set(t, "more", np.zeros(1)), "has, beyond what it describes, the tensors more$"),
    "slots": (lambda told, t: t.pop("optimizer/dense/bias/m"), "lacks the tensors optimizer/dense/bias/m"),
    "shape": (
        lambda told, t: _set(t, "dense/kernel", np.zeros((2, 3), "float32")),
        r"tensor dense/kernel must be float32 of shape \(3, 2\), got float32 of shape \(2, 3\)",
    ),
    "double": (
        lambda told, t: _set(t, "dense/kernel", np.zeros((3, 2))),
        r"must be float32 of shape \(3, 2\), got float64",
    ),
    "integers": (lambda told, t: _set(t, "dense/kernel", np.zeros((3, 2), "int64")), r"of shape \(3, 2\), got I64"),
}


@pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(damage, message, path):
    small(optimizer="adam").save(path)
    with safe_open(path, framework="numpy") as file:
        told = json.loads(file.metadata()["fastnn"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    damage(told, tensors)
    save_file(tensors, path, {"fastnn": json.dumps(told)})
    with pytest.raises(ValueError, match=message) as error:
        load_model(path)
    assert path in str(error.value)


def test_a_description_that_is_no_json(path):
    for text in ("", "[]", '{"version": 1', "3"):
        save_file({"weight": np.zeros(3)}, path, {"fastnn": text})
        with pytest.raises(ValueError, match="cannot be loaded") as error:
            load_model(path)
        assert path in str(error.value)


def test_backend_and_custom_objects_are_checked_first(path):
    with pytest.raises(ValueError, match="unknown backend 'nunpy'"):
        load_model(path, backend="nunpy")
    for bad in ([3], {"a": 3}, {3: losses.Huber}):
        with pytest.raises(TypeError, match="custom_objects must"):
            load_model(path, custom_objects=bad)
