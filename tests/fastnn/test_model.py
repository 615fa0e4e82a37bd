"""Sequential has the face that Keras' users know: its lessons run unchanged, and its numbers are theirs."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn as keras
from fastnn import backends

rng = np.random.default_rng(4)
X = rng.standard_normal((50, 6)).astype(np.float32)
Y = rng.integers(0, 3, 50)
Dense, Sequential = keras.layers.Dense, keras.Sequential


def summary(model):
    lines = []
    model.summary(print_fn=lines.append)
    return "\n".join(lines)


def classifier(**options):
    model = Sequential([Dense(8, "relu", input_shape=(6,)), Dense(3, "softmax")], seed=1, **options)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# --- the lessons ---


def test_the_script_of_the_lessons(backend, capsys):
    x, y = rng.random((200, 784)), rng.integers(0, 10, 200)

    m = keras.Sequential()
    m.add(keras.layers.Dense(100, activation="sigmoid", input_shape=(784,)))
    m.add(keras.layers.Dense(10, activation="softmax"))
    m.summary()
    m.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.1), loss="sparse_categorical_crossentropy", metrics="accuracy"
    )
    history = m.fit(x, y, epochs=2)

    text = capsys.readouterr().out
    for words in ("dense (Dense)", "dense_1 (Dense)", "(None, 100)", "(None, 10)", "78,500", "1,010", "79,510"):
        assert words in text
    assert text.count("Epoch 1/2 - ") == text.count("Epoch 2/2 - ") == 1
    assert list(history.history) == ["loss", "accuracy"]
    assert [len(values) for values in history.history.values()] == [2, 2]
    assert m.history is history
    loss, accuracy = m.evaluate(x, y)
    assert 0 < loss < 10
    assert 0 <= accuracy <= 1
    assert m.predict(x[:5]).shape == (5, 10)
    np.testing.assert_allclose(m.predict(x).sum(axis=1), 1, rtol=1e-5)


def test_images_are_flattened(backend):
    images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, 4, 40).astype(np.uint8)
    m = Sequential([keras.layers.Flatten(input_shape=(8, 8)), Dense(9, "relu"), Dense(4, "softmax")], seed=2)
    m.compile("Adam", "sparse_categorical_crossentropy", metrics="accuracy")
    m.fit(images / 255.0, labels, epochs=2, verbose=0)
    assert [layer.output_shape for layer in m.layers] == [(64,), (9,), (4,)]
    flat = Sequential([Dense(9, "relu", input_shape=(64,)), Dense(4, "softmax")])
    flat.set_weights(m.get_weights())
    assert flat.predict(images.reshape(40, 64)).tobytes() == m.predict(images).tobytes()


def test_names_shapes_and_counts():
    m = Sequential([keras.Input((5, 4)), Dense(3), keras.layers.Flatten(), keras.layers.Dropout(0.5), Dense(2)])
    assert [layer.name for layer in m.layers] == ["dense", "flatten", "dropout", "dense_1"]
    assert [layer.output_shape for layer in m.layers] == [(5, 3), (15,), (15,), (2,)]
    assert m.input_shape == (5, 4)
    assert m.output_shape == (2,)
    assert m.count_params() == 4 * 3 + 3 + 15 * 2 + 2
    assert "(None, 5, 3)" in summary(m)
    assert Sequential([Dense(1, name="mine"), Dense(1)]).layers[0].name == "mine"


def test_names_of_several_words_are_those_of_keras():
    class BatchNormalization(keras.layers.Layer):
        pass

    class MaxPooling2D(keras.layers.Layer):
        pass

    m = Sequential([BatchNormalization(), MaxPooling2D(), BatchNormalization()])
    assert [layer.name for layer in m.layers] == ["batch_normalization", "max_pooling2d", "batch_normalization_1"]


def test_the_summary_before_and_after_building():
    m = Sequential([Dense(3), Dense(2)], name="small", backend="numpy", seed=5, dtype="float64")
    assert "?" in summary(m)
    assert "Total" not in summary(m)
    m.build((4,))
    m.layers[0].trainable = False
    text = summary(m)
    assert 'Model: "small"' in text
    assert " Total params: 23 (0.18 KB)\n Trainable params: 8\n Non-trainable params: 15\n" in text
    assert "Backend: numpy, float64, seed 5" in text
    assert 'Model: "sequential"' in summary(Sequential())


def test_the_repr_tells_what_it_is():
    assert repr(classifier(backend="numpy")) == "<Sequential 'sequential': 2 layers, 6 inputs, backend numpy>"
    assert "? inputs" in repr(Sequential([Dense(3)], backend="numpy"))


# --- building ---


def test_the_first_data_build_the_model(backend):
    for use in ("fit", "evaluate", "train_on_batch"):
        m = Sequential([Dense(3, "softmax")])
        m.compile("sgd", "sparse_categorical_crossentropy")
        getattr(m, use)(X, Y)
        assert m.input_shape == (6,)
    m = Sequential([Dense(3, "softmax")])
    assert m.predict(X).shape == (50, 3)
    m = Sequential([Dense(3, "softmax")])
    assert m(X).shape == (50, 3)


def test_it_does_not_matter_when_a_model_is_built():
    ways = [
        Sequential([Dense(4, input_shape=(6,)), Dense(3)], seed=9),
        Sequential([keras.Input((6,)), Dense(4), Dense(3)], seed=9),
        Sequential([keras.Input(shape=6), Dense(4), Dense(3)], seed=9),
        Sequential(seed=9),
        Sequential([Dense(4), Dense(3)], seed=9),
    ]
    ways[3].add(Dense(4, input_shape=6))
    ways[3].add(Dense(3))
    ways[4].build((6,))
    assert len({b"".join(w.tobytes() for w in m.get_weights()) for m in ways}) == 1
    assert [[w.shape for w in m.get_weights()] for m in ways] == [[(6, 4), (4,), (4, 3), (3,)]] * 5


def test_a_layer_may_be_added_later(backend):
    m = classifier()
    m.fit(X, Y, verbose=0)
    m.add(Dense(3, "softmax"))
    assert m.predict(X).shape == (50, 3)
    m.fit(X, Y, verbose=0)
    assert m.predict(X).shape == (50, 3)


def test_layers_of_another_model_share_their_weights(backend):
    m = classifier()
    m.fit(X, Y, verbose=0)
    features = Sequential(m.layers[:1])
    before = features.predict(X)
    np.testing.assert_allclose(before, np.maximum(X @ m.get_weights()[0] + m.get_weights()[1], 0), rtol=1e-5, atol=1e-6)
    m.fit(X, Y, epochs=3, verbose=0)
    assert (features.predict(X) != before).any()


# --- weights ---


def test_weights_are_copies_and_come_back(backend):
    m = classifier()
    weights = m.get_weights()
    m.get_weights()[0][...] = 7
    m.fit(X, Y, verbose=0)
    assert any((a != b).any() for a, b in zip(weights, m.get_weights(), strict=True))
    m.set_weights(weights)
    assert all((a == b).all() for a, b in zip(weights, m.get_weights(), strict=True))
    m.set_weights([np.zeros(w.shape, np.int64) for w in weights])
    np.testing.assert_allclose(m.predict(X), 1 / 3, rtol=1e-6)


def test_new_weights_count_at_once_in_what_was_captured(backend):
    m, other = classifier(), classifier()
    m.fit(X, Y, epochs=2, verbose=0)
    m.predict(X)
    m.set_weights(other.get_weights())
    assert m.predict(X).tobytes() == other.predict(X).tobytes()
    assert m.evaluate(X, Y) == other.evaluate(X, Y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_arrays_have_the_models_dtype(backend, dtype):
    m = classifier(dtype=dtype)
    m.fit(X, Y, verbose=0)
    assert {w.dtype for w in m.get_weights()} == {np.dtype(dtype)}
    assert m.predict(X).dtype == m(X).dtype == np.dtype(dtype)


# --- what is trained ---


def test_frozen_layers_stay_as_they_are(backend):
    frozen = [Dense(5, "relu"), Dense(4, "relu")]
    m = Sequential([frozen[0], Dense(5), frozen[1], Dense(3, "softmax")], seed=3)
    for layer in frozen:
        layer.trainable = False
    m.compile("adam", "sparse_categorical_crossentropy")
    m.build((6,))
    before = m.get_weights()
    m.fit(X, Y, epochs=2, verbose=0)
    changed = [(a != b).any() for a, b in zip(before, m.get_weights(), strict=True)]
    assert changed == [False, False, True, True, False, False, True, True]
    assert len(m.trainable_parameters) == len(m.optimizer.slots) == 4


def test_freezing_and_thawing_between_fits_counts(backend):
    m = classifier()
    m.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    m.fit(X, Y, verbose=0)
    m.layers[0].trainable = False
    before = m.get_weights()
    m.fit(X, Y, verbose=0)
    changed = [(a != b).any() for a, b in zip(before, m.get_weights(), strict=True)]
    assert changed == [False, False, True, True]
    m.layers[0].trainable, m.layers[1].trainable = True, False
    before = m.get_weights()
    m.train_on_batch(X, Y)
    changed = [(a != b).any() for a, b in zip(before, m.get_weights(), strict=True)]
    assert changed == [True, True, False, False]


def test_an_optimizer_that_was_reset_begins_anew(backend):
    one, other = (classifier() for _ in range(2))
    for m in (one, other):
        m.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    one.fit(X, Y, verbose=0, shuffle=False)
    other.set_weights(one.get_weights())
    one.optimizer.reset()
    for m in (one, other):
        m.fit(X, Y, verbose=0, shuffle=False)
    assert [w.tobytes() for w in one.get_weights()] == [w.tobytes() for w in other.get_weights()]


def test_a_model_without_anything_to_train_still_measures(backend):
    m = classifier()
    for layer in m.layers:
        layer.trainable = False
    before = m.get_weights()
    history = m.fit(X, Y, epochs=2, verbose=0).history
    assert all((a == b).all() for a, b in zip(before, m.get_weights(), strict=True))
    assert history["loss"][0] == pytest.approx(history["loss"][1]) == pytest.approx(m.evaluate(X, Y)[0], rel=1e-5)


def test_penalties_are_part_of_the_loss(backend):
    plain = Sequential([Dense(3, kernel_initializer="ones", input_shape=(6,))], dtype="float64")
    heavy = Sequential(
        [Dense(3, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L1L2(0.5, 0.25), input_shape=(6,))],
        dtype="float64",
    )
    for m in (plain, heavy):
        m.compile("sgd", "mse", metrics=["mse"])
    losses = [m.evaluate(X, X[:, :3], batch_size=16, return_dict=True) for m in (plain, heavy)]
    assert losses[1]["loss"] - losses[0]["loss"] == pytest.approx(18 * 0.75)
    assert losses[0]["mse"] == losses[1]["mse"] == pytest.approx(losses[0]["loss"])


# --- three axes ---


@pytest.mark.parametrize("loss", ["mse", "mae", "binary_crossentropy"])
def test_dense_works_along_the_last_axis(backend, loss):
    x = rng.standard_normal((20, 4, 6))
    y = rng.integers(0, 2, (20, 4, 2)).astype(float)
    m = Sequential([Dense(5, "tanh"), Dense(2, "sigmoid")], seed=6, dtype="float64")
    m.compile("sgd", loss)
    m.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
    flat = Sequential([Dense(5, "tanh"), Dense(2, "sigmoid")], seed=6, dtype="float64")
    flat.compile("sgd", loss)
    flat.fit(x.reshape(80, 6), y.reshape(80, 2), batch_size=32, shuffle=False, epochs=2, verbose=0)
    for a, b in zip(m.get_weights(), flat.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    np.testing.assert_allclose(m.predict(x).reshape(80, 2), flat.predict(x.reshape(80, 6)), rtol=1e-9)
    assert m.evaluate(x, y) == pytest.approx(flat.evaluate(x.reshape(80, 6), y.reshape(80, 2)))


# --- logits ---


@pytest.mark.parametrize(
    "head, loss, targets",
    [
        ("softmax", "sparse_categorical_crossentropy", Y),
        ("softmax", "categorical_crossentropy", keras.utils.to_categorical(Y, 3)),
        ("sigmoid", "binary_crossentropy", keras.utils.to_categorical(Y, 3)),
    ],
)
def test_probabilities_come_out_though_the_loss_takes_logits(backend, head, loss, targets):
    fused, apart = (
        Sequential([Dense(3, input_shape=(6,)), keras.layers.Activation(head), *end], seed=1, dtype="float64")
        for end in ([], [keras.layers.Flatten()])
    )
    for m in (fused, apart):
        m.compile("sgd", loss)
    losses = [m.fit(X, targets, epochs=3, verbose=0).history["loss"] for m in (fused, apart)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    np.testing.assert_allclose(fused.predict(X), apart.predict(X), rtol=1e-6)
    assert fused(X).tobytes() == fused.predict(X).tobytes()
    assert fused.fuses
    assert not apart.fuses


def test_a_saturated_model_keeps_its_gradient(backend):
    m = Sequential([Dense(1, "sigmoid", kernel_initializer="ones", input_shape=(1,))])
    m.compile(keras.optimizers.SGD(1.0), "binary_crossentropy")
    loss = m.fit(np.full((4, 1), 1000.0), np.zeros(4), verbose=0).history["loss"][0]
    assert loss == 1000
    assert m.get_weights()[0][0, 0] == pytest.approx(1 - 1000)


def test_another_loss_takes_the_probabilities(backend):
    m = classifier()
    m.fit(X, Y, verbose=0)
    before = m.predict(X)
    m.compile("sgd", "mse")
    assert not m.fuses
    np.testing.assert_array_equal(m.predict(X), before)
    wanted = ((before - keras.utils.to_categorical(Y, 3)) ** 2).mean()
    assert m.evaluate(X, keras.utils.to_categorical(Y, 3)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.skipif(not backends.available()["numba"], reason="numba is not installed")
def test_the_backend_in_force_when_a_model_is_made_is_its_own():
    with keras.backend("numpy"):
        inner = Sequential()
        with keras.backend("numba"):
            assert Sequential().backend.name == "numba"
        assert Sequential().backend.name == "numpy"
    with keras.backend("numba"):
        assert inner.backend.name == "numpy"
        assert Sequential(backend="NumPy").backend.name == "numpy"


def test_a_layer_that_is_the_last_of_one_model_keeps_its_activation_in_another(backend):
    head = Dense(3, "softmax", input_shape=(6,))
    one, other = Sequential([head], seed=1), Sequential([head, Dense(2)], seed=1)
    before, probabilities = other.predict(X[:5]), one.predict(X)
    one.compile("sgd", "sparse_categorical_crossentropy")
    np.testing.assert_allclose(other(X[:5]), before, rtol=1e-5)
    np.testing.assert_allclose(other.predict(X[:7])[:5], before, rtol=1e-5)
    assert np.array_equal(one.predict(X), probabilities)
    Sequential(one.layers)
    one.set_weights([1000 * w for w in one.get_weights()])
    assert one.evaluate(X, Y) > -np.log(1e-7)  # from logits: nothing is clipped


def test_layers_of_a_model_that_was_refused_are_as_they_were():
    layer = Dense(3, input_shape=(6,))
    with pytest.raises(TypeError, match="layer must be a layer"):
        Sequential([layer, "dense"], seed=5)
    with pytest.raises(ValueError, match="is in this model already"):
        Sequential([layer, layer], seed=5)
    fresh = Sequential([Dense(3, input_shape=(6,))], seed=1)
    assert np.array_equal(Sequential([layer], seed=1).get_weights()[0], fresh.get_weights()[0])


def test_adam_takes_first_steps_again_when_other_layers_are_trained(backend):
    layers = [Dense(1, use_bias=False, kernel_initializer=i, input_shape=(1,)) for i in ("zeros", "ones")]
    m = Sequential(layers)
    m.compile(keras.optimizers.Adam(1e-3), "mae")
    x, y = np.ones((4, 1)), np.full((4, 1), 1e3)
    m.layers[0].trainable = False
    m.fit(x, y, batch_size=1, epochs=5, verbose=0)
    m.layers[0].trainable = True
    m.train_on_batch(x, y)
    assert m.get_weights()[0][0, 0] == pytest.approx(1e-3, rel=1e-4)


def test_the_penalty_is_of_what_is_trained_now(backend):
    m = Sequential([Dense(1, kernel_regularizer="l2", input_shape=(6,))], seed=1)
    m.compile("sgd", "mse")
    with_penalty = m.evaluate(X, Y)
    m.trainable = False
    assert not m.trainable
    assert m.evaluate(X, Y) == pytest.approx(m.evaluate(X, Y, batch_size=7), rel=1e-5)
    assert m.evaluate(X, Y) < with_penalty


def test_the_old_name_of_the_learning_rate_is_not_ignored():
    optimizer = keras.optimizers.SGD(0.1)
    with pytest.raises(AttributeError, match="learning_rate"):
        optimizer.lr = 0.5
    with pytest.raises(AttributeError, match="learning_rate"):
        _ = optimizer.lr
