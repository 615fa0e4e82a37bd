"""The callbacks, driven by a small trainer around a model that is nothing but its weights."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn import callbacks as cb
from fastnn.schedules import ExponentialDecay


class Model:
    """After epoch k (from 1) its weight is k, so the weights tell the epoch they come from."""

    def __init__(self, rate=0.1):
        self.weight = np.zeros(1)
        self.stop_training = False
        self.optimizer = SimpleNamespace(learning_rate=rate)

    def get_weights(self):
        return [self.weight.copy()]

    def set_weights(self, weights):
        self.weight[:] = weights[0]


def run(callbacks, epochs_logs, model=None, params=None):
    """Train over the given logs, one dict an epoch; return the model and the number of epochs that ran."""
    model = Model() if model is None else model
    model.stop_training = False
    hooks = cb.CallbackList(callbacks if isinstance(callbacks, list) else [callbacks], model, params or {})
    hooks.on_train_begin()
    ran = 0
    for epoch, logs in enumerate(epochs_logs):
        hooks.on_epoch_begin(epoch)
        model.weight[:] = epoch + 1
        ran += 1
        hooks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    hooks.on_train_end()
    return model, ran


def losses(*values, name="val_loss"):
    return [{"loss": 1.0, name: value} for value in values]


# ---- EarlyStopping ----


def test_best_weights_come_back_when_stopping_triggers():
    stop = cb.EarlyStopping(patience=2, restore_best_weights=True)
    model, ran = run(stop, losses(3.0, 1.0, 2.0, 2.0, 0.0))
    assert ran == 4
    assert model.weight == 2
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (1.0, 1, 3)
    assert stop.best_weights[0] == 2


def test_best_weights_come_back_when_the_epochs_run_out():
    stop = cb.EarlyStopping(patience=10, restore_best_weights=True)
    model, ran = run(stop, losses(3.0, 1.0, 2.0, 2.0))
    assert ran == 4
    assert model.weight == 2
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (1.0, 1, 0)


def test_weights_stay_when_they_are_not_to_be_restored():
    stop = cb.EarlyStopping(patience=2)
    model, _ = run(stop, losses(3.0, 1.0, 2.0, 2.0))
    assert model.weight == 4
    assert stop.best_weights is None


def test_the_first_of_equally_good_epochs_is_the_best():
    stop = cb.EarlyStopping(patience=5, restore_best_weights=True)
    model, _ = run(stop, losses(2.0, 1.0, 1.0))
    assert model.weight == 2


@pytest.mark.parametrize(("patience", "expected"), [(0, 2), (1, 2), (2, 3), (3, 4)])
def test_patience_counts_epochs_without_improvement(patience, expected):
    assert run(cb.EarlyStopping(patience=patience), losses(1.0, 2.0, 2.0, 2.0, 2.0))[1] == expected


def test_patience_starts_again_after_an_improvement():
    assert run(cb.EarlyStopping(patience=2), losses(5, 6, 4, 5, 3, 4, 4, 0))[1] == 7


def test_min_delta():
    values = losses(1.0, 0.95, 0.9, 0.85, 0.8)
    assert run(cb.EarlyStopping(patience=2), values)[1] == 5
    assert run(cb.EarlyStopping(patience=2, min_delta=0.5), values)[1] == 3
    # Small steps add up: the comparison is with the best, not with the epoch before.
    assert run(cb.EarlyStopping(patience=2, min_delta=0.08), values)[1] == 5


@pytest.mark.parametrize(
    ("monitor", "mode", "larger"),
    [
        ("val_loss", "auto", False),
        ("val_accuracy", "auto", True),
        ("acc", "auto", True),
        ("sparse_categorical_accuracy", "auto", True),
        ("val_auc", "auto", True),
        ("AUC", "auto", True),
        ("val_f1_score", "auto", True),
        ("mae", "auto", False),
        ("val_accuracy_loss", "auto", False),
        ("place", "auto", False),
        ("val_loss", "max", True),
        ("val_accuracy", "min", False),
    ],
)
def test_direction(monitor, mode, larger):
    stop = cb.EarlyStopping(monitor=monitor, mode=mode, patience=10)
    run(stop, losses(0.5, 0.9, 0.1, name=monitor))
    assert stop.best == (0.9 if larger else 0.1)


def test_baseline_stops_what_never_beats_it_and_still_restores_the_best():
    stop = cb.EarlyStopping(patience=3, baseline=0.5, restore_best_weights=True)
    model, ran = run(stop, losses(0.9, 0.7, 0.8, 0.6, 0.1))
    assert ran == 3
    assert model.weight == 2
    assert run(cb.EarlyStopping(patience=3, baseline=0.75), losses(0.9, 0.7, 0.8, 0.6, 0.1))[1] == 5
    assert run(cb.EarlyStopping(patience=2, baseline=1.0), losses(5, 4, 3, 3.5, 2))[1] == 4  # not while it improves


def test_start_from_epoch():
    stop = cb.EarlyStopping(patience=1, start_from_epoch=3, restore_best_weights=True)
    model, ran = run(stop, losses(0.0, 1.0, 2.0, 3.0, 2.5, 2.7, 1.0))
    assert ran == 6
    assert (stop.best, stop.best_epoch) == (2.5, 4)
    assert model.weight == 5
    short, _ = run(cb.EarlyStopping(start_from_epoch=9, restore_best_weights=True), losses(1.0, 2.0))
    assert short.weight == 2


def test_nan_is_never_the_best():
    stop = cb.EarlyStopping(patience=5, restore_best_weights=True)
    model, _ = run(stop, losses(math.nan, 2.0, math.nan, 1.0, math.nan))
    assert model.weight == 4
    assert stop.best == 1.0


def test_used_twice_it_starts_afresh():
    stop = cb.EarlyStopping(patience=1, restore_best_weights=True)
    run(stop, losses(0.0, 1.0))
    model, ran = run(stop, losses(5.0, 4.0, 3.0))
    assert (ran, stop.best, stop.stopped_epoch) == (3, 3.0, 0)
    assert model.weight == 3


def test_unknown_monitor_names_what_there_is():
    with pytest.raises(ValueError, match=r"did you mean 'val_loss'\? Known: loss, val_loss") as error:
        run(cb.EarlyStopping("val_los"), losses(1.0))
    assert "validation_data" not in str(error.value)
    with pytest.raises(ValueError, match=r"Known: accuracy, loss\..*need validation_data"):
        run(cb.EarlyStopping(), [{"loss": 1.0, "accuracy": 0.5}])
    with pytest.raises(ValueError, match="unknown monitor 'val_loss'"):
        run(cb.EarlyStopping(start_from_epoch=5), [{"loss": 1.0}])


def test_epochs_without_validation_are_passed_over_when_it_runs_now_and_then():
    logs = [{"loss": 1.0}, {"loss": 1.0, "val_loss": 2.0}] * 3
    every_other = {"validation_freq": 2}
    assert run(cb.EarlyStopping(patience=1), logs, params=every_other)[1] == 4
    with pytest.raises(ValueError, match="unknown monitor 'val_lss'"):
        run(cb.EarlyStopping("val_lss"), logs, params=every_other)


def test_verbose_messages(capsys):
    run(cb.EarlyStopping(patience=1, restore_best_weights=True), losses(1.0, 2.0))
    assert capsys.readouterr().out == ""
    run(cb.EarlyStopping(patience=1, restore_best_weights=True, verbose=1), losses(1.0, 2.0))
    assert capsys.readouterr().out == "Epoch 2: early stopping\nRestoring the weights of the best epoch, 1\n"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"monitor": 3}, TypeError, "monitor"),
        ({"mode": "up"}, ValueError, "mode must be 'auto', 'min' or 'max', got 'up'"),
        ({"patience": -1}, ValueError, "patience"),
        ({"patience": 1.5}, TypeError, "patience"),
        ({"min_delta": -1}, ValueError, "min_delta"),
        ({"min_delta": math.nan}, ValueError, "min_delta"),
        ({"baseline": "low"}, TypeError, "baseline"),
        ({"start_from_epoch": -2}, ValueError, "start_from_epoch"),
    ],
)
def test_early_stopping_checks_its_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        cb.EarlyStopping(**arguments)


# ---- learning rates ----


class Rates(cb.Callback):
    """Notes the learning rate each epoch was trained with; placed last."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(logs["learning_rate"])


