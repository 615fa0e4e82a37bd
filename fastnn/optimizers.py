"""Optimizers: an update kernel, the slots it keeps for each parameter, and a table of rates computed ahead.

Learning rates and bias corrections of a whole run of steps are a table that the host fills (a schedule is an
array), so that nothing crosses from Python into a step. Epsilon stands outside the root, as in the papers and in
PyTorch; Keras' Adam folds the bias correction into the rate, so that its epsilon weighs more in the first steps.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from fastnn import schedules
from fastnn.errors import number_in
from fastnn.memory import Block
from fastnn.registry import Configurable, Registry

KEPT_STEPS = 1024  # whose corrections are computed at once


class Optimizer(Configurable):
    """Base of all optimizers. `learning_rate` is a number or a schedule of `fastnn.schedules`; it may be changed."""

    kernel = ""
    columns = 1  # of the table: the rate, then the corrections

    def __init__(self, learning_rate: Any) -> None:
        self.learning_rate = learning_rate
        self.iterations = 0
        self.began = 0  # the iteration at which what is kept was new
        self._count = 0  # how many parameters have slots
        self.blocks: list[Block | None] = []  # for each of `slot_names`, with an array for each parameter

    @property
    def learning_rate(self) -> Any:
        """The learning rate or its schedule. Raises TypeError, ValueError unless it is a number of at least 0."""
        return self._rate

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        if not isinstance(rate, schedules.LearningRateSchedule):
            rate = number_in("learning_rate", rate, 0, math.inf, open_high=True)
        self._rate = rate

    @property
    def lr(self) -> Any:
        """Keras' old name. Raises AttributeError, also when it is set: it would change nothing."""
        raise AttributeError("lr is called learning_rate")

    @lr.setter
    def lr(self, rate: Any) -> None:
        raise AttributeError("lr is called learning_rate")

    def slot_names(self) -> tuple[str | None, ...]:
        """What is kept for each parameter; None where this configuration keeps nothing."""
        return ()

    def initial(self, slot: str) -> float:
        """The value a slot begins with."""
        return 0.0

    def scalars(self) -> tuple[float, ...]:
        """What the kernel takes after its arrays."""
        return ()

    def build(self, parameters: list[Any]) -> None:
        """Make the slots, once; a later call with parameters of the same shapes keeps them."""
        if not self.fits(parameters):
            self._count = len(parameters)
            self.blocks = [None if name is None else self._block(name, parameters) for name in self.slot_names()]

    def reset(self) -> None:
        """Forget what is kept for the parameters; a schedule goes on."""
        self._count, self.blocks, self.began = 0, [], self.iterations

    @property
    def slots(self) -> list[list[np.ndarray | None]]:
        """What is kept for each parameter, in the order of the model."""
        for block in self.blocks:
            if block is not None:
                block.write()
        return [[None if block is None else block.arrays[i] for block in self.blocks] for i in range(self._count)]

    def fits(self, parameters: list[Any]) -> bool:
        """True when the slots there are were made for parameters of these shapes."""
        shapes = [p.shape for p in parameters]
        kept = [None if block is None else block.shapes for block in self.blocks]
        return self._count == len(shapes) and kept == [None if name is None else shapes for name in self.slot_names()]

    def _block(self, name: str, parameters: list[Any]) -> Block:
        block = Block([p.shape for p in parameters], parameters[0].block.dtype if parameters else np.float32)
        for array in block.arrays:
            array[...] = self.initial(name)
        return block

    def table(self, first: int, steps: int) -> np.ndarray:
        """Rates and corrections of the steps from `first`, shape (steps, columns), float64."""
        table = np.empty((steps, self.columns))
        self.fill(table, first)
        return table

    def fill(self, table: np.ndarray, first: int) -> None:
        """Write rates and corrections of the steps from `first` into a table."""
        rate, scheduled = self._rate, isinstance(self._rate, schedules.LearningRateSchedule)
        table[:, 0] = rate(np.arange(first, first + len(table))) if scheduled else rate

    def update(self, ops: Any, parameter: Any, slots: list[Any], table: Any) -> None:
        """Change a parameter by its gradient."""
        getattr(ops, self.kernel)(table, ops.clock, parameter.value, parameter.gradient, *slots, *self.scalars())

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if isinstance(self._rate, schedules.LearningRateSchedule):
            config["learning_rate"] = schedules.serialize(self._rate)
        return config

    @classmethod
    def from_config(cls, config: Any) -> Optimizer:
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = schedules.deserialize(config["learning_rate"])
        return cls(**config)


