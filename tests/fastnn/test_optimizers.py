"""Ten steps of each optimizer equal the paper's formula and PyTorch's numbers, through real training."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from fastnn import Sequential, optimizers, schedules
from fastnn.layers import Dense
from fastnn.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop

DATA = Path(__file__).parents[1] / "data"
RECORD = json.loads((DATA / "torch_optimizers.json").read_text(encoding="utf-8"))
X, LABELS = np.array(RECORD["x"]), np.array(RECORD["labels"])
START = [np.array(w) for w in RECORD["weights"]]
STEPS = 10

# From PyTorch's arguments to ours, one by one.
OURS = {
    "SGD": lambda a: SGD(learning_rate=a["lr"], momentum=a["momentum"], nesterov=a["nesterov"]),
    "momentum": lambda a: SGD(learning_rate=a["lr"], momentum=a["momentum"], nesterov=a["nesterov"]),
    "Nesterov": lambda a: SGD(learning_rate=a["lr"], momentum=a["momentum"], nesterov=a["nesterov"]),
    "Adagrad": lambda a: Adagrad(a["lr"], initial_accumulator_value=a["initial_accumulator_value"], epsilon=a["eps"]),
    "RMSprop": lambda a: RMSprop(a["lr"], rho=a["alpha"], momentum=a["momentum"], epsilon=a["eps"]),
    "RMSprop with momentum": lambda a: RMSprop(a["lr"], rho=a["alpha"], momentum=a["momentum"], epsilon=a["eps"]),
    "Adam": lambda a: Adam(a["lr"], beta_1=a["betas"][0], beta_2=a["betas"][1], epsilon=a["eps"]),
    "Adam with a large epsilon": lambda a: Adam(a["lr"], beta_1=a["betas"][0], beta_2=a["betas"][1], epsilon=a["eps"]),
    "AdamW": lambda a: AdamW(a["lr"], a["weight_decay"], beta_1=a["betas"][0], beta_2=a["betas"][1], epsilon=a["eps"]),
}
each_optimizer = pytest.mark.parametrize("name", OURS)


def make(name):
    return OURS[name](RECORD["optimizers"][name]["arguments"])


# --- the formulas, on one vector w of all weights; slope(w, t) is the gradient of step t ---


def sgd(w, slope, o):
    for t in range(STEPS):
        w = w - o.learning_rate * slope(w, t)
    return w


def momentum(w, slope, o):
    v = 0
    for t in range(STEPS):
        v = o.momentum * v - o.learning_rate * slope(w, t)
        w = w + v
    return w


def nesterov(w, slope, o):
    """As Sutskever et al. print it: the gradient is taken ahead. A library's weights are those ahead."""
    v = 0
    for t in range(STEPS):
        v = o.momentum * v - o.learning_rate * slope(w + o.momentum * v, t)
        w = w + v
    return w + o.momentum * v


def adagrad(w, slope, o):
    total = o.initial_accumulator_value
    for t in range(STEPS):
        g = slope(w, t)
        total = total + g**2
        w = w - o.learning_rate * g / (np.sqrt(total) + o.epsilon)
    return w


def rmsprop(w, slope, o):
    mean, v = 0, 0
    for t in range(STEPS):
        g = slope(w, t)
        mean = o.rho * mean + (1 - o.rho) * g**2
        v = o.momentum * v + g / (np.sqrt(mean) + o.epsilon)
        w = w - o.learning_rate * v
    return w


def adam(w, slope, o):
    m, v = 0, 0
    for t in range(STEPS):
        g = slope(w, t)
        m = o.beta_1 * m + (1 - o.beta_1) * g
        v = o.beta_2 * v + (1 - o.beta_2) * g**2
        m_hat, v_hat = m / (1 - o.beta_1 ** (t + 1)), v / (1 - o.beta_2 ** (t + 1))
        w = w - o.learning_rate * (m_hat / (np.sqrt(v_hat) + o.epsilon) + o.weight_decay * w)
    return w


FORMULAS = {"SGD": sgd, "momentum": momentum, "Nesterov": nesterov, "Adagrad": adagrad} | {
    name: rmsprop if name.startswith("RMSprop") else adam for name in list(OURS)[4:]
}


def flat(weights):
    return np.concatenate([np.ravel(w) for w in weights])


