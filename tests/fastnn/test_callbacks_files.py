"""Callbacks that write files: checkpoints when they should be, logs that are complete at every epoch."""

from __future__ import annotations

import csv
import math

import pytest

from fastnn import callbacks as cb


class Model:
    """After epoch k (from 1) its weight is k, so what was saved tells the epoch it comes from."""

    def __init__(self):
        self.weight = 0
        self.saved = []

    def save(self, path):
        self.saved.append((path, self.weight))


def run(callbacks, epochs_logs, model=None):
    """Train over the given logs, one dict an epoch; return the model."""
    model = Model() if model is None else model
    hooks = cb.CallbackList(callbacks if isinstance(callbacks, list) else [callbacks], model, {})
    hooks.on_train_begin()
    for epoch, logs in enumerate(epochs_logs):
        hooks.on_epoch_begin(epoch)
        model.weight = epoch + 1
        hooks.on_epoch_end(epoch, logs)
    hooks.on_train_end()
    return model


def losses(*values, name="val_loss"):
    return [{"loss": 1.0, name: value} for value in values]


def test_checkpoint_after_every_epoch(tmp_path):
    path = tmp_path / "new" / "{epoch:02d}-{val_loss:.1f}.x"
    model = run(cb.ModelCheckpoint(path), losses(0.5, 0.25))
    assert model.saved == [(str(tmp_path / "new" / "01-0.5.x"), 1), (str(tmp_path / "new" / "02-0.2.x"), 2)]
    assert (tmp_path / "new").is_dir()


def test_checkpoint_of_the_best_only_over_two_fits(tmp_path, capsys):
    path = str(tmp_path / "best.x")
    save = cb.ModelCheckpoint(path, save_best_only=True, verbose=1)
    model = run(save, losses(3, 1, 2, math.nan, 0.5))
    assert model.saved == [(path, 1), (path, 2), (path, 5)]
    assert capsys.readouterr().out.splitlines()[-1] == f"Epoch 5: saved the model to {path}"
    assert run(save, losses(0.6, 0.4)).saved == [(path, 2)]
    best_accuracy = cb.ModelCheckpoint(path, monitor="accuracy", save_best_only=True)
    assert run(best_accuracy, losses(0.1, 0.3, 0.2, name="accuracy")).saved == [(path, 1), (path, 2)]


def test_a_failed_save_does_not_count_as_the_best(tmp_path):
    class Full(Model):
        def save(self, path):
            raise OSError("disk full")

    save = cb.ModelCheckpoint(tmp_path / "x", save_best_only=True)
    with pytest.raises(OSError, match="disk full"):
        run(save, losses(1.0), Full())
    assert save.best is None


@pytest.mark.parametrize("wrong", ["{}.x", "{epoch", "{epoch:02q}", "{0}", "epoch}"])
def test_checkpoint_refuses_a_malformed_path(wrong):
    with pytest.raises(ValueError, match="filepath must name its fields"):
        cb.ModelCheckpoint(wrong)


def test_checkpoint_names_unknown_fields_and_monitors(tmp_path):
    with pytest.raises(ValueError, match=r"unknown field in filepath 'val_los': did you mean 'val_loss'\?"):
        run(cb.ModelCheckpoint(tmp_path / "{val_los}"), losses(1))
    with pytest.raises(ValueError, match="unknown monitor 'acc'"):
        run(cb.ModelCheckpoint(tmp_path / "x", monitor="acc", save_best_only=True), losses(1))
    # Nothing is compared here, so the default monitor may be missing.
    assert len(run(cb.ModelCheckpoint(tmp_path / "x"), [{"loss": 1.0}]).saved) == 1


def read(path, delimiter=","):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_csv_is_complete_after_every_epoch_and_exact(tmp_path):
    path, seen = tmp_path / "log.csv", []
    third = 1 / 3
    look = cb.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(len(read(path))))
    run([cb.CSVLogger(path), look], losses(third, 1e-300))
    assert seen == [2, 3]
    assert read(path) == [["epoch", "loss", "val_loss"], ["0", "1.0", repr(third)], ["1", "1.0", "1e-300"]]


def test_csv_append_and_overwrite(tmp_path):
    path = tmp_path / "log.csv"
    run(cb.CSVLogger(path), losses(1, 2))
    run(cb.CSVLogger(path, append=True), losses(3))
    assert [row[2] for row in read(path)] == ["val_loss", "1", "2", "3"]
    run(cb.CSVLogger(path, separator=";"), losses(4))
    assert read(path, ";") == [["epoch", "loss", "val_loss"], ["0", "1.0", "4"]]
    run(cb.CSVLogger(tmp_path / "fresh.csv", append=True), losses(5))
    assert read(tmp_path / "fresh.csv") == [["epoch", "loss", "val_loss"], ["0", "1.0", "5"]]


def test_csv_grows_a_column_for_a_value_that_comes_up_later(tmp_path):
    path = tmp_path / "log.csv"
    run(cb.CSVLogger(path), [{"loss": 1.0}, {"loss": 2.0, "val_loss": 3.0}, {"loss": 4.0}])
    assert read(path)[0] == ["epoch", "loss", "val_loss"]
    assert read(path)[1:] == [["0", "1.0", ""], ["1", "2.0", "3.0"], ["2", "4.0", ""]]
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


def test_csv_fails_before_training_when_the_file_cannot_be_written(tmp_path):
    model = Model()
    with pytest.raises(FileNotFoundError):
        run(cb.CSVLogger(tmp_path / "missing" / "log.csv"), losses(1), model)
    assert model.weight == 0
    with pytest.raises(ValueError, match="separator must be one character"):
        cb.CSVLogger(tmp_path / "x", separator="::")
