"""Every hook reaches every callback, and what would never be called is refused."""

from __future__ import annotations

import pytest

from fastnn.callbacks import CSVLogger, EarlyStopping
from fastnn.hooks import HOOKS, Callback, CallbackList, LambdaCallback

MODEL = object()


def test_every_hook_reaches_every_callback_in_order_with_its_arguments():
    seen = []

    class Recorder(Callback):
        def __init__(self, tag):
            super().__init__()
            self.tag = tag

    for hook in HOOKS:
        setattr(Recorder, hook, lambda self, *args, hook=hook: seen.append((self.tag, hook, *args)))
    hooks = CallbackList([Recorder("a"), Recorder("b")], MODEL, {})
    assert len(HOOKS) == 14
    for hook in HOOKS:
        seen.clear()
        number = (3,) if "epoch" in hook or "batch" in hook else ()
        getattr(hooks, hook)(*number, logs={"loss": 2.0})
        assert seen == [("a", hook, *number, {"loss": 2.0}), ("b", hook, *number, {"loss": 2.0})]


def test_model_and_params_are_set_and_logs_are_shared():
    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["added"] = epoch

    first, second, seen = Adds(), Callback(), []
    second.on_epoch_end = lambda epoch, logs: seen.append(logs["added"])
    hooks = CallbackList([first, second], MODEL, {"epochs": 7})
    hooks.on_epoch_end(4)
    assert first.model is second.model is MODEL
    assert second.params == {"epochs": 7}
    assert seen == [4]


def test_wants_batches_only_when_a_batch_hook_is_overridden():
    class Quiet(Callback):
        def on_epoch_end(self, epoch, logs=None): ...

    class Batchwise(Callback):
        def on_train_batch_end(self, batch, logs=None): ...

    class Inherits(Batchwise):
        pass

    class Testwise(Callback):
        def on_test_batch_begin(self, batch, logs=None): ...

    def wants(*callbacks):
        hooks = CallbackList(callbacks, MODEL, {})
        return hooks.wants_batches, hooks.wants_test_batches, hooks.wants_predict_batches

    assert wants() == wants(Quiet(), EarlyStopping(), CSVLogger("x")) == (False, False, False)
    assert wants(Quiet(), Batchwise()) == wants(Inherits()) == (True, False, False)
    assert wants(Testwise()) == (False, True, False)
    assert wants(LambdaCallback(on_epoch_end=print)) == (False, False, False)
    assert wants(LambdaCallback(on_train_batch_begin=print)) == (True, False, False)
    assert wants(LambdaCallback(on_predict_batch_end=print)) == (False, False, True)


@pytest.mark.parametrize("wrong", [[5], [None], ["EarlyStopping"]])
def test_what_is_no_callback_is_refused(wrong):
    with pytest.raises(TypeError, match="callbacks must"):
        CallbackList(wrong, MODEL, {})


def test_a_class_and_an_old_hook_name_are_explained():
    class Old(Callback):
        def on_batch_end(self, batch, logs=None): ...

    with pytest.raises(TypeError, match="not the class"):
        CallbackList([EarlyStopping], MODEL, {})
    with pytest.raises(TypeError, match=r"Old\.on_batch_end would never be .* name it on_train_batch_end"):
        CallbackList([Old()], MODEL, {})


def test_lambda_callback():
    seen = []
    note = LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch), on_train_end=None)
    hooks = CallbackList([note], MODEL, {})
    for epoch in range(2):
        hooks.on_epoch_begin(epoch)
    hooks.on_train_end()
    assert seen == [0, 1]
    with pytest.raises(ValueError, match=r"unknown hook 'on_epoch_ends': did you mean 'on_epoch_end'\?"):
        LambdaCallback(on_epoch_ends=print)
    with pytest.raises(TypeError, match="on_epoch_end must be a function, got 3"):
        LambdaCallback(on_epoch_end=3)