class SGD(Optimizer):
    """w -= rate g. With momentum m: v = m v - rate g and w += v, or w += m v - rate g with Nesterov's form.

    The rate is inside v, as in Keras; PyTorch multiplies v by it, which differs once the rate changes.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    kernel = "sgd_update"

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False) -> None:
        super().__init__(learning_rate)
        self.momentum = number_in("momentum", momentum, 0, 1)
        self.nesterov = bool(nesterov)

    def slot_names(self) -> tuple[str | None, ...]:
        return ("velocity" if self.momentum else None,)

    def scalars(self) -> tuple[float, ...]:
        return (self.momentum, int(self.nesterov))


class Adagrad(Optimizer):
    """a += g^2, w -= rate g / (sqrt(a) + epsilon); a begins at `initial_accumulator_value`.

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 12 (2011).
    """

    kernel = "adagrad_update"

    def __init__(
        self, learning_rate: Any = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate)
        self.initial_accumulator_value = number_in("initial_accumulator_value", initial_accumulator_value, 0, math.inf)
        self.epsilon = number_in("epsilon", epsilon, 0, math.inf)

    def slot_names(self) -> tuple[str | None, ...]:
        return ("accumulator",)

    def initial(self, slot: str) -> float:
        return self.initial_accumulator_value

    def scalars(self) -> tuple[float, ...]:
        return (self.epsilon,)


class RMSprop(Optimizer):
    """s = rho s + (1 - rho) g^2, step = g / (sqrt(s) + epsilon), w -= rate step.

    With momentum m: v = m v + step, w -= rate v. Source: Hinton's lecture 6e; the form is PyTorch's.
    """

    kernel = "rmsprop_update"

    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate)
        self.rho = number_in("rho", rho, 0, 1)
        self.momentum = number_in("momentum", momentum, 0, 1)
        self.epsilon = number_in("epsilon", epsilon, 0, math.inf)

    def slot_names(self) -> tuple[str | None, ...]:
        return ("mean_square", "velocity" if self.momentum else None)

    def scalars(self) -> tuple[float, ...]:
        return (self.rho, self.momentum, self.epsilon)


@functools.lru_cache(64)
def _corrections(betas: tuple[float, ...], part: int) -> np.ndarray:
    """1 / (1 + beta + ... + beta^(t-1)) for some steps t, from 1: powers take longer than a short run of steps."""
    steps = np.arange(part * KEPT_STEPS + 1.0, (part + 1) * KEPT_STEPS + 1.0)
    lasts = [64 / -math.log2(beta) if beta else 1 for beta in betas]  # later powers are nothing beside 1
    powers = [beta ** np.minimum(steps, last) for beta, last in zip(betas, lasts, strict=True)]
    return (1 - np.array(betas)) / (1 - np.stack(powers, axis=1))


class Adam(Optimizer):
    """m = beta_1 m + g, v = beta_2 v + g^2, w -= rate (c_1 m) / (sqrt(c_2 v) + epsilon),
    c_i = (1 - beta_i) / (1 - beta_i^t) = 1 / (1 + beta_i + ... + beta_i^(t-1)) in step t = 1, 2, ...

    So c_1 m and c_2 v are the weighted means of g and g^2. Source: Kingma and Ba, "Adam", ICLR 2015, Algorithm 1, whose
    m and v are (1 - beta_i) times these sums.
    """

    kernel, columns = "adam_update", 3
    weight_decay = 0.0

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = number_in("beta_1", beta_1, 0, 1, open_high=True)
        self.beta_2 = number_in("beta_2", beta_2, 0, 1, open_high=True)
        self.epsilon = number_in("epsilon", epsilon, 0, math.inf)

    def slot_names(self) -> tuple[str | None, ...]:
        return ("m", "v")

    def fill(self, table: np.ndarray, first: int) -> None:
        super().fill(table, first)
        if first < self.began:  # somebody set the iterations back
            self.began = 0
        done = 0
        while done < len(table):
            part, begin = divmod(first - self.began + done, KEPT_STEPS)
            corrections = _corrections((self.beta_1, self.beta_2), part)[begin : begin + len(table) - done]
            table[done : done + len(corrections), 1:] = corrections
            done += len(corrections)

    def scalars(self) -> tuple[float, ...]:
        return (self.beta_1, self.beta_2, self.epsilon, self.weight_decay)


class AdamW(Adam):
    """Adam with decoupled decay: each step also does w -= rate weight_decay w, instead of adding it to the gradient.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon)
        self.weight_decay = number_in("weight_decay", weight_decay, 0, math.inf)


_registry = Registry("optimizer", Optimizer, [SGD, Adagrad, RMSprop, Adam, AdamW])
get, serialize, deserialize = _registry.get, _registry.serialize, _registry.deserialize