def test_scheduler_with_epoch_and_rate_changes_the_rate_that_is_there():
    model, rates = Model(rate=1.0), Rates()
    scheduler = cb.LearningRateScheduler(lambda epoch, rate: rate if epoch < 2 else rate / 2)
    run([scheduler, rates], losses(4, 3, 2, 1), model)
    assert rates.seen == [1.0, 1.0, 0.5, 0.25]
    assert model.optimizer.learning_rate == 0.25


@pytest.mark.parametrize("schedule", [lambda epoch: 0.8 * 0.5**epoch, ExponentialDecay(0.8, 1, 0.5)])
def test_scheduler_with_the_epoch_alone(schedule):
    rates = Rates()
    run([cb.LearningRateScheduler(schedule), rates], losses(1, 2, 3))
    np.testing.assert_allclose(rates.seen, [0.8, 0.4, 0.2], rtol=1e-15)


def test_a_type_error_inside_the_schedule_is_not_hidden():
    def broken(epoch, rate=None):
        raise TypeError("my own bug")

    with pytest.raises(TypeError, match="my own bug"):
        run(cb.LearningRateScheduler(broken), losses(1))


def test_scheduler_refuses_bad_schedules():
    for wrong in (0.1, lambda: 0.1, lambda a, b, c: 0.1):
        with pytest.raises(TypeError, match="schedule must be a function"):
            cb.LearningRateScheduler(wrong)
    for value in (-1.0, math.nan, math.inf, None):
        error = TypeError if value is None else ValueError
        model = Model(rate=0.1)
        with pytest.raises(error, match="the rate that schedule gives for epoch 0"):
            run(cb.LearningRateScheduler(_constant(value)), losses(1), model)
        assert model.optimizer.learning_rate == 0.1


