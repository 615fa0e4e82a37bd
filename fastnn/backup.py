"""What training goes back to when a step has made the weights NaN or infinite, so that they are never lost."""

from __future__ import annotations

from typing import Any

from fastnn.kernels.contract import ITERATION, POSITION, ROW
from fastnn.memory import Block


class Backup:
    """Copies of a model's weights and of what its optimizer keeps, at the beginning of a pass over the data.

    The memory of the copies is used again for every pass: new memory would cost more than the copying. What trains
    the model stays where it is, once there are steps, which know the addresses: so it is looked up once.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.blocks: list[Block] = []
        self.weights: list[Block] = []
        self.copies: list[Any] = []

    def take(self) -> None:
        """Copy everything as it is now."""
        self.iterations = self.model.optimizer.iterations
        if not self.blocks:
            self.blocks = self.model.blocks()
            self.weights = list({p.block for p in self.model.parameters})
            self.copies = [None] * len(self.blocks)
        self.copies = [block.save(copy) for block, copy in zip(self.blocks, self.copies, strict=True)]

    def finite(self) -> bool:
        """True while no weight is NaN or infinite."""
        return all(block.finite() for block in self.weights)

    def restore(self) -> None:
        """Put everything back, and the clock to the beginning of the pass."""
        for block, copy in zip(self.blocks, self.copies, strict=True):
            block.restore(copy)
        feed = self.model.steps.feeds["train"]
        feed.clock[POSITION], feed.clock[ROW], feed.clock[ITERATION] = 0, 0, self.iterations
        feed.fault[0] = 0

    def rewind(self, parts: list[tuple[Any, int]]) -> int:
        """Go back to the last step after which all weights were finite; returns how many steps of the pass are done.

        Nothing is stored from step to step: the pass is repeated to find that step, and once more up to it. A step
        is a function of weights, data and clock, so it gives the same bits again. `parts`: (step, how often).
        """
        steps = sum(count for _, count in parts)
        good = self._repeat(parts, steps)
        self._repeat(parts, good)
        self.model.optimizer.iterations = self.iterations + good
        return good

    def _repeat(self, parts: list[tuple[Any, int]], limit: int) -> int:
        self.restore()
        done = 0
        for step, count in parts:
            step.refresh()
            for _ in range(min(count, limit - done)):
                if not step.run(1) or not self.finite():
                    return done
                done += 1
        return done
