"""A loaded model goes on to the same bits, and no file, however wrong, is taken for one."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import fastnn
from fastnn import backends, layers, losses, metrics, optimizers, regularizers, schedules
from fastnn.saving import load_model

OPTIMIZERS = [
    optimizers.SGD(0.1),
    optimizers.SGD(0.1, momentum=0.9),
    optimizers.SGD(schedules.CosineDecay(0.1, 20), momentum=0.9, nesterov=True),
    optimizers.Adagrad(0.05),
    optimizers.RMSprop(0.01),
    optimizers.RMSprop(schedules.PiecewiseConstantDecay([7], [0.01, 0.001]), momentum=0.5),
    optimizers.Adam(0.01),
    optimizers.AdamW(0.01, weight_decay=0.1),
]
ROWS, K = 37, 2  # with batches of 8 the last one is short

draw = np.random.default_rng(3)
X = draw.standard_normal((ROWS, 2, 3))
LABELS = draw.integers(0, 3, ROWS)


def fresh(optimizer):
    return optimizers.deserialize(optimizers.serialize(optimizer))


def network(optimizer="adam", dtype="float32", **compile_with):
    """A network with something of everything that must survive."""
    model = fastnn.Sequential(
        [
            layers.Input((2, 3)),
            layers.Flatten(),
            layers.Dense(5, fastnn.activations.Activation("leaky_relu", 0.4), kernel_initializer="he_normal"),
            layers.Dropout(0.3),
            layers.Dense(4, "tanh", bias_initializer=fastnn.initializers.Constant(0.1), name="hidden"),
            layers.Dropout(0.2, seed=9),
            layers.Dense(3, use_bias=False, kernel_regularizer=regularizers.L1L2(0.001, 0.002)),
            layers.Activation("softmax"),
        ],
        "net",
        seed=11,
        dtype=dtype,
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", "accuracy", **compile_with)
    return model


def small(*more, **arguments):
    return fastnn.Sequential([layers.Dense(2, input_shape=(3,)), *more], seed=1, **arguments)


def train(model, epochs=K):
    return model.fit(X, LABELS, batch_size=8, epochs=epochs, verbose=0).history


def state(model):
    """All that training changes, as bytes."""
    slots = [[None if slot is None else slot.tobytes() for slot in kept] for kept in model.optimizer.slots]
    return [w.tobytes() for w in model.get_weights()], slots, model.optimizer.iterations, model.epochs_trained


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "model.safetensors")


def description(path):
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fastnn"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


# ---- the same bits ----


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_as_if_there_had_been_no_break(optimizer, backend, dtype, path):
    whole, first = network(fresh(optimizer), dtype), network(fresh(optimizer), dtype)
    history = train(whole, 2 * K)
    train(first)
    first.save(path)
    second = load_model(path)
    assert second.backend.name == backend
    assert state(second) == state(first)
    assert second.predict(X).tobytes() == first.predict(X).tobytes()
    assert second.evaluate(X, LABELS) == first.evaluate(X, LABELS)
    assert train(second) == {name: values[K:] for name, values in history.items()}
    assert state(second) == state(whole) != state(first)
    assert second.predict(X).tobytes() == whole.predict(X).tobytes()


@pytest.mark.parametrize("back", [False, True], ids=["from numpy", "to numpy"])
def test_saved_on_one_backend_and_trained_on_on_another(back, other, dtype, path):
    there, here = (other, "numpy") if back else ("numpy", other)
    with backends.backend(there):
        whole, first = network(dtype=dtype), network(dtype=dtype)
    train(whole, 2 * K)
    train(first)
    first.save(path)
    second = load_model(path, backend=here)
    assert second.backend.name == here
    assert state(second) == state(first)
    train(second)
    assert state(second)[2:] == state(whole)[2:]
    tolerance = 1e-4 if dtype == np.float32 else 1e-10
    for continued, uninterrupted in zip(second.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(continued, uninterrupted, rtol=tolerance, atol=tolerance)


def test_a_checkpoint_of_an_epoch_goes_on_from_there(tmp_path):
    whole = network()
    keep = fastnn.callbacks.ModelCheckpoint(tmp_path / "{epoch}.safetensors")
    whole.fit(X, LABELS, epochs=4, verbose=0, callbacks=[keep])
    second = load_model(tmp_path / "3.safetensors")
    second.fit(X, LABELS, epochs=4, initial_epoch=3, verbose=0)
    assert state(second) == state(whole)


def test_before_training(path):
    """Compiled or not, a network without slots comes back as it is."""
    model = network()
    model.save(path)
    second = load_model(path)
    assert second.optimizer.slots == []
    train(model)
    train(second)
    assert state(second) == state(model)
    plain = small(layers.Dense(1, "sigmoid"), dtype="float64")
    plain.save(path)
    second = load_model(path)
    assert not second.compiled
    assert second.dtype == np.float64
    assert second.predict(X[:, 0]).tobytes() == plain.predict(X[:, 0]).tobytes()


def test_what_a_model_says_of_itself_survives(path):
    model = network(run_eagerly=True)
    train(model, 1)
    model.save(path)
    second = load_model(path)
    for attribute in ("name", "seed", "dtype", "input_shape", "output_shape", "run_eagerly", "epochs_trained"):
        assert getattr(second, attribute) == getattr(model, attribute), attribute
    for old, new in zip(model.layers, second.layers, strict=True):
        assert type(new) is type(old)
        assert (new.name, new.index, new.seed) == (old.name, old.index, old.seed)
        assert new.get_config() == old.get_config()
    assert second.layers[1].activation.alpha == 0.4
    assert second.metrics[0].name == "accuracy"
    assert repr(second.optimizer) == repr(model.optimizer)


def test_the_shape_given_to_build_survives(path):
    model = fastnn.Sequential([layers.Flatten(), layers.Dense(2)], seed=1)
    model.build((2, 3))
    model.save(path)
    assert load_model(path).predict(X).tobytes() == model.predict(X).tobytes()


def test_what_is_frozen_stays_frozen(path):
    model = small(layers.Dense(4, name="still"), layers.Dense(1))
    model.layers[1].trainable = False
    model.layers[2].parameters[1].trainable = False
    model.compile("adam", "mse")
    model.fit(X[:, 0], X[:, 1, :1], verbose=0)
    model.save(path)
    second = load_model(path)
    assert [layer.trainable for layer in second.layers] == [True, False, True]
    assert [p.trainable for p in second.parameters] == [True, True, True, True, True, False]
    assert state(second) == state(model)
    second.fit(X[:, 0], X[:, 1, :1], verbose=0)
    before, after = model.get_weights(), second.get_weights()
    moved = [a.tobytes() != b.tobytes() for a, b in zip(before, after, strict=True)]
    assert moved == [True, True, False, False, True, False]


def test_slots_that_the_next_fit_would_not_use_are_not_saved(path):
    x, y = X[:, 0], X[:, 1]
    model = fastnn.Sequential([layers.Dense(3, input_shape=(3,)), layers.Dense(3)], seed=1)
    model.layers[1].trainable = False
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    model.layers[0].trainable, model.layers[1].trainable = False, True  # of the same shapes
    model.save(path)
    assert not any(name.startswith("optimizer/") for name in description(path)[1])
    second = load_model(path)
    assert second.optimizer.iterations == second.optimizer.began == model.optimizer.iterations
    model.fit(x, y, verbose=0)
    second.fit(x, y, verbose=0)
    assert state(second) == state(model)
    third = small()
    third.compile(optimizers.SGD(), "mse")
    third.fit(x, y[:, :2], verbose=0)
    third.optimizer.momentum = 0.9
    third.save(path)
    assert load_model(path).optimizer.slots == []


LOSSES = [
    losses.MeanSquaredError(),
    losses.MeanAbsoluteError(),
    losses.Huber(0.3),
    losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.CategoricalCrossentropy(label_smoothing=0.2),
    losses.SparseCategoricalCrossentropy(from_logits=True),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_losses_and_metrics_survive(loss, path):
    model = small()
    measures = [metrics.BinaryAccuracy(0.2), "mae", "MSE", "categorical_accuracy"]
    model.compile("sgd", loss, [] if loss.integer_labels else measures)
    model.save(path)
    second = load_model(path)
    assert repr(second.loss) == repr(loss)
    assert repr(second.metrics) == repr(model.metrics)
    assert [m.name for m in second.metrics] == [m.name for m in model.metrics]


@pytest.mark.parametrize("name", [n for n in layers.__all__ if n not in ("Input", "Layer", "Parameter")])
def test_every_public_layer_is_known_by_its_name(name):
    examples = {"Dense": [3], "Activation": ["relu"], "Dropout": [0.5]}
    layer = getattr(layers, name)(*examples.get(name, []), name="mine")
    described = json.loads(json.dumps(layers.serialize(layer)))
    second = layers.deserialize(described)
    assert type(second) is type(layer)
    assert second.name == "mine"
    assert layers.serialize(second) == described


# ---- the file ----


def test_the_names_of_the_tensors(path):
    model = small(layers.Dense(1, name="last"))
    model.compile(optimizers.RMSprop(momentum=0.5), "mse")
    model.fit(X[:, 0], X[:, 1, :1], verbose=0)
    model.save(path)
    told, tensors = description(path)
    parameters = ["dense/kernel", "dense/bias", "last/kernel", "last/bias"]
    slots = [f"optimizer/{p}/{slot}" for p in parameters for slot in ("mean_square", "velocity")]
    assert sorted(tensors) == sorted(parameters + slots)
    np.testing.assert_array_equal(tensors["last/kernel"], model.layers[1].kernel.value)
    np.testing.assert_array_equal(tensors["optimizer/last/bias/velocity"], model.optimizer.slots[3][1])
    assert told["version"] == 3


def test_the_same_model_gives_the_same_bytes(path, tmp_path):
    model = network()
    train(model)
    written = []
    for _ in range(4):
        model.save(path)
        written.append(Path(path).read_bytes())
        model = load_model(path)
    assert len(set(written)) == 1


@pytest.mark.parametrize("broken", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file_alone(broken, error, path, tmp_path, monkeypatch):
    small().save(path)
    old = Path(path).read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(type(error)):
        network().save(path)
    assert Path(path).read_bytes() == old
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_no_file_is_ever_half_written(path, monkeypatch):
    """What is renamed into place is complete and synced."""
    seen = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("synced"), fsync(handle)))

    def look(temporary, final):
        assert os.path.dirname(temporary) == os.path.dirname(final)
        seen.append(load_model(temporary).name)
        replace(temporary, final)

    monkeypatch.setattr(os, "replace", look)
    network().save(path)
    assert seen == ["synced", "net"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are POSIX's")
def test_links_and_permissions_are_those_of_any_new_file(path, tmp_path):
    os.symlink(path, tmp_path / "link")
    small().save(tmp_path / "link")
    assert os.path.islink(tmp_path / "link")
    assert load_model(path).name == "sequential"
    (tmp_path / "other").touch()
    assert os.stat(path).st_mode == os.stat(tmp_path / "other").st_mode


def test_a_file_may_be_moved(path, tmp_path):
    model = network()
    model.save(path)
    shutil.move(path, tmp_path / "elsewhere")
    assert load_model(tmp_path / "elsewhere").get_weights()[0].tobytes() == model.get_weights()[0].tobytes()
