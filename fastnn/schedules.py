"""Learning rates as functions of the step, computed for a whole run of steps at once.

A program is replayed for many steps without coming back to Python, so it reads its learning rates from an
array that the host fills beforehand. A schedule is therefore called with an array of step numbers. Names and
formulas follow Keras 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.errors import number_in
from fastnn.registry import Registry


class LearningRateSchedule:
    """Base of all schedules. A subclass defines `rates(steps)`, and `get_config()` if it is to be saved.

    A call takes the numbers of optimizer steps, counted from 0, and gives the learning rates of those steps:
    an array of any shape gives a float64 array of that shape, a single number gives a float.

    Raises TypeError when the steps are not numbers, ValueError when one is negative or NaN, or a rate is.
    """

    def __call__(self, steps: Any) -> Any:
        numbers = np.asarray(steps)
        if numbers.dtype.kind not in "iuf":
            raise TypeError(f"steps must be step numbers, got {steps!r}")
        if not (numbers >= 0).all():
            raise ValueError(f"steps must be 0 or more, got {steps!r}")
        # One contiguous float64 array, also for a single step: a rate must not depend on how a run is cut up.
        rates = np.asarray(self.rates(numbers.astype(np.float64).ravel()), np.float64)
        if rates.shape not in ((), (numbers.size,)) or not (np.isfinite(rates) & (rates >= 0)).all():
            wanted = f"{numbers.size} finite rates of at least 0, one for each step"
            raise ValueError(f"{type(self).__name__}.rates must return {wanted}, got {rates!r}")
        rates = np.broadcast_to(rates, numbers.size).reshape(numbers.shape)
        return float(rates) if numbers.ndim == 0 else rates

    def rates(self, steps: np.ndarray) -> np.ndarray:
        """Return the learning rates of `steps`; both are float64 arrays of one dimension and one length."""
        raise NotImplementedError(f"{type(self).__name__} must define rates(steps)")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain values, from which `from_config` makes an equal one."""
        if not dataclasses.is_dataclass(self):
            raise NotImplementedError(f"{type(self).__name__} must define get_config() to be saved")
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LearningRateSchedule:
        """Return the schedule whose `get_config()` gave `config`."""
        return cls(**config)

    def _number(self, argument: str, *, positive: bool = False) -> None:
        """Make a field a finite float of at least 0, or above 0 when `positive`, or raise naming it."""
        number = number_in(argument, getattr(self, argument), 0, math.inf, open_low=positive, open_high=True)
        object.__setattr__(self, argument, number)

    def _flag(self, argument: str) -> None:
        """Check that a field is True or False, or raise naming it."""
        if not isinstance(getattr(self, argument), bool):
            raise TypeError(f"{argument} must be True or False, got {getattr(self, argument)!r}")


@dataclass(frozen=True)
class ExponentialDecay(LearningRateSchedule):
    """`rate(t) = initial_learning_rate * decay_rate ** (t / decay_steps)`.

    With `staircase` the exponent is floor(t / decay_steps).
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        self._number("initial_learning_rate")
        self._number("decay_steps", positive=True)
        self._number("decay_rate", positive=True)
        self._flag("staircase")

    def rates(self, steps: np.ndarray) -> np.ndarray:
        periods = steps / self.decay_steps
        if self.staircase:
            periods = np.floor(periods)
        return self.initial_learning_rate * self.decay_rate**periods


@dataclass(frozen=True)
class InverseTimeDecay(LearningRateSchedule):
    """`rate(t) = initial_learning_rate / (1 + decay_rate * t / decay_steps)`.

    With `staircase`, t / decay_steps is rounded down.
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        self._number("initial_learning_rate")
        self._number("decay_steps", positive=True)
        self._number("decay_rate")
        self._flag("staircase")

    def rates(self, steps: np.ndarray) -> np.ndarray:
        periods = steps / self.decay_steps
        if self.staircase:
            periods = np.floor(periods)
        return self.initial_learning_rate / (1 + self.decay_rate * periods)


