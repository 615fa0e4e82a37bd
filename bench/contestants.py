"""The same training in fastnn and in its peers: each is given arrays in memory and returns an epoch to be called.

The work: float32, Dense layers with ReLU between them, softmax cross-entropy on integer labels, Adam(1e-3), the rows
shuffled anew in each epoch and gathered from the array, no short last batch. Each peer is written as its own users
would write it for speed; its library is imported here and nowhere else.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from bench.handwritten import HandwrittenNetwork
from bench.timing import Contestant

Sizes = tuple[int, ...]
Epoch = Callable[[], Any]

NETWORKS: tuple[Sizes, ...] = ((30, 2), (30, 16, 2), (784, 100, 10), (784, 256, 128, 10), (784, 1024, 1024, 10))
GRID = [(sizes, batch) for sizes in NETWORKS for batch in (1, 32, 256, 2048)]


def name_of(sizes: Sizes) -> str:
    """(784, 100, 10) is called 784-100-10."""
    return "-".join(map(str, sizes))


def steps_of(sizes: Sizes, batch: int) -> int:
    """Steps in an epoch: enough that what an epoch costs once weighs little, few enough for the slowest."""
    if batch == 1:
        return 512 if max(sizes[1:]) >= 1000 else 2000
    return max(4, min(2000, 8192 // batch)) if batch < 256 else 8


def random_data(sizes: Sizes, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal rows (float32) and labels (int64), the same for all."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], rows)


def first_weights(sizes: Sizes) -> list[np.ndarray]:
    """[W1, b1, W2, b2, ...] in float32."""
    rng = np.random.default_rng(1)
    weights: list[np.ndarray] = []
    for i, o in pairwise(sizes):
        weights += [0.05 * rng.standard_normal((i, o), dtype=np.float32), np.zeros(o, np.float32)]
    return weights


def contestants(
    sizes: Sizes, batch: int, names: list[str], steps: int | None = None
) -> dict[str, Callable[[], Contestant]]:
    """Makers of the contestants of these names, all on the same data."""
    steps = steps or steps_of(sizes, batch)
    x, y = random_data(sizes, steps * batch)
    return {name: functools.partial(_make, name, sizes, batch, x, y) for name in names}


def _make(name: str, sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray) -> Contestant:
    return Contestant(PEERS[name](sizes, batch, x, y), len(x) // batch)


def fastnn_model(backend: str, sizes: Sizes) -> Any:
    """The network in fastnn, compiled."""
    import fastnn
    from fastnn.layers import Dense

    hidden = [Dense(units, activation="relu") for units in sizes[1:-1]]
    model = fastnn.Sequential([*hidden, Dense(sizes[-1], activation="softmax")], backend=backend, seed=0)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.build((sizes[0],))
    return model


def _fastnn(backend: str, sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray) -> Epoch:
    model = fastnn_model(backend, sizes)
    model.warmup(batch)  # what others compile in their first epoch, too
    return lambda: model.fit(x, y, batch_size=batch, epochs=1, verbose=0)


def _handwritten(sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray) -> Epoch:
    network = HandwrittenNetwork(first_weights(sizes), batch)
    rng = np.random.default_rng(2)
    return lambda: network.epoch(x, y, rng.permutation(len(x)))


def torch_network(sizes: Sizes) -> Any:
    """The network in PyTorch; it ends in logits."""
    import torch

    layers: list[Any] = []
    for i, o in pairwise(sizes):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _torch(compiled: bool, sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray) -> Epoch:
    import torch

    model, crossentropy = torch_network(sizes), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def loss(rows: Any, labels: Any) -> Any:
        return crossentropy(model(rows), labels)

    if compiled:
        torch.compiler.reset()  # it gives up compiling after eight networks
        loss = torch.compile(loss)
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)

    def epoch() -> None:
        order = torch.randperm(len(xs))
        for first in range(0, len(xs), batch):
            rows = order[first : first + batch]
            optimizer.zero_grad(set_to_none=True)
            loss(xs[rows], ys[rows]).backward()
            optimizer.step()

    return epoch


def jax_forward(weights: Any, x: Any) -> Any:
    """Logits of the network in JAX; weights is [W1, b1, W2, b2, ...]."""
    import jax

    for i in range(0, len(weights), 2):
        x = x @ weights[i] + weights[i + 1]
        if i < len(weights) - 2:
            x = jax.nn.relu(x)
    return x


def _jax(whole_epoch: bool, sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray) -> Epoch:
    import jax
    import jax.numpy as jnp
    import optax

    adam, xs, ys = optax.adam(1e-3), jnp.asarray(x), jnp.asarray(y)
    steps, rng = len(x) // batch, np.random.default_rng(2)

    def loss(weights: Any, rows: Any, labels: Any) -> Any:
        logits = jax_forward(weights, rows)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(carry: Any, rows: Any) -> Any:
        weights, state = carry
        value, gradient = jax.value_and_grad(loss)(weights, xs[rows], ys[rows])
        updates, state = adam.update(gradient, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    weights = [jnp.asarray(w) for w in first_weights(sizes)]
    carry = (weights, adam.init(weights))
    scan = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order), donate_argnums=0)
    one = jax.jit(step, donate_argnums=0)

    def epoch() -> None:
        nonlocal carry
        order = rng.permutation(len(x)).reshape(steps, batch)
        if whole_epoch:
            carry, value = scan(carry, order)
        else:
            for rows in order:
                carry, value = one(carry, rows)
        value.block_until_ready()

    return epoch


def sklearn_classifier(sizes: Sizes, batch: int) -> Any:
    """The network in scikit-learn; each `fit` is one more epoch. Raises NotImplementedError without a hidden layer."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if len(sizes) < 3:
        raise NotImplementedError("MLPClassifier has at least one hidden layer")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    return MLPClassifier(sizes[1:-1], batch_size=batch, max_iter=1, warm_start=True, tol=0, n_iter_no_change=10**6)


def _sklearn(sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray) -> Epoch:
    model = sklearn_classifier(sizes, batch)
    return lambda: model.fit(x, y)


def keras_model(sizes: Sizes) -> Any:
    """The network in Keras on JAX, compiled."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    hidden = [keras.layers.Dense(units, activation="relu") for units in sizes[1:-1]]
    model = keras.Sequential([*hidden, keras.layers.Dense(sizes[-1], activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[])
    return model


def _keras(sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray) -> Epoch:
    model = keras_model(sizes)
    return lambda: model.fit(x, y, batch_size=batch, epochs=1, verbose=0)


PEERS: dict[str, Callable[[Sizes, int, np.ndarray, np.ndarray], Epoch]] = {
    "fastnn-numba": functools.partial(_fastnn, "numba"),
    "fastnn-numpy": functools.partial(_fastnn, "numpy"),
    "handwritten": _handwritten,
    "jax-scan": functools.partial(_jax, True),
    "jax-jit": functools.partial(_jax, False),
    "torch-fused": functools.partial(_torch, False),
    "torch-compile": functools.partial(_torch, True),
    "sklearn": _sklearn,
    "keras-jax": _keras,
}
