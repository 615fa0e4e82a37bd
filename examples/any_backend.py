"""One script for every backend: digits are learned on whatever --backend names, and nothing else changes.

    python examples/any_backend.py --backend numpy
    python examples/any_backend.py --backend cupy

The first weights, the order of the rows and the dropout masks follow from the seed alone: their fingerprint is the same
everywhere. What is learned is the same to rounding, since sums are added in another order (docs/promises.md).
"""

from __future__ import annotations

import argparse
import hashlib
import time
from typing import Any

import fastnn as fn
from fastnn.backends import BACKENDS
from fastnn.data import StandardScaler, train_test_split


def network(backend: str, seed: int) -> fn.Sequential:
    """Two hidden layers and dropout, 64 pixels to 10 digits."""
    layers = [
        fn.layers.Dense(128, activation="relu", input_shape=(64,)),
        fn.layers.Dropout(0.2),
        fn.layers.Dense(64, activation="relu"),
        fn.layers.Dense(10, activation="softmax"),
    ]
    model = fn.Sequential(layers, backend=backend, seed=seed)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics="accuracy")
    return model


def run(backend: str = "auto", epochs: int = 20, seed: int = 1) -> dict[str, Any]:
    """Train and evaluate; returns what was learned, how well and how fast."""
    x, y = fn.datasets.digits.load_data()
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, seed=42)
    scaler = StandardScaler().fit(x_train)

    model = network(backend, seed)
    fingerprint = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()[:16]
    # The first epoch compiles kernels and captures the step, so it is not timed.
    model.fit(scaler.transform(x_train), y_train, batch_size=32, epochs=1, verbose=0)
    start = time.perf_counter()
    history = model.fit(scaler.transform(x_train), y_train, batch_size=32, epochs=epochs - 1, verbose=0).history
    seconds = (time.perf_counter() - start) / (epochs - 1)
    loss, accuracy = model.evaluate(scaler.transform(x_test), y_test, verbose=0)
    return {
        "backend": model.backend.name,
        "first weights": fingerprint,
        "training loss": history["loss"][-1],
        "test loss": loss,
        "test accuracy": accuracy,
        "seconds per epoch": seconds,
        "weights": model.get_weights(),
    }


def main() -> None:
    """The script as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the kernels (default: auto)")
    parser.add_argument("--epochs", type=int, default=20, help="at least 2 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and masks (default: %(default)s)")
    results = run(**vars(parser.parse_args()))
    for name in ("backend", "first weights", "training loss", "test loss", "test accuracy", "seconds per epoch"):
        value = results[name]
        print(f"{name:18} {value if isinstance(value, str) else format(value, '.4f')}")


if __name__ == "__main__":
    main()