def slope(w, t):
    """The gradient of the network's loss on the batch of step t, by hand."""
    sizes = np.cumsum([0] + [a.size for a in START])
    w_1, b_1, w_2, b_2 = (w[i:j].reshape(a.shape) for i, j, a in zip(sizes, sizes[1:], START, strict=False))
    size, batches = RECORD["batch_size"], STEPS // RECORD["epochs"]
    rows = slice(size * (t % batches), size * (t % batches) + size)
    x, labels = X[rows], LABELS[rows]
    hidden = np.tanh(x @ w_1 + b_1)
    e = np.exp(hidden @ w_2 + b_2)
    dz_2 = (e / e.sum(axis=1, keepdims=True) - np.eye(3)[labels]) / len(x)
    dz_1 = (dz_2 @ w_2.T) * (1 - hidden**2)
    return flat([x.T @ dz_1, dz_1.sum(axis=0), hidden.T @ dz_2, dz_2.sum(axis=0)])


def network(optimizer, backend, dtype="float64"):
    model = Sequential([Dense(4, "tanh"), Dense(3, "softmax")], backend=backend, seed=0, dtype=dtype)
    model.build((5,))
    model.set_weights(START)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def fit(model, epochs):
    model.fit(X, LABELS, batch_size=RECORD["batch_size"], epochs=epochs, shuffle=False, verbose=0)
    return flat(model.get_weights())


@each_optimizer
def test_ten_steps_equal_the_formula(backend, dtype, name):
    w = fit(network(make(name), backend, dtype), 2)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[str(dtype)]
    np.testing.assert_allclose(w, FORMULAS[name](flat(START), slope, make(name)), rtol=tolerance, atol=tolerance)
    assert np.abs(w - flat(START)).max() > 0.02


@each_optimizer
def test_ten_steps_equal_pytorch(backend, name):
    w = fit(network(make(name), backend), RECORD["epochs"])
    np.testing.assert_allclose(w, flat(RECORD["optimizers"][name]["weights"]), rtol=1e-12, atol=1e-12)


