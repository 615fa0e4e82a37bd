"""What a patient NumPy user would write by hand: the training loop that every backend has to beat.

Nothing is allocated in a step: products go to memory that is there already, all parameters lie in one array so that
Adam is ten calls for the whole network, and sums over rows are products with ones, which BLAS does faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class HandwrittenNetwork:
    """Dense layers with ReLU between, softmax cross-entropy on integer labels, Adam; of one batch size.

    weights: [W1, b1, W2, b2, ...] with W of shape (I, O) and b (O,), as `Sequential.get_weights()` returns them;
    they are copied. batch: rows N of each step. rate, beta_1, beta_2, epsilon: as in `fastnn.optimizers.Adam`.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        batch: int,
        rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        dtype = weights[0].dtype
        self.batch, self.rate, self.beta_1, self.beta_2, self.epsilon = batch, rate, beta_1, beta_2, epsilon
        self.flat, self.gradient, self.m, self.v = np.zeros((4, sum(w.size for w in weights)), dtype)
        self.weights, gradients = _views(self.flat, weights), _views(self.gradient, weights)
        for mine, given in zip(self.weights, weights, strict=True):
            mine[...] = given
        self.kernels, self.biases = self.weights[::2], self.weights[1::2]
        self.dkernels, self.dbiases = gradients[::2], gradients[1::2]

        widths = [len(self.kernels[0]), *(w.shape[1] for w in self.kernels)]
        self.y = [np.empty((batch, width), dtype) for width in widths]  # y[0] is the input, y[-1] becomes dz
        self.dy = [np.empty((batch, width), dtype) for width in widths[:-1]]
        self.active = [np.empty((batch, width), bool) for width in widths[:-1]]
        classes = widths[-1]
        self.row_starts = np.arange(batch) * classes
        self.labels, self.chosen = np.empty(batch, np.int64), np.empty(batch, np.int64)
        self.column, self.picked, self.log = (np.empty(shape, dtype) for shape in ((batch, 1), batch, batch))
        self.row_ones, self.class_ones = np.ones(batch, dtype), np.ones(classes, dtype)
        # NumPy loops over short rows one by one: where they are many, whole columns are quicker.
        self.narrow = batch > 10 * classes
        columns = [(y, self.column[:, 0]) for y in self.y[-1].T]
        self.parts = columns if self.narrow else [(self.y[-1], self.column)]
        self.steps, self.loss = 0, 0.0

    def epoch(self, x: np.ndarray, labels: np.ndarray, order: np.ndarray) -> float:
        """Train on the rows of x (M, I) and labels (M,) int64 in this order, without a short last batch; mean loss."""
        steps, self.loss = len(order) // self.batch, 0.0
        for first in range(0, steps * self.batch, self.batch):
            rows = order[first : first + self.batch]
            np.take(x, rows, axis=0, out=self.y[0], mode="clip")  # "clip", because "raise" goes through a copy
            np.take(labels, rows, out=self.labels, mode="clip")
            self.step()
        return float(self.loss) / (steps * self.batch)

    def step(self) -> None:
        """One step on the batch in `y[0]` and `labels`; the sum of its losses is added to `loss`."""
        y, last = self.y, len(self.kernels) - 1
        for i, (weight, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            np.dot(y[i], weight, out=y[i + 1])
            y[i + 1] += bias
            if i < last:
                np.maximum(y[i + 1], 0, out=y[i + 1])
        dz = self._softmax_crossentropy(y[-1])
        for i in range(last, -1, -1):
            np.dot(y[i].T, dz, out=self.dkernels[i])
            np.dot(self.row_ones, dz, out=self.dbiases[i])
            if i:
                np.dot(dz, self.kernels[i].T, out=self.dy[i])
                np.greater(y[i], 0, out=self.active[i])
                dz = np.multiply(self.dy[i], self.active[i], out=self.dy[i])
        self._adam()

    def _softmax_crossentropy(self, z: np.ndarray) -> np.ndarray:
        """loss = logsumexp(z) - z[label], dz = (softmax(z) - onehot) / N in the place of z."""
        column, flat = self.column[:, 0], z.reshape(-1)
        np.add(self.row_starts, self.labels, out=self.chosen)
        if self.narrow:
            np.copyto(column, z[:, 0])
            for part, _ in self.parts[1:]:
                np.maximum(column, part, out=column)
        else:
            np.max(z, axis=1, out=column)
        for part, top in self.parts:
            part -= top
        np.take(flat, self.chosen, out=self.picked, mode="clip")
        np.exp(z, out=z)
        np.dot(z, self.class_ones, out=column)
        np.log(column, out=self.log)
        self.log -= self.picked
        self.loss += np.dot(self.log, self.row_ones)
        column *= self.batch
        for part, total in self.parts:
            part /= total
        np.take(flat, self.chosen, out=self.picked, mode="clip")
        self.picked -= 1 / self.batch
        flat[self.chosen] = self.picked
        return z

    def _adam(self) -> None:
        """Adam with its two averages kept without their factors 1 - beta, which are put into the step's scalars."""
        self.steps += 1
        g, m, v = self.gradient, self.m, self.v
        c_1 = (1 - self.beta_1) / (1 - self.beta_1**self.steps)
        c_2 = ((1 - self.beta_2) / (1 - self.beta_2**self.steps)) ** 0.5
        m *= self.beta_1
        m += g
        v *= self.beta_2
        g *= g
        v += g
        np.sqrt(v, out=g)
        g += self.epsilon / c_2
        np.divide(m, g, out=g)
        g *= self.rate * c_1 / c_2
        self.flat -= g


def _views(flat: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pieces of a flat array in the shapes of the arrays `like`, one after the other."""
    ends = np.cumsum([array.size for array in like])
    return [flat[end - array.size : end].reshape(array.shape) for array, end in zip(like, ends, strict=True)]


def predict(weights: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Class probabilities (N, O) of the same network for x (N, I), as plain NumPy expressions."""
    for i in range(0, len(weights) - 2, 2):
        x = np.maximum(x @ weights[i] + weights[i + 1], 0)
    z = x @ weights[-2] + weights[-1]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class TextbookNeuron:
    """The logistic neuron of the lessons as a textbook writes it: a method for each formula, a sample at a time.

    It starts at w = 1, b = 0; `losses` holds the mean loss of each epoch.
    """

    def __init__(self, features: int, rate: float) -> None:
        self.w, self.b, self.rate = np.ones(features), 0.0, rate
        self.losses: list[float] = []

    def forpass(self, x: np.ndarray) -> float:
        return np.sum(x * self.w) + self.b

    def activation(self, z: float) -> float:
        return 1 / (1 + np.exp(-np.clip(z, -100, None)))

    def backprop(self, x: np.ndarray, error: float) -> tuple[np.ndarray, float]:
        return x * error, error

    def fit(self, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
        """Learn from the rows of x (N, I) and y (N,) in order."""
        for _ in range(epochs):
            loss = 0.0
            for i in range(len(x)):
                a = self.activation(self.forpass(x[i]))
                w_gradient, b_gradient = self.backprop(x[i], a - y[i])
                self.w -= self.rate * w_gradient
                self.b -= self.rate * b_gradient
                a = np.clip(a, 1e-10, 1 - 1e-10)
                loss += -(y[i] * np.log(a) + (1 - y[i]) * np.log(1 - a))
            self.losses.append(loss / len(y))


Neuron = tuple[np.ndarray, float]  # w (I,) and b


def neuron_by_sample(x: np.ndarray, y: np.ndarray, neuron: Neuron, rate: float) -> tuple[Neuron, float]:
    """One epoch of the same neuron with as few calls as we can, one sample at a time in order: x (N, I), y (N,).

    Returns the neuron after it and the mean of the losses log(1 + exp(z)) - y z.
    """
    w, b = neuron[0].copy(), neuron[1]
    loss = 0.0
    for x_i, y_i in zip(x, y, strict=True):
        z = np.dot(x_i, w) + b
        error = 1 / (1 + np.exp(-z)) - y_i
        w -= rate * error * x_i
        b -= rate * error
        loss += np.logaddexp(0, z) - y_i * z
    return (w, b), loss / len(x)


def neuron_by_batch(x: np.ndarray, y: np.ndarray, neuron: Neuron, rate: float, batch: int) -> tuple[Neuron, float]:
    """The same epoch with one vectorised update for each `batch` rows, by the mean of their gradients."""
    w, b = neuron[0].copy(), neuron[1]
    loss = 0.0
    for first in range(0, len(x), batch):
        rows, targets = x[first : first + batch], y[first : first + batch]
        z = rows @ w + b
        error = 1 / (1 + np.exp(-z)) - targets
        w -= rate / len(rows) * (error @ rows)
        b -= rate * error.mean()
        loss += (np.logaddexp(0, z) - targets * z).sum()
    return (w, b), loss / len(x)
