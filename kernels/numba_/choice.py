"""Which way to run a program is the fastest here: on how many threads, and by which plan.

Nobody can foretell it, so each way is tried for a millisecond in real work, and again now and then: the machine may be
less busy by then, or more. What was learned is handed on to the next program of the same launches, as when the folds of
a cross-validation train one network after the other.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Sequence

from fastnn.capture import Launch
from fastnn.kernels import threads as thread_limit

TRIAL_SECONDS = 1e-3  # a trial takes about so long
TRIALS = 3  # a way is judged by so many trials of at least half that length,
MOST_TRIALS = 12  # or by so many shorter ones,
SLOW_SECONDS = 0.05  # or by as few as take so long together
LONG_TRIAL_SECONDS = 0.01  # of a trial while other programs take turns with us,
DISTURBED = 0.65  # which is when our threads get less than this share of their cores
TRY_AGAIN_SECONDS, PATIENCE = 0.25, 50  # from one choice to the next: at least so long, and so many times the trials
SOON = 2  # the first choices come 4 and 2 times sooner: what disturbed the trials may be over
HOPELESS = 1.5  # a way that takes so many times as long as the best is not tried again
CHANGED = 1.25  # until a step takes so many times as long as before, or as short
ALONE_SECONDS = 5e-6  # a shorter step is not shared: its barriers would take what a second thread wins
WORTH = 0.9  # of the time on fewer threads: only then are more threads used
BETTER = 0.97  # of the time of an earlier plan: trials of one and the same differ by as much

Way = tuple[int, int]  # threads, and the number of a plan

KEPT = 256  # choices of programs that were made last

_latest: dict[tuple, Choice] = {}  # by what they are for


class Choice:
    """The fastest way, as far as it is known, and what it follows from."""

    def __init__(self, plans: int) -> None:
        self.plans = plans
        self.way: Way | None = None  # until it has been measured
        self.trials: dict[Way, list[tuple[float, int]]] = {}  # seconds and steps
        self.settled = self.patience = 0.0  # seconds since then, and until it is measured again
        self.settlings, self.pace = 0, 0.0  # how often; and seconds of a step by then
        self.disturbed, self.trial_seconds = False, TRIAL_SECONDS
        self.warm = False  # whether the program itself was used before
        self.version = thread_limit.version()

    def follow_limit(self) -> None:
        """Begin anew where the limit of threads was set since."""
        if self.version != thread_limit.version():
            self.version, self.way, self.trials, self.settlings = thread_limit.version(), None, {}, 0

    def next_trial(self, steps: int) -> tuple[Way, int]:
        """The way that was tried least, and how many of these steps take about as long as a trial."""
        ways = self.ways()
        wanted = [each for each in ways if self._wanted(each)] or ways
        way = min(wanted, key=lambda each: len(self.trials.get(each, ())))
        seen = [seconds / n for trials in self.trials.values() for seconds, n in trials]
        return way, min(steps, max(1, int(self.trial_seconds / min(seen)))) if seen else 1

    def tried(self, way: Way, steps: int, seconds: float, worked: float) -> None:
        """Learn from a trial of so many seconds; settle when each way was tried often enough.

        Where others take turns with our threads, some milliseconds each, a trial lasts several turns. It is known by
        the time `worked` that the threads had of the cores: they spin while they wait.
        """
        self.trials.setdefault(way, []).append((seconds, steps))
        if way[0] > 1 and seconds >= TRIAL_SECONDS / 2:
            self.disturbed = worked < DISTURBED * way[0] * seconds
        ways = self.ways()
        if len(ways) > 1 and any(map(self._wanted, ways)):
            return
        before, self.trial_seconds = self.trial_seconds, LONG_TRIAL_SECONDS if self.disturbed else TRIAL_SECONDS
        if before < self.trial_seconds:
            self.trials = {}
        else:
            self._settle(ways)

    def used(self, steps: int, seconds: float) -> None:
        """Learn from so many steps in the way that was chosen; give it up when it is time for more trials."""
        self.settled += seconds
        usual, self.warm = steps * self.pace if self.warm else 0.0, True
        if usual > TRIAL_SECONDS and not usual / CHANGED < seconds < usual * CHANGED:  # every way may be best now
            self.settlings, self.patience = 0, min(self.patience, TRY_AGAIN_SECONDS / 2**SOON)
        if self.settled > self.patience:
            self.settled, self.way = 0.0, None
            self.trials |= {way: self.trials.get(way, [])[1:][-TRIALS:] for way in self.ways()}

    def ways(self) -> list[Way]:
        """What to try. One thread needs no slabs, and a short step one thread."""
        most = 1 if any(t < ALONE_SECONDS * n for t, n in self.trials.get((1, 0), ())) else None
        ways = [(n, i) for n in thread_limit.choices()[:most] for i in range(self.plans) if n > 1 or i == 0]
        times = {each: self.time(each) for each in ways}  # 0 for what was never tried
        limit = HOPELESS * min(filter(None, times.values()), default=0.0)
        return [each for each in ways if self.settlings <= SOON or times[each] <= limit]

    def time(self, way: Way) -> float:
        """The median time of a step, by the latest of the trials with the most steps; the first trial warms up."""
        largest = sorted(self.trials.get(way, [])[1:], key=lambda trial: trial[1])[-TRIALS:]
        return statistics.median([seconds / steps for seconds, steps in largest] or [0.0])

    def _wanted(self, way: Way) -> bool:
        """True until a way was tried often or long enough."""
        trials = self.trials.get(way, ())[1:]
        long = [seconds for seconds, _ in trials if seconds >= self.trial_seconds / 2]
        return len(long) < TRIALS and len(trials) < MOST_TRIALS and sum(long) < SLOW_SECONDS

    def _settle(self, ways: list[Way]) -> None:
        """Choose the fastest way, by medians: trials may be disturbed. A further thread must be worth its core."""
        times = {each: self.time(each) for each in ways}
        best = ways[0]
        for each in ways[1:]:
            if times[each] < (WORTH if each[0] > best[0] else BETTER) * times[best]:
                best = each
        self.way = best
        patience = max(TRY_AGAIN_SECONDS, PATIENCE * sum(max(t, self.trial_seconds) for t in times.values()))
        self.patience = patience * 2.0 ** min(0, self.settlings - SOON)
        self.settlings, self.pace = self.settlings + 1, times[best]


def choice_for(launches: Sequence[Launch], plans: int) -> Choice:
    """A choice for a program of these launches, which knows what the last one for the same has learned by now."""
    shapes = [(each.kernel.name, *(getattr(value, "shape", None) for value in each.arrays)) for each in launches]
    key = (plans, launches[-1].dtype, *thread_limit.choices(), *shapes)
    known = _latest.pop(key, None)
    choice = copy.copy(known) if known else Choice(plans)
    choice.trials = {way: list(trials) for way, trials in dict(choice.trials).items()}  # another thread may add to them
    choice.warm = False
    choice.patience = min(choice.patience, TRY_AGAIN_SECONDS)  # the machine may have been busy for the last one:
    choice.settlings = min(choice.settlings, SOON)  # soon every way is tried again
    _latest[key] = choice
    for old in list(_latest)[:-KEPT]:
        _latest.pop(old, None)
    return choice