def test_the_record_is_what_pytorch_gives_today():
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("make_torch_optimizers", DATA / "make_torch_optimizers.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, found in script.record()["optimizers"].items():
        recorded = RECORD["optimizers"][name]
        assert json.loads(json.dumps(found["arguments"])) == recorded["arguments"]
        np.testing.assert_allclose(flat(found["weights"]), flat(recorded["weights"]), rtol=1e-12, atol=1e-14)


def test_every_optimizer_is_compared():
    assert {type(make(name)) for name in OURS} == set(optimizers._registry.classes.values())
    assert set(OURS) == set(RECORD["optimizers"]) == set(FORMULAS)


@each_optimizer
def test_training_goes_on_where_it_stopped(backend, name):
    """Velocities, squares and the count of steps live as long as the optimizer, not as long as a call of fit."""
    in_two = network(make(name), backend)
    fit(in_two, 1)
    assert in_two.optimizer.iterations == STEPS // 2
    assert fit(in_two, 1).tobytes() == fit(network(make(name), backend), 2).tobytes()
    assert in_two.optimizer.iterations == STEPS


@each_optimizer
def test_one_batch_at_a_time_is_the_same_training(backend, name):
    model = network(make(name), backend)
    for t in range(STEPS):
        rows = slice(4 * (t % 5), 4 * (t % 5) + 4)
        model.train_on_batch(X[rows], LABELS[rows])
    assert flat(model.get_weights()).tobytes() == fit(network(make(name), backend), 2).tobytes()


def test_a_schedule_gives_each_step_its_rate(backend):
    schedule = schedules.ExponentialDecay(0.5, decay_steps=2, decay_rate=0.5)
    w = flat(START)
    for t in range(STEPS):
        w = w - 0.5 * 0.5 ** (t / 2) * slope(w, t)
    np.testing.assert_allclose(fit(network(SGD(schedule), backend), 2), w, rtol=1e-12, atol=1e-12)


def test_the_rate_may_be_changed(backend):
    model = network(SGD(0.1), backend)
    first = fit(model, 1)
    model.optimizer.learning_rate = 0
    assert np.array_equal(fit(model, 1), first)
    model.optimizer.learning_rate = 0.1
    assert not np.array_equal(fit(model, 1), first)


def test_the_table_of_rates_and_corrections():
    assert SGD(0.1).table(7, 3).tolist() == [[0.1]] * 3
    table = Adam(0.1, beta_1=0.5, beta_2=0.75).table(0, 3)
    np.testing.assert_allclose(table, [[0.1, 1, 1], [0.1, 2 / 3, 4 / 7], [0.1, 4 / 7, 16 / 37]], rtol=1e-15)
    assert np.array_equal(Adam(0.1).table(3, 2), Adam(0.1).table(0, 5)[3:])
    late = (1 - 0.999) / (1 - 0.999 ** np.arange(2041.0, 2060.0))
    np.testing.assert_allclose(Adam(0.1).table(2040, 19)[:, 2], late, rtol=1e-15)
    schedule = schedules.InverseTimeDecay(1.0, decay_steps=1, decay_rate=1)
    assert SGD(schedule).table(1, 3)[:, 0].tolist() == [1 / 2, 1 / 3, 1 / 4]


@pytest.mark.parametrize(
    "optimizer, names, first",
    [
        (SGD(), (None,), None),
        (SGD(momentum=0.9), ("velocity",), 0),
        (Adagrad(initial_accumulator_value=0.25), ("accumulator",), 0.25),
        (RMSprop(), ("mean_square", None), 0),
        (RMSprop(momentum=0.5), ("mean_square", "velocity"), 0),
        (Adam(), ("m", "v"), 0),
        (AdamW(), ("m", "v"), 0),
    ],
)
def test_what_is_kept_for_each_parameter(optimizer, names, first):
    assert optimizer.slot_names() == names
    model = network(optimizer, "numpy", "float32")
    optimizer.build(model.parameters)
    for parameter, slots in zip(model.parameters, optimizer.slots, strict=True):
        assert [slot is None for slot in slots] == [name is None for name in names]
        for slot in (slot for slot in slots if slot is not None):
            assert slot.shape == parameter.shape
            assert slot.dtype == np.float32
            assert (slot == first).all()
            slot += 1
    optimizer.build(model.parameters)
    assert all((slot == first + 1).all() for slots in optimizer.slots for slot in slots if slot is not None)


def test_defaults_are_those_of_keras():
    assert SGD().get_config() == {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False}
    assert Adagrad().get_config() == {"learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7}
    assert RMSprop().get_config() == {"learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7}
    assert Adam().get_config() == {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    assert AdamW().get_config() == Adam().get_config() | {"weight_decay": 0.004}


def test_names():
    for name, kind in [("Adam", Adam), ("adam", Adam), ("SGD", SGD), ("RMSprop", RMSprop), ("adamw", AdamW)]:
        assert type(optimizers.get(name)) is kind
        assert type(optimizers.get(kind)) is kind
    optimizer = SGD(0.3)
    assert optimizers.get(optimizer) is optimizer


@pytest.mark.parametrize("rate", [0.3, schedules.ExponentialDecay(0.5, decay_steps=2, decay_rate=0.5)])
@each_optimizer
def test_round_trip(name, rate):
    optimizer = make(name)
    optimizer.learning_rate = rate
    again = optimizers.deserialize(json.loads(json.dumps(optimizers.serialize(optimizer))))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert again.learning_rate == rate


@pytest.mark.parametrize(
    "error, message, make",
    [
        (ValueError, "unknown optimizer 'adm': did you mean 'adam'", lambda: optimizers.get("adm")),
        (TypeError, "optimizer must be a name or a", lambda: optimizers.get(0.1)),
        (ValueError, r"learning_rate must be in \[0, inf\), got -1", lambda: SGD(-1)),
        (ValueError, r"learning_rate must be in \[0, inf\), got nan", lambda: Adam(float("nan"))),
        (TypeError, "learning_rate must be a number, got 'fast'", lambda: SGD("fast")),
        (ValueError, r"momentum must be in \[0, 1\], got 2", lambda: SGD(momentum=2)),
        (ValueError, r"rho must be in \[0, 1\]", lambda: RMSprop(rho=1.1)),
        (ValueError, r"beta_1 must be in \[0, 1\), got 1", lambda: Adam(beta_1=1)),
        (ValueError, r"beta_2 must be in \[0, 1\), got -0.1", lambda: Adam(beta_2=-0.1)),
        (ValueError, r"epsilon must be in \[0, inf\]", lambda: Adagrad(epsilon=-1e-7)),
        (ValueError, "initial_accumulator_value must be in", lambda: Adagrad(initial_accumulator_value=-1)),
        (ValueError, "weight_decay must be in", lambda: AdamW(weight_decay=-1)),
    ],
)
def test_bad_arguments(error, message, make):
    with pytest.raises(error, match=message):
        make()


def test_a_bad_rate_changes_nothing():
    optimizer = SGD(0.3)
    with pytest.raises(ValueError, match="learning_rate"):
        optimizer.learning_rate = -1
    assert optimizer.learning_rate == 0.3
