"""Threads that replay a program meet, stop and start again together, and programs do what their launches say."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import backends
from fastnn.capture import Launch, Port, Recorder
from fastnn.kernels import threads as thread_limit
from fastnn.kernels.contract import KERNELS
from fastnn.memory import aligned
from fastnn.program import Program

pytest.importorskip("numba")
from fastnn.kernels.numba_ import backend as numba_backend
from fastnn.kernels.numba_ import choice
from fastnn.kernels.numba_.backend import NumbaReplay
from fastnn.kernels.numba_.plan import Plan, group

ROWS, INPUTS, OUTPUTS = 12, 6, 5


@pytest.fixture(autouse=True)
def _nothing_learned(monkeypatch):
    monkeypatch.setattr(choice, "_latest", {})


class Chain:
    """A program of two phases, as in training: rows of x through a layer, then the layer's update by what came out.

    weight -= rate x^T (x weight + bias), and the same for the bias: every step needs all rows of the one before.
    """

    def __init__(self, x, threads):
        self.x, self.table = Port("x", x), Port("table", np.full((1000, 1), 1e-3))
        self.clock, self.fault = np.zeros(3, np.int64), np.zeros(1, np.int64)
        self.weight, self.bias = np.full((INPUTS, OUTPUTS), 0.1), np.full(OUTPUTS, 0.1)
        self.dweight, self.dbias = np.zeros_like(self.weight), np.zeros_like(self.bias)
        ops = Recorder(backends.get("numba"), np.float64, self.clock, self.fault)
        batch, z = ops.empty((ROWS, INPUTS)), ops.empty((ROWS, OUTPUTS))
        ops.gather(self.x, None, ops.clock, batch)
        ops.check_finite(batch, ops.fault, 1)
        ops.dense(batch, self.weight, self.bias, z)
        ops.dense_dweight(batch, z, self.dweight)
        ops.column_sum(z, self.dbias)
        for value, gradient in ((self.weight, self.dweight), (self.bias, self.dbias)):
            ops.sgd_update(self.table, ops.clock, value, gradient, None, 0.0, 0)
        self.program = Program(ops.launches, ROWS, self.clock, self.fault)
        self.replay = NumbaReplay(self.program)
        self.replay.choice.way = (threads, 0) if threads else None
        self.replay.refresh()

    def run(self, steps):
        return self.replay.run(steps)

    @property
    def result(self):
        return self.weight.tobytes() + self.bias.tobytes()


def data(steps):
    return np.random.default_rng(2).standard_normal((steps * ROWS, INPUTS))


def reference(x, steps):
    weight, bias = np.full((INPUTS, OUTPUTS), 0.1), np.full(OUTPUTS, 0.1)
    for batch in np.split(x[: steps * ROWS], steps):
        z = batch @ weight + bias
        weight -= 1e-3 * batch.T @ z
        bias -= 1e-3 * z.sum(axis=0)
    return weight, bias


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 12, 20])
def test_any_number_of_threads_gives_the_same_bits_in_bounded_time(threads):
    x = data(300)
    one, many = Chain(x, 1), Chain(x, threads)
    assert one.run(300) == 300
    done = []
    runner = threading.Thread(target=lambda: done.append(many.run(300)), daemon=True)
    runner.start()
    runner.join(60)
    assert done == [300]
    assert many.result == one.result
    assert many.clock.tolist() == [300, 300, 300 * ROWS]
    for actual, wanted in zip((many.weight, many.bias), reference(x, 300), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-9)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("row", [0, ROWS // 2, ROWS - 1])
def test_all_threads_stop_at_the_step_of_a_fault(threads, row):
    x = data(20)
    x[7 * ROWS + row, 2] = np.nan
    chain, other = Chain(x, threads), Chain(x, 1)
    assert chain.run(20) == 7
    assert chain.fault[0] == 1
    assert chain.clock.tolist() == [7, 7, 7 * ROWS]
    assert other.run(7) == 7
    assert chain.result == other.result

    x[7 * ROWS + row, 2] = 0.5
    chain.fault[0] = 0
    assert chain.run(13) == other.run(13) == 13
    assert chain.result == other.result


def test_a_run_may_be_cut_anywhere():
    x = data(20)
    whole, cut = Chain(x, 2), Chain(x, 2)
    whole.run(20)
    assert [cut.run(steps) for steps in (1, 3, 0, 16)] == [1, 3, 0, 16]
    assert cut.result == whole.result


def test_ports_are_read_anew_by_refresh():
    x = data(5)
    chain, other = Chain(np.full_like(x, np.nan), 2), Chain(x, 2)
    chain.x.array = x
    chain.replay.refresh()
    assert chain.run(5) == other.run(5) == 5
    assert chain.result == other.result


def test_a_gradient_that_is_consumed_at_once_is_never_stored():
    chain = Chain(data(5), 2)
    chain.run(5)
    assert not chain.dweight.any()
    assert not chain.dbias.any()


@pytest.mark.parametrize("read", ["never", "before the update", "after the update"])
def test_a_gradient_that_others_read_is_stored(read):
    x, dz = np.ones((4, 3)), np.full((4, 2), 0.5)
    weight, gradient, ring = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((1, 1))
    clock, fault = np.zeros(3, np.int64), np.zeros(1, np.int64)
    ops = Recorder(backends.get("numba"), np.float64, clock, fault)
    table = Port("table", np.ones((1, 1)))
    ops.dense_dweight(x, dz, gradient)
    if read == "before the update":
        ops.penalty(gradient, ops.clock, Port("ring", ring), 0, 1.0, 0.0)
    ops.sgd_update(table, ops.clock, weight, gradient, None, 0.0, 0)
    if read == "after the update":
        ops.penalty(gradient, ops.clock, Port("ring", ring), 0, 1.0, 0.0)
    replay = NumbaReplay(Program(ops.launches, 4, clock, fault))
    replay.refresh()
    replay.run(1)
    np.testing.assert_array_equal(weight, np.full((3, 2), -2.0))
    assert gradient.any() == (read != "never")
    assert ring[0, 0] == (0.0 if read == "never" else 12.0)


def test_eager_training_stores_gradients_and_replay_does_not():
    models = []
    for eager in (True, False):
        model = fn.Sequential([fn.layers.Dense(4, "relu"), fn.layers.Dense(3)], backend="numba", seed=1)
        model.compile("sgd", "mse", run_eagerly=eager)
        model.fit(np.eye(8), np.eye(8)[:, :3], verbose=0)
        models.append(model)
    eager, replayed = models
    assert all(p.gradient.any() for p in eager.parameters)
    assert not any(p.gradient.any() for p in replayed.parameters)
    assert all((a == b).all() for a, b in zip(eager.get_weights(), replayed.get_weights(), strict=True))


def test_sums_of_one_column_stay_on_one_thread():
    layers = [fn.layers.Dense(4, kernel_regularizer="l2", bias_regularizer="l1") for _ in range(4)]
    model = fn.Sequential(layers, backend="numba", seed=1)
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.eye(8), np.eye(8)[:, :4], verbose=0)
    replay = model.steps.get("train", 8, True).replay
    sums = {replay.plans[0].addresses[id(each)] for each in replay.program.launches if each.kernel.split == "single"}
    tables = replay.plans[0].tables(3)
    assert [any(line[0] in sums for line in table) for table in tables].count(True) == 1
    lines = [line for table in tables for line in table if line[0] in sums]
    assert len(lines) == 8 + 1 + 1


def test_launches_that_share_rows_take_turns_tile_by_tile():
    chain = Chain(data(1), 1)
    (rows,), updates = (group(phase) for phase in chain.program.phases)
    assert [launch.kernel.name for launch in rows.launches] == ["gather", "check_finite", "dense"]
    assert [[launch.kernel.name for launch in g.launches] for g in updates] == [
        ["dense_dweight", "sgd_update"],
        ["column_sum", "sgd_update"],
    ]
    table = chain.replay.plans[0].tables(3)[1]
    assert table[:3, 2].tolist() == [4] * 3
    assert table[:3, 3].tolist() == [8] * 3
    assert table[:3, 4].tolist() == [3, 2, 1]
    assert (table[:, 0] == 0).sum() == 2  # one barrier at the end of each phase


def test_the_thread_count_is_measured_once(monkeypatch):
    chain = Chain(data(300), 0)
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2, 3])
    for _ in range(1000):
        chain.clock[:] = 0
        chain.run(300)
        if chain.replay.threads:
            break
    assert chain.replay.threads in (1, 2, 3)
    settled = chain.replay.threads
    chain.clock[:] = 0
    monkeypatch.setattr(choice.Choice, "tried", lambda *args: pytest.fail("measured again"))
    chain.run(10)
    assert chain.replay.threads == settled


def test_set_threads_counts_at_once(monkeypatch):
    monkeypatch.delenv("FASTNN_THREADS", raising=False)
    try:
        fn.set_threads(3)
        assert thread_limit.choices() == [1, 2, 3]
        fn.set_threads(1)
        assert thread_limit.choices() == [1]
        fn.set_threads(None)
        assert thread_limit.choices()[-1] == thread_limit.cores()
        monkeypatch.setenv("FASTNN_THREADS", "4")
        assert thread_limit.choices() == [1, 2, 4]
        fn.set_threads(2)
        assert thread_limit.choices() == [1, 2]
    finally:
        fn.set_threads(None)


@pytest.mark.parametrize("seconds, again", [(np.inf, False), (0.0, True)])
def test_the_number_of_threads_is_measured_again_now_and_then(monkeypatch, seconds, again):
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    monkeypatch.setattr(choice, "TRY_AGAIN_SECONDS", seconds)
    monkeypatch.setattr(choice, "PATIENCE", 0)
    monkeypatch.setattr(choice, "ALONE_SECONDS", 0)
    model = fn.Sequential([fn.layers.Dense(3, input_shape=(4,))], backend="numba", seed=1)
    model.compile("sgd", "mse")
    x, y = np.ones((64, 4)), np.ones((64, 3))
    trials = []
    tried = choice.Choice.tried
    monkeypatch.setattr(choice.Choice, "tried", lambda *a: trials.append(a) or tried(*a))
    model.fit(x, y, batch_size=2, epochs=100, verbose=0)
    first = len(trials)
    assert first >= 2 * choice.TRIALS
    model.fit(x, y, batch_size=2, epochs=200, verbose=0)
    assert (len(trials) > first) is again
    replay = model.steps.get("train", 2, True).replay
    assert all(len(trials) <= choice.MOST_TRIALS + 1 for trials in replay.choice.trials.values())


def test_slow_steps_are_tried_twice_and_seldom(monkeypatch):
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    monkeypatch.setattr(choice, "SLOW_SECONDS", 1e-12)
    monkeypatch.setattr(choice, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(choice, "DISTURBED", 0.0)
    monkeypatch.setattr(choice, "ALONE_SECONDS", 0.0)
    chain = Chain(data(100), 0)
    for steps in range(1, 5):
        assert chain.replay.threads == 0
        assert chain.run(1) == 1
        assert sum(map(len, chain.replay.choice.trials.values())) == steps
    assert chain.replay.threads in (1, 2)
    assert chain.replay.choice.patience >= choice.TRY_AGAIN_SECONDS / 2**choice.SOON


@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_below_the_least_normal_one_count_as_zero_while_kernels_run(threads):
    """They would take a processor many times as long; outside the kernels they are what they were."""
    x, weight, z = (aligned((4, 4), np.float32) for _ in range(3))
    x[...], weight[...] = 1e-30, 1e-10
    clock, fault = np.zeros(3, np.int64), np.zeros(1, np.int64)
    launch = Launch(KERNELS["dense"], [x, weight, None, z], np.dtype(np.float32))
    plan = Plan(Program([launch], 4, clock, fault), [[launch]])
    for run in (numba_backend.Bound(launch), lambda: plan.run(1, threads)):
        z[...] = 1
        run()
        assert not z.any()
        assert x[0, 0] * weight[0, 0] > 0


def test_a_short_step_is_tried_on_one_thread_only(monkeypatch):
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    ways = []
    for alone in (0, np.inf):
        monkeypatch.setattr(choice, "ALONE_SECONDS", alone)
        monkeypatch.setattr(choice, "_latest", {})
        chain = Chain(data(300), 0)
        while not chain.replay.threads:
            chain.clock[:] = 0
            chain.run(300)
        ways.append(set(chain.replay.choice.trials))
    assert ways == [{(1, 0), (2, 0)}, {(1, 0)}]


def test_a_few_disturbed_trials_do_not_count():
    """Of trials of one step each the slowest are those that were disturbed, not those that tell most."""
    chosen = choice.Choice(1)
    chosen.trials[2, 0] = [(9.0, 1), (0.4, 1), (0.9, 1), (0.9, 1), (0.4, 1), (0.9, 1), (0.4, 1), (0.4, 1)]
    assert chosen.time((2, 0)) == 0.4
    chosen.trials[2, 0] += [(1.0, 2), (1.2, 2), (1.0, 2)]
    assert chosen.time((2, 0)) == 0.5


@pytest.mark.parametrize(("slabs", "way"), [(0.99, (2, 0)), (0.9, (2, 1))])
def test_another_plan_is_taken_only_where_it_is_clearly_faster(monkeypatch, slabs, way):
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    chosen, seconds = choice.Choice(2), {(1, 0): 2e-2, (2, 0): 1e-2, (2, 1): slabs * 1e-2}
    while chosen.way is None:
        each, steps = chosen.next_trial(10)
        chosen.tried(each, steps, steps * seconds[each], each[0] * steps * seconds[each])
    assert chosen.way == way


def test_a_trial_lasts_several_turns_where_others_take_turns_with_our_threads(monkeypatch):
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    chosen = choice.Choice(1)

    def last_trial(share):
        """How long it was, when the threads had that part of the cores until the next choice."""
        chosen.way, chosen.trials = None, {way: trials[1:] for way, trials in chosen.trials.items()}
        while chosen.way is None:
            way, steps = chosen.next_trial(10_000)
            chosen.tried(way, steps, steps * 1e-4, steps * 1e-4 * way[0] * share)
        return chosen.trials[1, 0][-1][0]

    short, long = choice.TRIAL_SECONDS, choice.LONG_TRIAL_SECONDS
    shares = 1.0, 0.5, 0.5, 1.0, 1.0
    assert [last_trial(share) for share in shares] == pytest.approx([short, long, long, long, short], rel=0.2)


def test_what_was_much_slower_is_tried_again_only_when_a_step_takes_another_time(monkeypatch):
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    replay = Chain(data(100), 0).replay
    now, seconds, ways = [0.0], {1: 4e-4, 2: 1e-4}, []
    monkeypatch.setattr(numba_backend.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(numba_backend.time, "process_time", lambda: 2 * now[0])

    def run(steps, threads):
        now[0] += steps * seconds[threads]
        ways.append(threads)
        return steps

    def tried(steps):
        """With how many threads it was run, for so many steps, until the choice was made twice more."""
        ways.clear()
        before = replay.choice.settlings
        while replay.choice.settlings < before + 2 and len(ways) < 1000:
            replay.run(steps)
        return set(ways)

    for plan in replay.plans:
        monkeypatch.setattr(plan, "run", run)
    assert tried(100) == {1, 2}  # twice: what disturbed the first trials may be over
    assert replay.choice.settlings == choice.SOON
    assert tried(100) == {1, 2}
    assert tried(100) == {2}
    seconds[2] = 6e-4  # somebody else came
    replay.run(100)
    assert replay.choice.settlings == 0
    assert tried(100) == {1, 2}
    assert replay.threads == 1


def test_ways_that_were_tried_long_enough_are_tried_once_more(monkeypatch):
    """On a busy machine one trial that is kept may be as long as all of them need to be."""
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    chain = Chain(data(100), 0)
    slow = 2 * choice.SLOW_SECONDS
    chain.replay.choice.trials = {way: [(0.01, 1), (slow, 1)] for way in [(1, 0), (2, 0)]}
    assert chain.run(1) == 1
    assert chain.replay.threads in (1, 2)


def test_a_program_of_the_same_launches_begins_with_what_the_last_one_learned(monkeypatch):
    monkeypatch.setattr(thread_limit, "choices", lambda: [1, 2])
    launches = Chain(data(300), 1).program.launches
    first = choice.choice_for(launches, 2)
    first.tried((1, 0), 5, 1e-3, 1e-3)
    first.way, first.pace = (2, 0), 1e-4
    second = choice.choice_for(Chain(data(200), 0).program.launches, 2)
    assert (second.way, second.pace, second.trials) == ((2, 0), 1e-4, first.trials)
    second.settlings, second.patience = 9, 60.0  # what was learned while others were busy is not kept for long
    second = choice.choice_for(launches, 2)
    assert (second.settlings, second.patience) == (choice.SOON, choice.TRY_AGAIN_SECONDS)
    second.tried((1, 0), 5, 1e-3, 1e-3)
    assert len(first.trials[1, 0]) == 1
    assert choice.choice_for(launches[:-1], 2).way is None
    assert choice.choice_for(launches, 1).way is None
    monkeypatch.setattr(thread_limit, "choices", lambda: [1])
    assert choice.choice_for(launches, 2).way is None