@dataclass(frozen=True)
class PolynomialDecay(LearningRateSchedule):
    """`rate(t) = (initial - end) * (1 - min(t, decay_steps) / decay_steps) ** power + end`.

    With `cycle` the rate starts again instead of staying at the end: decay_steps is multiplied by
    max(1, ceil(t / decay_steps)), so that each cycle starts lower than the one before.
    """

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False

    def __post_init__(self) -> None:
        self._number("initial_learning_rate")
        self._number("decay_steps", positive=True)
        self._number("end_learning_rate")
        self._number("power", positive=True)
        self._flag("cycle")

    def rates(self, steps: np.ndarray) -> np.ndarray:
        periods = steps / self.decay_steps
        done = periods / np.maximum(np.ceil(periods), 1) if self.cycle else np.minimum(periods, 1)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1 - done) ** self.power + self.end_learning_rate


@dataclass(frozen=True)
class CosineDecay(LearningRateSchedule):
    """Half a cosine from the first rate down to `alpha` times it, after an optional linear warm-up.

    `rate(t) = start * ((1 - alpha) * (1 + cos(pi * min(u, decay_steps) / decay_steps)) / 2 + alpha)`

    Without `warmup_target` there is no warm-up: start = initial_learning_rate and u = t. With it, the first
    `warmup_steps` steps go `initial + (warmup_target - initial) * t / warmup_steps`, and then start =
    warmup_target and u = t - warmup_steps. Source: Loshchilov and Hutter, SGDR, 2016 (one period, no
    restarts).
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: float = 0

    def __post_init__(self) -> None:
        self._number("initial_learning_rate")
        self._number("decay_steps", positive=True)
        object.__setattr__(self, "alpha", number_in("alpha", self.alpha, 0, 1))
        if self.warmup_target is not None:
            self._number("warmup_target")
        self._number("warmup_steps")

    def rates(self, steps: np.ndarray) -> np.ndarray:
        initial, target, warmup = self.initial_learning_rate, self.warmup_target, self.warmup_steps
        if target is None:
            return initial * self._fraction(steps)
        # max: without warm-up steps the warm-up branch is never chosen, but it is computed.
        rising = initial + (target - initial) * steps / max(warmup, 1.0)
        return np.where(steps < warmup, rising, target * self._fraction(np.maximum(steps - warmup, 0)))

    def _fraction(self, steps: np.ndarray) -> np.ndarray:
        done = np.minimum(steps / self.decay_steps, 1)
        return (1 - self.alpha) * 0.5 * (1 + np.cos(np.pi * done)) + self.alpha


@dataclass(frozen=True)
class PiecewiseConstantDecay(LearningRateSchedule):
    """`rate(t) = values[i]` for boundaries[i-1] < t <= boundaries[i]: one more value than boundaries.

    A boundary still belongs to the piece before it, as in Keras. Boundaries must increase.
    """

    boundaries: Sequence[float]
    values: Sequence[float]

    def __post_init__(self) -> None:
        for argument in ("boundaries", "values"):
            given = getattr(self, argument)
            if not isinstance(given, (Sequence, np.ndarray)):
                raise TypeError(f"{argument} must be a list of numbers, got {given!r}")
            numbers = [
                number_in(f"{argument}[{index}]", number, 0, math.inf, open_high=True)
                for index, number in enumerate(given)
            ]
            object.__setattr__(self, argument, numbers)
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"values must have one entry more than boundaries, got {len(self.values)} values "
                f"for {len(self.boundaries)} boundaries"
            )
        if any(low >= high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must increase, got {self.boundaries}")

    def rates(self, steps: np.ndarray) -> np.ndarray:
        return np.asarray(self.values)[np.searchsorted(np.asarray(self.boundaries), steps, side="left")]


_registry = Registry(
    "schedule",
    LearningRateSchedule,
    [ExponentialDecay, InverseTimeDecay, PolynomialDecay, CosineDecay, PiecewiseConstantDecay],
)
serialize, deserialize = _registry.serialize, _registry.deserialize
