"""What users try that once gave wrong numbers, or worse, without a word: it works now, or is refused."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import callbacks as cb
from fastnn import losses, regularizers, schedules
from fastnn.layers import Dense, Dropout, Flatten

rng = np.random.default_rng(5)
X, LABELS = rng.standard_normal((48, 6)).astype(np.float32), rng.integers(0, 3, 48)
BITS = (LABELS > 0).astype(np.float32)


def classifier(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=None, **options):
    model = fn.Sequential([Dense(5, "tanh", input_shape=(6,)), Dense(3, "softmax")], seed=1)
    model.compile(optimizer, loss, metrics, **options)
    return model


def weights(model):
    return b"".join(w.tobytes() for w in model.get_weights())


def test_what_was_captured_cannot_be_changed_behind_its_back(backend):
    model = classifier(metrics=["accuracy"])
    model.fit(X, LABELS, verbose=0)
    before = model.predict(X), model.evaluate(X, LABELS)
    model.layers.pop()
    model.metrics.clear()
    for name in ("layers", "metrics", "loss", "optimizer"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)
    assert np.array_equal(model.predict(X), before[0])
    assert model.evaluate(X, LABELS) == before[1]


def test_another_thread_may_not_train_between_two_epochs(backend):
    model, refused = classifier(), []

    def train():
        try:
            model.fit(X, LABELS, verbose=0)
        except RuntimeError as error:
            refused.append(str(error))

    def at_epoch_end(epoch, logs):
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()

    model.fit(X, LABELS, epochs=2, verbose=0, callbacks=[cb.LambdaCallback(on_epoch_end=at_epoch_end)])
    assert len(refused) == 2
    assert all("the model is being trained" in message for message in refused)
    train()
    assert len(refused) == 2


def test_a_fit_within_a_fit_leaves_the_guards_of_the_outer_one(backend):
    class Nested(cb.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.fit(X[:8], LABELS[:8], verbose=0)
            with pytest.raises(RuntimeError, match="the model is in fit: it must not be compiled"):
                self.model.compile("sgd", "mse")

    model = classifier()
    model.fit(X, LABELS, epochs=2, verbose=0, callbacks=[Nested()])
    model.compile("sgd", "categorical_crossentropy")


class Tenfold(losses.BinaryCrossentropy):
    """Ten times the crossentropy."""

    def compute(self, ops, y, target, values, dy, scale):
        ops.binary_crossentropy(y, target, values, dy, scale)
        values *= 10
        if dy is not None:
            dy *= 10


@pytest.mark.filterwarnings("ignore:.*runs without capture")
def test_a_loss_that_extends_a_crossentropy_is_the_one_that_is_used(backend):
    values = {}
    for loss in (losses.BinaryCrossentropy(), Tenfold()):
        model = fn.Sequential([Dense(1, "sigmoid", input_shape=(6,))], seed=1)
        model.compile("sgd", loss)
        values[type(loss)] = model.evaluate(X, BITS)
    assert values[Tenfold] == pytest.approx(10 * values[losses.BinaryCrossentropy], rel=1e-5)
    assert Tenfold()(BITS, np.full(48, 0.3)) == pytest.approx(10 * losses.BinaryCrossentropy()(BITS, np.full(48, 0.3)))
    assert not Tenfold(from_logits=True).takes_logits
    assert losses.BinaryCrossentropy(from_logits=True).takes_logits


@pytest.mark.parametrize("run", ["model(X)", "model.predict(X)", "model.evaluate(X, LABELS)"])
def test_a_metric_may_not_run_the_model(backend, run):
    def measure(y_true, y_pred):
        eval(run, {"model": model, "X": X, "LABELS": LABELS})
        return 0.0

    model = classifier(metrics=[measure], run_eagerly=True)
    with pytest.raises(RuntimeError, match="must not run the model meanwhile"):
        model.fit(X, LABELS, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, LABELS, verbose=0)


@pytest.mark.parametrize(
    ("result", "found"),
    [(lambda y: None, "None"), (lambda y: y[:, :1], r"shape \(32, 1\)"), (lambda y: y[:2, 0], r"shape \(2,\)")],
)
def test_what_a_metric_gives_back_is_looked_at(backend, result, found):
    def mine(y_true, y_pred):
        return result(y_pred)

    model = classifier(metrics=[mine], run_eagerly=True)
    with pytest.raises(ValueError, match=f"metric 'mine' must return a number, or one .* rows, got {found}"):
        model.fit(X, LABELS, batch_size=32, verbose=0)


def test_a_metric_cannot_change_what_it_measures(backend):
    def rounding(y_true, y_pred):
        y_pred[...] = 0
        return 0.0

    with pytest.raises(ValueError, match="read-only"):
        classifier(metrics=[rounding], run_eagerly=True).fit(X, LABELS, verbose=0)


def test_a_loss_that_writes_nothing_is_noticed(backend):
    class Returning(losses.Loss):
        def compute(self, ops, y, target, values, dy, scale):
            return ((y - target) ** 2).mean(axis=1)

    model = fn.Sequential([Dense(1, input_shape=(6,))])
    model.compile("sgd", Returning(), run_eagerly=True)
    with pytest.raises(fn.NonFiniteError, match="the loss is NaN"):
        model.fit(X, BITS, verbose=0)


def test_a_regularizer_that_would_be_ignored_is_refused():
    with pytest.raises(TypeError, match="Mine overrides __call__, which training does not call"):

        class Mine(regularizers.Regularizer):
            def __call__(self, w):
                return 77.0


@pytest.mark.parametrize("rates", [lambda t: -t - 1, lambda t: t * np.nan, lambda t: t[:1], lambda t: [[1.0]] * len(t)])
def test_a_schedule_that_gives_no_rates_is_refused(rates):
    class Mine(schedules.LearningRateSchedule):
        def rates(self, steps):
            return rates(steps)

    with pytest.raises(ValueError, match="must return 3 finite rates of at least 0, one for each step"):
        Mine()(np.arange(3))


def test_a_schedule_may_give_one_rate_or_a_list():
    class One(schedules.LearningRateSchedule):
        def rates(self, steps):
            return 0.5

    class Listed(schedules.LearningRateSchedule):
        def rates(self, steps):
            return [0.1 * step for step in steps]

    assert One()(np.arange(3)).tolist() == [0.5, 0.5, 0.5]
    assert Listed()(2) == pytest.approx(0.2)


def test_a_schedule_goes_on_where_other_layers_are_trained(backend):
    model = classifier(optimizer=fn.optimizers.Adam(schedules.ExponentialDecay(0.1, 1, 0.8)))
    model.fit(X, LABELS, batch_size=12, epochs=5, verbose=0)
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(X, LABELS, batch_size=48, verbose=0)
    assert model.optimizer.iterations == 21
    change = max(abs(a - b).max() for a, b in zip(before, model.get_weights(), strict=True))
    assert change == pytest.approx(0.1 * 0.8**20, rel=0.01)  # Adam's first step is of one rate


def test_iterations_that_are_set_back_begin_adams_corrections_anew():
    optimizer, fresh = fn.optimizers.Adam(), fn.optimizers.Adam()
    optimizer.iterations = 20
    optimizer.reset()
    assert np.array_equal(optimizer.table(20, 30)[:, 1:], fresh.table(0, 30)[:, 1:])
    assert np.array_equal(optimizer.table(0, 30), fresh.table(0, 30))
    assert np.array_equal(optimizer.table(25, 5), fresh.table(25, 5))


def test_a_model_saved_after_other_layers_were_trained_goes_on_with_the_same_bits(backend, tmp_path):
    model = classifier(optimizer="adam")
    model.fit(X, LABELS, batch_size=12, verbose=0)
    model.layers[0].trainable = False
    model.fit(X, LABELS, batch_size=12, verbose=0)
    model.save(tmp_path / "model.safetensors")
    again = fn.load_model(tmp_path / "model.safetensors")
    assert (again.optimizer.iterations, again.optimizer.began) == (8, 4)
    for each in (model, again):
        each.fit(X, LABELS, batch_size=12, verbose=0)
    assert weights(again) == weights(model)


def test_a_dropout_layer_of_a_second_model_draws_the_same_masks_in_the_first(backend):
    def trained(shared):
        dropout = Dropout(0.5)
        model = fn.Sequential([Dense(9, input_shape=(6,)), dropout, Dense(3, "softmax")], seed=1)
        model.compile("sgd", "sparse_categorical_crossentropy")
        if shared:
            fn.Sequential([dropout], seed=7).build((9,))
        model.fit(X, LABELS, verbose=0)
        return weights(model)

    assert trained(True) == trained(False)


def test_a_prediction_is_an_array_of_its_own(backend):
    x = X.copy()
    y = fn.Sequential([Flatten(input_shape=(6,))])(x)
    y[...] = 7
    assert np.array_equal(x, X)


def test_layers_on_their_own_begin_with_different_weights():
    one, other = Dense(4), Dense(4)
    one(X), other(X)
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


def test_weights_that_were_not_finite_before_are_told_apart(backend):
    model = classifier()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(fn.NonFiniteError, match="the weights were NaN or infinite before training"):
            train(X, LABELS)


def test_what_a_layer_or_a_loss_must_define_is_named():
    class Called(fn.layers.Layer):
        def call(self, x):
            return x

    class Bare(losses.Loss):
        def call(self, y_true, y_pred):
            return y_true - y_pred

    with pytest.raises(NotImplementedError, match=r"Called must define forward\(ops, x, training\)"):
        Called()(X)
    with pytest.raises(NotImplementedError, match=r"Bare must define compute\(ops, y, target, values, dy, scale\)"):
        Bare()(BITS, BITS)


def test_a_weight_may_have_the_shape_of_a_list_or_a_number():
    class Scaled(fn.layers.Layer):
        def build(self, input_shape):
            self.add_weight("scale", [6], "ones")
            self.add_weight("offset", 6, "zeros")

        def forward(self, ops, x, training):
            return x * self.parameters[0].value + self.parameters[1].value

    layer = Scaled()
    assert np.array_equal(layer(X), X)
    assert [p.shape for p in layer.parameters] == [(6,), (6,)]
