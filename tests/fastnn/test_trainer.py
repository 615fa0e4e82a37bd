"""fit, evaluate, predict and train_on_batch do what Keras' users expect of them, to the last batch."""

from __future__ import annotations

import _thread
import threading
import time

import numpy as np
import pytest

import fastnn as fn
from fastnn import callbacks as cb

rng = np.random.default_rng(8)
ROWS = 50
X = rng.standard_normal((ROWS, 6))
W = rng.standard_normal((6, 2))
Y = X @ W + 0.1 * rng.standard_normal((ROWS, 2))
LABELS = (X @ W[:, 0] > 0).astype(int) + (X @ W[:, 1] > 0)


def linear(dtype="float64", optimizer="sgd", metrics=("mae",)):
    model = fn.Sequential([fn.layers.Dense(2, input_shape=(6,))], seed=1, dtype=dtype)
    model.compile(optimizer, "mse", metrics=list(metrics))
    return model


def classifier(optimizer="adam"):
    model = fn.Sequential([fn.layers.Dense(16, "relu"), fn.layers.Dense(3, "softmax")], seed=1)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics="accuracy")
    return model


def same_bits(model, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


class Log(cb.Callback):
    """Writes every call of a hook down."""

    def __init__(self):
        super().__init__()
        self.calls, self.logs, self.weights = [], {}, []

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch))
        self.logs[batch] = dict(logs)
        self.weights.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("epoch", epoch))


# --- batches ---


def test_an_epoch_is_what_numpy_does_by_hand(backend):
    model = linear(optimizer=fn.optimizers.SGD(0.05))
    (w, b), losses, errors = model.get_weights(), [], []
    for rows in np.split(np.arange(ROWS), [16, 32, 48]):  # the last batch has 2 rows
        error = X[rows] @ w + b - Y[rows]
        losses += (error**2).mean(axis=1).tolist()
        errors += np.abs(error).mean(axis=1).tolist()
        w = w - 0.05 * X[rows].T @ error / len(rows)  # 2 / F of the mean over F = 2 outputs is 1
        b = b - 0.05 * error.mean(axis=0)
    history = model.fit(X, Y, batch_size=16, shuffle=False, verbose=0).history
    for actual, wanted in zip(model.get_weights(), (w, b), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12)
    assert history["loss"] == pytest.approx([np.mean(losses)], rel=1e-12)
    assert history["mae"] == pytest.approx([np.mean(errors)], rel=1e-12)


def test_fit_is_train_on_batch_again_and_again(backend):
    model, other = linear(optimizer="adam"), linear(optimizer="adam")
    model.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    for _ in range(2):
        for first in range(0, ROWS, 16):
            result = other.train_on_batch(X[first : first + 16], Y[first : first + 16])
    assert same_bits(model, other)
    assert len(result) == 2
    assert other.optimizer.iterations == 8


def test_train_on_batch_measures_before_the_update(backend):
    model = linear()
    before = model.evaluate(X, Y)
    assert model.train_on_batch(X, Y) == pytest.approx(before)
    assert set(model.train_on_batch(X, Y, return_dict=True)) == {"loss", "mae"}
    assert model.train_on_batch(X, Y)[0] < before[0]
    alone = linear(metrics=())
    assert isinstance(alone.train_on_batch(X, Y), float)
    assert isinstance(alone.evaluate(X, Y), float)


@pytest.mark.parametrize("size", [ROWS, ROWS + 1, 10**6])
def test_a_batch_may_be_larger_than_the_data(backend, size):
    model, other = linear(), linear()
    history = model.fit(X, Y, batch_size=size, epochs=2, verbose=0, shuffle=False).history
    for _ in range(2):
        other.train_on_batch(X, Y)
    assert same_bits(model, other)
    assert model.optimizer.iterations == len(history["loss"]) == 2


def test_every_row_is_taken_once(backend):
    layer = fn.layers.Dense(1, use_bias=False, kernel_initializer="zeros", input_shape=(ROWS,))
    model = fn.Sequential([layer], dtype="float64")
    model.compile(fn.optimizers.SGD(0.5), "mse")
    model.fit(np.eye(ROWS), np.ones(ROWS), batch_size=7, verbose=0)
    # One weight for each row, and one step of 1 / (rows of the batch): seven batches of 7, and one of 1.
    np.testing.assert_allclose(sorted(model.get_weights()[0][:, 0]), [1 / 7] * 49 + [1.0])


