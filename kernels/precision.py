"""How exact the matrix products of float32 are on a GPU."""

from __future__ import annotations

_tf32 = False


def use_tf32(on: bool = True) -> None:
    """Let the GPU round the factors of float32 products to TF32: 10 bits instead of 23, and several times the rate.

    Sums stay float32. Off by default, as in PyTorch; without effect on the CPU and in float64. Programs that were
    captured before follow from their next pass on.
    """
    global _tf32
    if not isinstance(on, bool):
        raise TypeError(f"on must be True or False, got {on!r}")
    _tf32 = on


def tf32() -> bool:
    """True when TF32 is on."""
    return _tf32
