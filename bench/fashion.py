"""The lessons' own task from start to end: Fashion-MNIST, 784-100-10, Adam, batch 32, five epochs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.timing import rest

NAMES = ("fastnn-numba", "fastnn-numpy", "keras-jax")
EPOCHS, BATCH = 5, 32


def library(name: str) -> Any:
    """fastnn or Keras: both are called by the same names. Raises ImportError where it is not there."""
    if name == "keras-jax":
        import os

        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        return keras
    import fastnn

    fastnn.use(name.removeprefix("fastnn-"))
    return fastnn


def train(name: str, data: Sequence[np.ndarray], epochs: int = EPOCHS) -> tuple[float, float]:
    """Seconds of `fit` on a new model, tracing and capturing included, and the accuracy on the test set."""
    keras = library(name)
    x_train, y_train, x_test, y_test = data
    model = keras.Sequential()
    model.add(keras.layers.Input((784,)))
    model.add(keras.layers.Dense(100, activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    model.fit(x_train, y_train, batch_size=BATCH, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    return seconds, float(model.evaluate(x_test, y_test, verbose=0)[1])


def load() -> list[np.ndarray]:
    """x_train, y_train, x_test, y_test; images as rows of float32 in [0, 1]."""
    from fastnn.datasets import fashion_mnist

    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
    flat = [x.reshape(len(x), -1).astype(np.float32) / 255 for x in (x_train, x_test)]
    return [flat[0], y_train.astype(np.int64), flat[1], y_test.astype(np.int64)]


def compare(
    names: Sequence[str], rounds: int, missing: dict[str, str], tell: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Train each in turn `rounds` times; [{"name", "seconds": [...], "accuracy": [...]}]. The data come first."""
    data, rows = load(), {}
    for name in names:
        try:
            train(name, [part[: 10 * BATCH] for part in data], 1)  # compiles what is kept between models
            rows[name] = {"name": name, "seconds": [], "accuracy": []}
        except ImportError as error:
            missing[name] = f"not installed ({error})"
    for turn in range(rounds):
        for name, row in rows.items():
            rest()
            seconds, accuracy = train(name, data)
            row["seconds"].append(seconds)
            row["accuracy"].append(accuracy)
            tell(f"round {turn + 1}: {name} {seconds:.2f} s, test accuracy {accuracy:.4f}")
    return list(rows.values())


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The best time and the mean accuracy of each, as Markdown."""
    lines = ["| | seconds, best | test accuracy, mean | lowest | runs |", "|---|---:|---:|---:|---:|"]
    for row in rows:
        accuracy = row["accuracy"]
        values = (f"{min(row['seconds']):.2f}", f"{statistics.fmean(accuracy):.4f}", f"{min(accuracy):.4f}")
        lines.append(f"| {row['name']} | {' | '.join(values)} | {len(accuracy)} |")
    return "\n".join(lines)
