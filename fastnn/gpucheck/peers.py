"""The same training in fastnn and in its peers on one GPU, data on the device: each gives a function of epochs.

float32, Dense layers with ReLU between them, softmax cross-entropy on integer labels, Adam(1e-3), rows shuffled anew
in each epoch and gathered from the data set, no short last batch. Each peer is written as its own users would for
speed; its library is imported here and nowhere else. `train(epochs)` returns when the device is done, with the mean
loss of the last epoch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

Sizes = tuple[int, ...]
Train = Callable[[int], float]
RATE = 1e-3


def _fastnn(sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray, tf32: bool) -> Train:
    import fastnn
    from fastnn.kernels.cupy_ import ceilings
    from fastnn.layers import Dense

    hidden = [Dense(units, activation="relu") for units in sizes[1:-1]]
    model = fastnn.Sequential([*hidden, Dense(sizes[-1], activation="softmax")], backend="cupy", seed=0)
    model.compile(fastnn.optimizers.Adam(RATE), "sparse_categorical_crossentropy")
    xs, ys = ceilings.on_device(x), ceilings.on_device(y)

    def train(epochs: int) -> float:
        fastnn.use_tf32(tf32)
        return model.fit(xs, ys, batch_size=batch, epochs=epochs, verbose=0).history["loss"][-1]

    return train


def _repeated(epoch: Callable[[], None], mean: Callable[[], float]) -> Train:
    def train(epochs: int) -> float:
        for _ in range(epochs):
            epoch()
        return mean()

    return train


class _Torch:
    """What the three ways of PyTorch share: network, optimizer, data."""

    def __init__(self, sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray, tf32: bool, **options: Any) -> None:
        import torch

        if not torch.cuda.is_available():
            raise NotImplementedError("this PyTorch sees no GPU")
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.manual_seed(0)
        layers: list[Any] = []
        for inputs, outputs in pairwise(sizes):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        self.torch, self.batch = torch, batch
        self.model = torch.nn.Sequential(*layers[:-1]).cuda()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE, fused=True, **options)
        self.xs, self.ys = torch.from_numpy(x).cuda(), torch.from_numpy(y).cuda()
        self.total = torch.zeros((), device="cuda")
        self.steps = len(x) // batch

    def loss(self, x: Any, y: Any) -> Any:
        return self.torch.nn.functional.cross_entropy(self.model(x), y)

    def order(self) -> Any:
        return self.torch.randperm(self.steps * self.batch, device="cuda")

    def mean(self) -> float:
        """Waits for the device, too."""
        return float(self.total) / self.steps


def _torch(compiled: bool, *task: Any) -> Train:
    peer = _Torch(*task)
    torch = peer.torch
    loss = torch.compile(peer.loss, mode="reduce-overhead") if compiled else peer.loss

    def epoch() -> None:
        order = peer.order()
        peer.total.zero_()
        for first in range(0, len(order), peer.batch):
            if compiled:
                torch.compiler.cudagraph_mark_step_begin()
            rows = order[first : first + peer.batch]
            value = loss(peer.xs[rows], peer.ys[rows])  # gathered outside: a compiled graph would copy the data set
            peer.optimizer.zero_grad(set_to_none=True)
            value.backward()
            peer.optimizer.step()
            peer.total += value.detach()

    return _repeated(epoch, peer.mean)


def _torch_graph(*task: Any) -> Train:
    """The whole step captured by hand, gather and step counter included, as PyTorch's notes on CUDA graphs show."""
    peer = _Torch(*task, capturable=True)
    torch = peer.torch
    order, counter = peer.order(), torch.zeros((), dtype=torch.int64, device="cuda")
    within = torch.arange(peer.batch, device="cuda")

    def step() -> None:
        rows = order[counter + within]
        value = peer.loss(peer.xs[rows], peer.ys[rows])
        value.backward()
        peer.optimizer.step()
        peer.total.add_(value.detach())
        counter.add_(peer.batch)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            counter.zero_()
            peer.optimizer.zero_grad(set_to_none=True)
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    counter.zero_()
    peer.optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()

    def epoch() -> None:
        order.copy_(peer.order())
        counter.zero_()
        peer.total.zero_()
        for _ in range(peer.steps):
            graph.replay()

    return _repeated(epoch, peer.mean)


def _jax(whole_epoch: bool, sizes: Sizes, batch: int, x: np.ndarray, y: np.ndarray, tf32: bool) -> Train:
    import jax
    import jax.numpy as jnp
    import optax

    if jax.default_backend() != "gpu":
        raise NotImplementedError("this JAX sees no GPU")
    precision = "tensorfloat32" if tf32 else "highest"
    adam, xs, ys, steps = optax.adam(RATE), jnp.asarray(x), jnp.asarray(y), len(x) // batch

    def loss(weights: Any, rows: Any, labels: Any) -> Any:
        for i, (weight, bias) in enumerate(weights):
            rows = jnp.matmul(rows, weight, precision=precision) + bias
            rows = jax.nn.relu(rows) if i < len(weights) - 1 else rows
        return optax.softmax_cross_entropy_with_integer_labels(rows, labels).mean()

    def step(xs: Any, ys: Any, carry: Any, rows: Any) -> Any:
        weights, state = carry
        value, gradient = jax.value_and_grad(loss)(weights, xs[rows], ys[rows])
        updates, state = adam.update(gradient, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    keys = iter(jax.random.split(jax.random.key(0), len(sizes) + 1))
    glorot = jax.nn.initializers.glorot_uniform()
    weights = [(glorot(next(keys), pair), jnp.zeros(pair[1])) for pair in pairwise(sizes)]
    carry, key = (weights, adam.init(weights)), next(keys)
    one = jax.jit(step, donate_argnums=2)
    scan = jax.jit(
        lambda xs, ys, carry, order: jax.lax.scan(functools.partial(step, xs, ys), carry, order), donate_argnums=2
    )

    mean: Any = 0.0

    def epoch() -> None:
        nonlocal carry, key, mean
        key, now = jax.random.split(key)
        order = jax.random.permutation(now, steps * batch).reshape(steps, batch)
        if whole_epoch:
            carry, losses = scan(xs, ys, carry, order)
            mean = losses.mean()
        else:
            total = jnp.zeros(())
            for rows in order:
                carry, value = one(xs, ys, carry, rows)
                total += value
            mean = total / steps

    return _repeated(epoch, lambda: float(mean))


PEERS: dict[str, Callable[[Sizes, int, np.ndarray, np.ndarray, bool], Train]] = {
    "fastnn": _fastnn,
    "torch eager, fused Adam": functools.partial(_torch, False),
    "torch.compile reduce-overhead": functools.partial(_torch, True),
    "torch, step captured by hand": _torch_graph,
    "jax, a step jitted": functools.partial(_jax, False),
    "jax, an epoch in one scan": functools.partial(_jax, True),
}