def _constant(value):
    def schedule(epoch):
        return value

    return schedule


@pytest.mark.parametrize("callback", [cb.LearningRateScheduler(_constant(0.1)), cb.ReduceLROnPlateau()])
def test_an_optimizer_with_a_schedule_is_not_overwritten(callback):
    schedule = ExponentialDecay(0.8, 1, 0.5)
    model = Model(rate=schedule)
    with pytest.raises(TypeError, match=r"optimizer already follows ExponentialDecay\("):
        run(callback, losses(1.0), model)
    assert model.optimizer.learning_rate is schedule


def test_reduce_on_plateau():
    model, rates = Model(rate=1.0), Rates()
    reduce = cb.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.2)
    run([reduce, rates], losses(5, 4, 4, 4, 4, 4, 4, 4, 4, 4), model)
    assert rates.seen == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    assert model.optimizer.learning_rate == 0.2


def test_reduce_on_plateau_waits_after_a_reduction():
    rates = Rates()
    reduce = cb.ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2)
    run([reduce, rates], losses(1, 1, 1, 1, 1, 1), Model(rate=1.0))
    # Reduced after epochs 2 and 4: of the two epochs of cooldown the second already counts, as in Keras.
    assert rates.seen == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_reduce_on_plateau_follows_the_mode_and_min_delta():
    up = losses(0.1, 0.2, 0.3, name="val_accuracy")
    for mode, last in (("auto", 1.0), ("min", 0.25)):
        model = Model(rate=1.0)
        run(cb.ReduceLROnPlateau("val_accuracy", factor=0.5, patience=1, mode=mode), up, model)
        assert model.optimizer.learning_rate == last
    model = Model(rate=1.0)
    run(cb.ReduceLROnPlateau(factor=0.5, patience=1), losses(1.0, 0.99995), model)
    assert model.optimizer.learning_rate == 0.5


def test_reduce_on_plateau_starts_afresh_in_a_second_fit():
    reduce = cb.ReduceLROnPlateau(factor=0.5, patience=1)
    run(reduce, losses(1.0, 2.0))
    model = Model(rate=1.0)
    run(reduce, losses(9.0, 8.0), model)
    assert model.optimizer.learning_rate == 1.0


def test_rate_messages(capsys):
    run(cb.LearningRateScheduler(_constant(0.5), verbose=1), losses(1))
    assert capsys.readouterr().out == "Epoch 1: LearningRateScheduler sets the learning rate to 0.5\n"
    run(cb.ReduceLROnPlateau(factor=0.5, patience=1, verbose=1), losses(1, 1), Model(rate=1.0))
    assert capsys.readouterr().out == "Epoch 2: ReduceLROnPlateau sets the learning rate to 0.5\n"


@pytest.mark.parametrize(
    "arguments",
    [{"factor": 1.0}, {"factor": 0}, {"patience": -1}, {"cooldown": -1}, {"min_lr": -1}, {"mode": "x"}],
)
def test_reduce_on_plateau_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        cb.ReduceLROnPlateau(**arguments)
