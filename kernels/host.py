"""What the backends of the CPU share: kernels and programs work on the host's memory."""

from __future__ import annotations

from typing import Any

import numpy as np


class HostBackend:
    """Base of backends without a device of their own."""

    name = ""

    @property
    def shuffler(self) -> HostBackend:
        """Who draws the order of the rows."""
        return self

    def adopt(self, value: Any, dtype: np.dtype | None, argument: str) -> np.ndarray:
        """Raises TypeError: what lies on a GPU cannot be read here."""
        raise TypeError(
            f"{argument} is on a GPU, but the model runs on {self.name}: bring it to the host, or model.to('cupy')"
        )

    def bring(self, *arrays: Any) -> tuple[Any, ...]:
        """Data where programs read them: here."""
        return arrays