def test_batch_callbacks_get_every_batch(backend):
    log = Log()
    history = linear().fit(X, Y, batch_size=16, epochs=2, verbose=0, callbacks=log)
    batches = [(hook, batch) for batch in range(4) for hook in ("begin", "end")]
    assert log.calls == [*batches, ("epoch", 0), *batches, ("epoch", 1)]
    assert log.logs[3] == {name: values[-1] for name, values in history.history.items()}
    assert len({w[0].tobytes() for w in log.weights}) == 8
    assert log.params["steps"] == 4


def test_a_rate_set_before_a_batch_counts_in_that_batch(backend):
    class Steps(cb.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.1 / (1 + batch)

    model = linear()
    model.fit(X, Y, batch_size=16, epochs=1, verbose=0, callbacks=[Steps()])
    schedule = fn.schedules.InverseTimeDecay(0.1, 1, 1.0)
    other = linear(optimizer=fn.optimizers.SGD(schedule))
    other.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    assert same_bits(model, other)


def test_training_within_training_is_refused(backend):
    class Greedy(cb.Callback):
        def on_train_batch_end(self, batch, logs=None):
            running = self.model.history
            for train in (self.model.fit, self.model.train_on_batch):
                with pytest.raises(RuntimeError, match="the model is being trained"):
                    train(X, Y)
            assert self.model.history is running

        def on_epoch_end(self, epoch, logs=None):
            self.model.train_on_batch(X, Y)

    model = linear()
    model.fit(X, Y, batch_size=25, epochs=2, verbose=0, callbacks=[Greedy()])
    assert model.optimizer.iterations == 2 * (2 + 1)
    model.fit(X, Y, verbose=0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_keyboard_stops_training_and_the_model_trains_on(backend):
    def interrupt():
        while not model.optimizer.iterations:
            time.sleep(0.01)
        while not stopped.is_set():
            _thread.interrupt_main()
            stopped.wait(5)  # one that comes as the simulated library calls Python is lost: C cannot pass it on

    model, stopped = linear(), threading.Event()
    keyboard = threading.Thread(target=interrupt)
    keyboard.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(np.repeat(X, 2000, axis=0), np.repeat(Y, 2000, axis=0), batch_size=1, epochs=10**6, verbose=0)
    stopped.set()
    keyboard.join()
    steps = model.optimizer.iterations
    model.fit(X, Y, batch_size=25, verbose=0)
    assert model.optimizer.iterations == steps + 2


def test_a_stop_that_was_asked_for_before_an_epoch_is_one_batch_long(backend):
    stop = cb.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(model, "stop_training", epoch == 1))
    model = linear()
    history = model.fit(X, Y, batch_size=5, epochs=4, verbose=0, callbacks=[stop])
    assert history.epoch == [0, 1]
    assert model.optimizer.iterations == 10 + 1


def test_stopping_in_the_middle_of_an_epoch(backend):
    class Stop(Log):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            self.model.stop_training = batch == 1

    stop, model = Stop(), linear()
    history = model.fit(X, Y, batch_size=16, epochs=5, verbose=0, callbacks=[stop])
    assert stop.calls == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1), ("epoch", 0)]
    assert history.epoch == [0]
    assert history.history["loss"] == [stop.logs[1]["loss"]]
    model.fit(X, Y, batch_size=16, verbose=0)
    assert model.optimizer.iterations == 2 + 4


# --- epochs and validation ---


def test_validation_takes_the_last_rows_before_shuffling(backend):
    split, given = linear(), linear()
    options = {"batch_size": 8, "epochs": 3, "verbose": 0}
    first = split.fit(X, Y, validation_split=0.2, **options).history
    second = given.fit(X[:40], Y[:40], validation_data=(X[40:], Y[40:]), **options).history
    assert list(first) == ["loss", "mae", "val_loss", "val_mae"]
    assert first == second
    assert same_bits(split, given)
    wanted = split.evaluate(X[40:], Y[40:], return_dict=True)
    assert first["val_loss"][-1] == wanted["loss"]
    assert first["val_mae"][-1] == wanted["mae"]


def test_given_validation_data_win_over_a_split(backend):
    history = linear().fit(X, Y, verbose=0, validation_split=0.5, validation_data=(X[:5], Y[:5]))
    assert history.params["steps"] == 2
    assert "val_loss" in history.history


