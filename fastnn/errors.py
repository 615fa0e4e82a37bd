"""Errors that name what came and what was wanted, in one place so that they all read alike."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class DeviceError(RuntimeError):
    """There is no GPU that can be used; the message says why, and what would help."""


class NonFiniteError(FloatingPointError):
    """Data, loss or weights were NaN or infinite: training stopped, with the weights of the step before."""


def suggest(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown `name` of some `kind` ("optimizer", "loss", ...), with the nearest match.

    >>> raise suggest("optimizer", "adm", ["adam", "sgd"])
    ValueError: unknown optimizer 'adm': did you mean 'adam'? Known: adam, sgd.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}:{hint} Known: {', '.join(names)}.")


def positive_int(argument: str, value: Any, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`, or raise naming `argument`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{argument} must be an integer, got {value!r}")
    number = value.__index__()
    if number < minimum:
        raise ValueError(f"{argument} must be at least {minimum}, got {value!r}")
    return number


def number_in(
    argument: str, value: Any, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> float:
    """Return `value` as a float in the interval from `low` to `high`, or raise naming `argument`."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{argument} must be a number, got {value!r}") from None
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{argument} must be in {interval}, got {value!r}")
    return number
