"""What callbacks may do to the model that they are called for, and what a refused call leaves of it."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import callbacks as cb

rng = np.random.default_rng(8)
X, Y = rng.standard_normal((50, 6)), rng.standard_normal((50, 2))


def linear():
    model = fn.Sequential([fn.layers.Dense(2, input_shape=(6,))], seed=1)
    model.compile("sgd", "mse")
    return model


def test_a_hook_may_not_begin_the_pass_that_it_is_called_from(backend):
    model, calls = linear(), []

    class Nested(fn.callbacks.Callback):
        def on_test_begin(self, logs=None):
            calls.append(self.model.predict(X).shape)
            with pytest.raises(RuntimeError, match="a hook of evaluate must not call evaluate"):
                self.model.evaluate(X[:7], Y[:7])

        def on_predict_batch_end(self, batch, logs=None):
            with pytest.raises(RuntimeError, match="a hook of predict must not call predict"):
                self.model.predict(X)

    before, predicted = model.evaluate(X, Y), model.predict(X)
    assert model.evaluate(X, Y, callbacks=[Nested()]) == before
    assert np.array_equal(model.predict(X, callbacks=Nested()), predicted)
    assert calls == [predicted.shape]


def test_a_callback_may_not_change_what_is_in_fit(backend):
    changes = [
        lambda m: m.compile("sgd", "mse"),
        lambda m: m.add(fn.layers.Dense(1)),
        lambda m: m.to("numpy"),
    ]
    for hook in ("on_epoch_begin", "on_train_batch_end", "on_test_batch_end"):
        for change in changes:
            model = linear()
            callback = fn.callbacks.LambdaCallback(**{hook: lambda *_, m=model, change=change: change(m)})
            with pytest.raises(RuntimeError, match="the model is in fit: it must not"):
                model.fit(X, Y, batch_size=16, verbose=0, validation_split=0.5, callbacks=callback)
            change(model)  # afterwards it may


@pytest.mark.parametrize(
    "refused",
    [
        lambda m: m.fit(X, Y, validation_data=(X[:, :5], Y), verbose=0),
        lambda m: m.fit(X, Y, validation_data=5, verbose=0),
        lambda m: m.fit(X, Y, callbacks=[cb.EarlyStopping], verbose=0),
        lambda m: m.evaluate(X, Y, callbacks=3),
        lambda m: m.predict(X, callbacks=3),
    ],
)
def test_a_model_that_a_refused_call_has_built_is_as_it_was(refused):
    model = fn.Sequential([fn.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises((TypeError, ValueError)):
        refused(model)
    assert not model.built
    model.fit(X[:, :4], Y, verbose=0)


def test_a_copy_that_a_callback_makes_is_free(backend):
    model, copies = linear(), []
    log = cb.LambdaCallback(on_epoch_end=lambda epoch, logs: copies.append(copy.deepcopy(model)))
    model.fit(X, Y, verbose=0, callbacks=[log])
    copies[0].compile("adam", "mse")
    copies[0].fit(X, Y, verbose=0)
    assert not np.array_equal(copies[0].get_weights()[0], model.get_weights()[0])


def test_layers_may_be_unfrozen_between_epochs(backend):
    model = fn.Sequential([fn.layers.Dense(3, input_shape=X.shape[1:]), fn.layers.Dense(2)])
    model.compile("adam", "mse")
    model.layers[0].trainable = False
    seen = []

    class Unfreeze(fn.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(self.model.get_weights()[0])
            self.model.layers[0].trainable = epoch >= 1

    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Unfreeze()])
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], model.get_weights()[0])


def test_a_step_is_not_explained_while_the_model_trains(backend):
    class Explain(cb.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            with pytest.raises(RuntimeError, match="the model is being trained"):
                self.model.explain(8)

    model, twin = linear(), linear()
    model.fit(X, Y, verbose=0, callbacks=[Explain()])
    twin.fit(X, Y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))


def test_a_layer_called_by_another_thread_does_not_disturb_training(backend):
    def trained(disturb):
        model = fn.Sequential([fn.layers.Dense(9, "tanh", input_shape=(6,)), fn.layers.Dense(2)], seed=1)
        model.compile("sgd", "mse", run_eagerly=True)
        over = threading.Event()

        def call():
            while disturb and not over.is_set():
                model.layers[0](X[:3])

        thread = threading.Thread(target=call)
        thread.start()
        try:
            model.fit(X, Y, batch_size=5, epochs=20, verbose=0)
        finally:
            over.set()
            thread.join()
        return b"".join(w.tobytes() for w in model.get_weights())

    assert trained(True) == trained(False)