def test_validation_now_and_then(backend):
    history = linear().fit(X, Y, epochs=7, verbose=0, validation_split=0.2, validation_freq=3, validation_batch_size=3)
    assert [len(values) for values in history.history.values()] == [7, 7, 2, 2]


def test_epochs_are_numbered_from_the_initial_one(backend):
    log, model = Log(), linear()
    history = model.fit(X, Y, epochs=5, initial_epoch=3, verbose=0, callbacks=[log])
    assert history.epoch == [3, 4]
    assert [call for call in log.calls if call[0] == "epoch"] == [("epoch", 3), ("epoch", 4)]
    assert model.epochs_trained == 2
    assert model.fit(X, Y, epochs=2, initial_epoch=2, verbose=0).epoch == []


def test_what_fit_prints(backend, capsys):
    model = linear()
    model.fit(X, Y, epochs=2, verbose=0)
    model.evaluate(X, Y)
    model.predict(X)
    assert capsys.readouterr().out == ""
    model.fit(X, Y, epochs=2, verbose=2, validation_split=0.2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
    assert all(f"{name}: " in line for line in lines for name in ("loss", "mae", "val_loss", "val_mae"))
    model.evaluate(X, Y, verbose=2)
    assert "loss: " in capsys.readouterr().out


# --- callbacks, end to end ---


def test_early_stopping_brings_the_best_weights_back(backend):
    model = classifier(fn.optimizers.SGD(1.5))
    log = Log()
    stopper = cb.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)
    history = model.fit(
        X, LABELS, batch_size=10, epochs=100, verbose=0, validation_split=0.4, callbacks=[stopper, log]
    ).history
    best = int(np.argmin(history["val_loss"]))
    assert len(history["loss"]) == best + 4 < 100
    for restored, then in zip(model.get_weights(), log.weights[3 * best + 2], strict=True):
        np.testing.assert_array_equal(restored, then)
    assert model.evaluate(X[30:], LABELS[30:])[0] == history["val_loss"][best]


def test_a_scheduled_rate_is_used_and_logged(backend):
    model, other = linear(), linear(optimizer=fn.optimizers.SGD(fn.schedules.PiecewiseConstantDecay([3], [0.1, 0.01])))
    scheduler = cb.LearningRateScheduler(lambda epoch: 0.1 if epoch == 0 else 0.01)
    history = model.fit(X, Y, batch_size=16, epochs=2, verbose=0, callbacks=[scheduler]).history
    other.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    assert history["learning_rate"] == [0.1, 0.01]
    assert same_bits(model, other)


def test_checkpoints_hold_the_best_model(backend, tmp_path):
    path = tmp_path / "best.safetensors"
    model = classifier(fn.optimizers.SGD(1.5))
    checkpoint = cb.ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
    history = model.fit(X, LABELS, epochs=12, verbose=0, validation_split=0.4, callbacks=[checkpoint]).history
    loaded = fn.load_model(path)
    assert loaded.evaluate(X[30:], LABELS[30:])[0] == min(history["val_loss"])
    assert loaded.epochs_trained == int(np.argmin(history["val_loss"])) + 1


def test_a_callback_that_fails_leaves_a_model_that_trains(backend):
    ended = []

    class Fails(cb.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt if batch == 1 else ZeroDivisionError

        def on_train_end(self, logs=None):
            ended.append(True)

    model, other = linear(), linear()
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, batch_size=16, verbose=0, callbacks=[Fails()])
    assert ended == [True]
    assert model.optimizer.iterations == 1
    assert model.epochs_trained == 0
    model.set_weights(other.get_weights())
    for m in (model, other):
        m.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    assert same_bits(model, other)


def test_a_batch_is_of_32_rows_unless_told():
    model = linear()
    steps = []
    log = fn.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    model.fit(X[:40], Y[:40], batch_size=None, verbose=0, callbacks=[log])
    assert steps == [0, 1]


def test_targets_in_another_layout_are_refused(backend):
    model = fn.Sequential([fn.layers.Dense(6, input_shape=X.shape[1:])])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"y must have shape \(N, 6\), got"):
        model.fit(X, np.zeros((len(X), 3, 2)), verbose=0)
    model.fit(X, np.zeros((len(X), 6, 1)), verbose=0)


def test_evaluate_tells_how_many_steps_it_took(capsys):
    linear().evaluate(X, Y, batch_size=16, verbose=2)
    count = -(-len(X) // 16)
    assert f"{count}/{count} - " in capsys.readouterr().out
