"""Programs: launches put in order, and told apart where threads must wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastnn.capture import Launch
from fastnn.kernels.contract import Array


class Program:
    """Launches in phases: within a phase no thread needs what another one writes; between phases all threads meet.

    A launch's phase is the least that respects every earlier launch it depends on: the same phase when both share
    their work alike and meet in rows, so that each thread follows its own, and a later phase otherwise.
    """

    def __init__(self, launches: Sequence[Launch], rows: int, clock: np.ndarray, fault: np.ndarray) -> None:
        self.rows, self.clock, self.fault = rows, clock, fault
        self.recorded = list(launches)  # in order, for backends without phases
        earlier: list[tuple[Launch, int]] = []
        for launch in launches:
            phase = max((p + (not _row_by_row(launch, e)) for e, p in earlier if depends(launch, e)), default=0)
            earlier.append((launch, phase))
        count = 1 + max((phase for _, phase in earlier), default=0)
        self.phases = [[launch for launch, phase in earlier if phase == p] for p in range(count)]

    @property
    def launches(self) -> list[Launch]:
        """All launches in the order of replay."""
        return [launch for phase in self.phases for launch in phase]


def _any(array: Array) -> bool:
    return True


def _conflict(one: Launch, other: Launch, wanted: Callable[[Array], bool] = _any) -> bool:
    """True when one of them writes what the other one touches, looking only at the wanted arrays of the first."""
    return any(
        (mine.writes or theirs.writes) and port is other_port and begin < other_end and other_begin < end
        for mine, (port, begin, end) in one.places
        if wanted(mine)
        for theirs, (other_port, other_begin, other_end) in other.places
    )


def depends(later: Launch, earlier: Launch) -> bool:
    """True when the order of the two matters: one of them writes what the other one touches."""
    return _conflict(later, earlier)


def _row_by_row(later: Launch, earlier: Launch) -> bool:
    """True when each thread needs of the other launch only the rows that are its own there, too."""
    if later.share != earlier.share:
        return False
    if later.kernel.owner < 0:
        return True
    return not (_conflict(later, earlier, _whole(later)) or _conflict(earlier, later, _whole(earlier)))


def _whole(launch: Launch) -> Callable[[Array], bool]:
    """Picks the arrays of which a thread touches more than its own rows, such as the weights of a layer."""
    rows = launch.kernel.arrays[launch.kernel.owner].axes[0]
    return lambda array: array.axes[0] != rows
