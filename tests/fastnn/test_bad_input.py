"""Every public entry refuses what it cannot use, in words that name the argument, before anything has changed."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import fastnn as fn
from fastnn import backends
from fastnn.capture import Eager

rng = np.random.default_rng(3)
X = rng.standard_normal((40, 4)).astype(np.float32)
Y = rng.integers(0, 3, 40)
NAN = np.where(np.arange(40) == 7, np.nan, 1.0)
layers, losses, metrics, optimizers, schedules = fn.layers, fn.losses, fn.metrics, fn.optimizers, fn.schedules
Dense, Sequential = layers.Dense, fn.Sequential


def network(backend, loss="sparse_categorical_crossentropy", head="softmax", dtype="float32"):
    model = Sequential(
        [Dense(5, "relu", input_shape=(4,)), layers.Dropout(0.2), Dense(3, head)], backend=backend, seed=1, dtype=dtype
    )
    model.compile(optimizers.Adam(0.01), loss)
    return model


def trained(backend):
    model = network(backend)
    model.fit(X, Y, batch_size=16, verbose=0)
    return model


def state(model):
    """All that a refused call must leave alone, as one comparable value."""
    arrays = model.get_weights() + [s for slots in model.optimizer.slots for s in slots]
    things = [model.optimizer, model.loss, model.history, model.backend, *model.metrics, *model.layers]
    numbers = (model.optimizer.iterations, model.epochs_trained, model.optimizer.learning_rate, model.seed)
    return [a.tobytes() for a in arrays], [id(t) for t in things], numbers, [layer.name for layer in model.layers]


def compiled(loss, head, units=3, shape=(4,)):
    model = Sequential([Dense(units, head, input_shape=shape)])
    model.compile("sgd", loss)
    return model


class Own(layers.Layer):
    def build(self, input_shape):
        self.weight = self.add_weight("scale", (2, 3), self.initializer)

    def __init__(self, initializer):
        super().__init__()
        self.initializer = initializer


def eager(kernel, *args):
    return getattr(Eager(backends.get(), np.float32), kernel)(*args)


def real(*shape):
    return np.ones(shape, np.float32)


def fit(**options):
    return lambda m: m.fit(**{"x": X, "y": Y, "verbose": 0, **options})


def one_hot(rows):
    return fn.utils.to_categorical(np.arange(rows) % 3, 3)


# What, the call, the error, and words of its message: the argument's name first of all.
REFUSED = [
    # --- Sequential ---
    ("no list of layers", lambda m: Sequential(Dense(3)), TypeError, "layers must be a list"),
    ("no layer in the list", lambda m: Sequential([Dense(3), "dense"]), TypeError, "layer must be a layer.*'dense'"),
    ("a layer's class", lambda m: m.add(Dense), TypeError, "layer must be a layer"),
    ("a layer twice", lambda m: m.add(m.layers[0]), ValueError, "layer 'dense' is in this model already"),
    ("a name twice", lambda m: m.add(Dense(3, name="dense_1")), ValueError, "name 'dense_1' is taken"),
    ("Input in the middle", lambda m: m.add(fn.Input((3,))), ValueError, "Input must come first"),
    ("Input after a layer", lambda m: Sequential([Dense(3), fn.Input((4,))]), ValueError, "Input must come first"),
    ("Input twice", lambda m: Sequential([fn.Input(4), fn.Input(4)]), ValueError, "Input must come first, and once"),
    ("a shape that does not follow", lambda m: m.add(Dense(3, input_shape=(9,))),
     ValueError, r"input_shape \(9,\).*\(3,\)"),
    ("a layer of another shape", lambda m: Sequential([fn.Input((7,)), m.layers[0]]),
     ValueError, r"'dense' has input_shape"),
    ("a name that is no text", lambda m: Sequential(name=3), TypeError, "name must be a string, got 3"),
    ("a negative seed", lambda m: Sequential(seed=-1), ValueError, "seed must be at least 0"),
    ("a broken seed", lambda m: Sequential(seed=1.5), TypeError, "seed must be an integer, got 1.5"),
    ("a huge seed", lambda m: Sequential(seed=2**63), ValueError, "seed must be below"),
    ("a dtype for no network", lambda m: Sequential(dtype="int32"), ValueError, "dtype must be 'float32' or 'float64'"),
    ("None for a dtype", lambda m: Sequential(dtype=None), TypeError, "dtype must be.*None"),
    ("a dtype that is none", lambda m: Sequential(dtype="flaot32"), TypeError, "dtype must be.*'flaot32'"),
    ("build twice", lambda m: m.build((4,)), ValueError, r"built already, for input_shape \(4,\)"),
    ("build nothing", lambda m: Sequential().build((4,)), ValueError, "no layers"),
    ("build for no shape", lambda m: Sequential([Dense(3)]).build((0,)), ValueError, "input_shape must be at least 1"),
    ("no weights yet", lambda m: Sequential([Dense(3)]).get_weights(), ValueError, "no weights yet"),
    ("a layer of another dtype", lambda m: Sequential([m.layers[0]], dtype="float64").build((4,)),
     ValueError, "built in float32.*float64"),
    # --- layers ---
    ("no units", lambda m: Dense(0), ValueError, "units must be at least 1, got 0"),
    ("half a unit", lambda m: Dense(2.5), TypeError, "units must be an integer, got 2.5"),
    ("text for units", lambda m: Dense("3"), TypeError, "units must be an integer"),
    ("an unknown activation", lambda m: Dense(3, "rellu"), ValueError, "activation 'rellu': did you mean 'relu'"),
    ("a number for activation", lambda m: Dense(3, 1), TypeError, "activation must be"),
    ("an unknown initializer", lambda m: Dense(3, kernel_initializer="he"), ValueError, "initializer 'he'"),
    ("a number for initializer", lambda m: Dense(3, bias_initializer=0), TypeError, "initializer must be"),
    ("an unknown regularizer", lambda m: Dense(3, kernel_regularizer="l3"), ValueError, "regularizer 'l3'"),
    ("a number for regularizer", lambda m: Dense(3, bias_regularizer=0.1), TypeError, "regularizer must be"),
    ("a broken input_shape", lambda m: Dense(3, input_shape=(4.5,)), TypeError, "input_shape must be an integer"),
    ("a negative input_shape", lambda m: Dense(3, input_shape=(-4,)), ValueError, "input_shape must be at least 1"),
    ("text for input_shape", lambda m: Dense(3, input_shape="4"), TypeError, "input_shape must be a tuple"),
    ("a layer's name that is no text", lambda m: Dense(3, name=5), TypeError, "name must be a string"),
    ("Input without a shape", lambda m: fn.Input(), TypeError, "shape must be a tuple"),
    ("dropout of all", lambda m: layers.Dropout(1.0), ValueError, r"rate must be in \[0, 1\), got 1.0"),
    ("dropout of less than none", lambda m: layers.Dropout(-0.1), ValueError, "rate must be in"),
    ("text for a rate", lambda m: layers.Dropout("half"), TypeError, "rate must be a number"),
    ("an initializer of another shape", lambda m: m.add(Own(lambda shape: np.ones(3))), ValueError, r"shape \(2, 3\)"),
    ("a call on no batch", lambda m: m.layers[0](np.ones((0, 4))), ValueError, "x must have at least one row"),
    ("a call on other samples", lambda m: m.layers[0](np.ones((2, 5))), ValueError, r"x must have shape \(N, 4\)"),
    # --- compile ---
    ("no loss", lambda m: m.compile("sgd"), ValueError, "loss must be a name"),
    ("an unknown loss", lambda m: m.compile("sgd", "msee"), ValueError, "loss 'msee': did you mean 'mse'"),
    ("a number for loss", lambda m: m.compile("sgd", 3), TypeError, "loss must be a name"),
    ("an unknown optimizer", lambda m: m.compile("adm", "mse"), ValueError, "optimizer 'adm': did you mean 'adam'"),
    ("a number for optimizer", lambda m: m.compile(0.1, "mse"), TypeError, "optimizer must be a name"),
    ("somebody's optimizer", lambda m: Sequential().compile(m.optimizer, "mse"),
     ValueError, "optimizer trains another"),
    ("an unknown metric", lambda m: m.compile("sgd", "mse", ["mea"]), ValueError, "metric 'mea': did you mean"),
    ("a number for metrics", lambda m: m.compile("sgd", "mse", 3), TypeError, "metric must be"),
    ("accuracy of a regression", lambda m: m.compile("sgd", "mse", "accuracy"), ValueError, "metrics: 'accuracy'"),
    ("a metric for other targets", lambda m: m.compile("sgd", "sparse_categorical_crossentropy", "mae"),
     ValueError, "metrics: 'mae' wants targets like predictions"),
    ("a metric for labels", lambda m: m.compile("sgd", "mse", "sparse_categorical_accuracy"),
     ValueError, "metrics: 'sparse_categorical_accuracy' wants integer labels"),
    ("a metric twice", lambda m: m.compile("sgd", "mse", ["mae", "mae"]),
     ValueError, "metrics must have names of their own"),
    # --- fit: data ---
    ("fit before compile", lambda m: Sequential([Dense(3)]).fit(X, Y), ValueError, "not compiled"),
    ("no x", fit(x=None), TypeError, "x must be an array of numbers"),
    ("text in x", fit(x=[["a", "b", "c", "d"]] * 40), TypeError, "x must be an array of numbers"),
    ("complex x", fit(x=X + 1j), TypeError, "x must be an array of numbers, got dtype complex"),
    ("rows of different lengths", fit(x=[[1.0, 2.0], [3.0]]), ValueError, "x must be an array; its rows differ"),
    ("a masked array", fit(x=np.ma.masked_array(X, X > 0)), TypeError, "x must be an array without a mask"),
    ("a number for x", fit(x=3.0), ValueError, r"x must have at least one row, got shape \(\)"),
    ("no rows", fit(x=X[:0], y=Y[:0]), ValueError, "x must have at least one row"),
    ("too few columns", fit(x=X[:, :3]), ValueError, r"x must have shape \(N, 4\), got \(40, 3\)"),
    ("images for rows", fit(x=X.reshape(40, 2, 2)), ValueError, r"x must have shape \(N, 4\), got \(40, 2, 2\)"),
    ("a column for rows", fit(x=X[:, 0]), ValueError, r"x must have shape \(N, 4\), got \(40,\)"),
    ("a flat x of a new model", lambda m: compiled_new().fit(X[:, 0], Y),
     ValueError, r"x must have shape.*reshape\(-1, 1\)"),
    ("no y", fit(y=None), TypeError, "y must be an array of numbers"),
    ("too few y", fit(y=Y[:39]), ValueError, "y must have 40 rows, as many as x, got 39"),
    ("a label too large", fit(y=np.where(np.arange(40) == 5, 3, Y)), ValueError, "y must be labels from 0 to 2, got 3"),
    ("a negative label", fit(y=Y - 1), ValueError, "y must be labels from 0 to 2, got -1"),
    ("half a label", fit(y=Y + 0.5), ValueError, "y must be integer labels"),
    ("NaN for a label", fit(y=NAN), ValueError, "y must be integer labels.*NaN"),
    ("infinity for a label", fit(y=np.where(np.isnan(NAN), np.inf, 1)), ValueError, "y must be integer labels"),
    ("one-hot for labels", fit(y=one_hot(40)), ValueError, r"y must be integer labels of shape \(N,\), got \(40, 3\)"),
    ("text labels", fit(y=np.array(["cat"] * 40)), TypeError, "y must be an array of numbers"),
    ("labels for one-hot", lambda m: compiled("categorical_crossentropy", "softmax").fit(X, Y),
     ValueError, "y must have shape.*sparse"),
    ("NaN in targets", lambda m: compiled("mse", None, 1).fit(X, NAN), ValueError, "y must be finite.*row 7"),
    ("too many targets", lambda m: compiled("mse", None, 1).fit(X, X),
     ValueError, r"y must have shape \(N, 1\), got \(40, 4\)"),
    ("targets beyond [0, 1]", lambda m: compiled("binary_crossentropy", "sigmoid", 1).fit(X, Y),
     ValueError, r"y must be in \[0, 1\]"),
    ("classes in two axes",
     lambda m: compiled("categorical_crossentropy", "softmax", 3, (2, 4)).fit(X.reshape(20, 2, 4), Y[:20]),
     ValueError, "loss Cat.*Flatten"),
    # --- fit: the rest ---
    ("no batch", fit(batch_size=0), ValueError, "batch_size must be at least 1"),
    ("half a batch", fit(batch_size=1.5), TypeError, "batch_size must be an integer"),
    ("True for a batch size", fit(batch_size=True), TypeError, "batch_size must be an integer, got True"),
    ("no epochs", fit(epochs=0), ValueError, "epochs must be at least 1"),
    ("text for epochs", fit(epochs="5"), TypeError, "epochs must be an integer, got '5'"),
    ("an epoch before the first", fit(initial_epoch=-1), ValueError, "initial_epoch must be at least 0"),
    ("all for validation", fit(validation_split=1.0), ValueError, "validation_split must be in"),
    ("too little for validation", fit(validation_split=0.99),
     ValueError, "validation_split=0.99 of 40 rows leaves one part"),
    ("text for a share", fit(validation_split="0.2"), TypeError, "validation_split must be a number, got '0.2'"),
    ("validation without y", fit(validation_data=X), TypeError, r"validation_data must be a pair \(x, y\)"),
    ("validation of other samples", fit(validation_data=(X[:, :2], Y)),
     ValueError, r"validation_data\[0\] must have shape"),
    ("validation of other labels", fit(validation_data=(X, Y + 5)), ValueError, r"validation_data\[1\] must be labels"),
    ("NaN for validation", fit(validation_data=(X * NAN[:, None], Y)),
     ValueError, r"validation_data\[0\] must be finite.*row 7"),
    ("NaN in the share for validation", fit(x=X * NAN[::-1, None], validation_split=0.5),
     ValueError, "x must be finite.*row 32"),
    ("no validation batch", fit(validation_batch_size=0), ValueError, "validation_batch_size must be at least 1"),
    ("validation never", fit(validation_freq=0), ValueError, "validation_freq must be at least 1"),
    ("another verbose", fit(verbose=7), ValueError, "verbose must be"),
    ("a function for callbacks", fit(callbacks=print), TypeError, "callbacks must hold Callback objects"),
    ("a callback's class", fit(callbacks=[fn.callbacks.EarlyStopping]), TypeError, "callbacks must.*not the class"),
    # --- the other methods ---
    ("predict on other samples", lambda m: m.predict(X[:, :2]), ValueError, "x must have shape"),
    ("predict nothing", lambda m: m.predict(X[:0]), ValueError, "x must have at least one row"),
    ("predict in no batches", lambda m: m.predict(X, batch_size=0), ValueError, "batch_size must be at least 1"),
    ("predict verbosely", lambda m: m.predict(X, verbose="yes"), ValueError, "verbose must be"),
    ("predict without layers", lambda m: Sequential().predict(X), ValueError, "no layers"),
    ("evaluate before compile", lambda m: Sequential([Dense(3)]).evaluate(X, Y), ValueError, "not compiled"),
    ("evaluate with other labels", lambda m: m.evaluate(X, Y + 1), ValueError, "y must be labels"),
    ("evaluate in no batches", lambda m: m.evaluate(X, Y, batch_size=-1), ValueError, "batch_size must be at least 1"),
    ("evaluate NaN", lambda m: m.evaluate(X * NAN[:, None], Y), fn.NonFiniteError, "x must be finite.*row 7"),
    ("evaluate with text for callbacks", lambda m: m.evaluate(X, Y, callbacks="log"), TypeError, "callbacks must"),
    ("a batch without rows", lambda m: m.train_on_batch(X[:0], Y[:0]), ValueError, "x must have at least one row"),
    ("a batch of other labels", lambda m: m.train_on_batch(X, Y[:4]), ValueError, "y must have 40 rows"),
    ("a batch with NaN", lambda m: m.train_on_batch(X * NAN[:, None], Y), fn.NonFiniteError, "x must be finite.*row 7"),
    ("a call on text", lambda m: m("text"), TypeError, "x must be an array of numbers"),
    ("too few weights", lambda m: m.set_weights(m.get_weights()[:2]),
     ValueError, "weights must be a list of 4 arrays, got 2"),
    ("a weight of another shape", lambda m: m.set_weights([w.T for w in m.get_weights()]),
     ValueError, r"weights\[0\] \(kernel\)"),
    ("weights of text", lambda m: m.set_weights([w.astype(str) for w in m.get_weights()]), TypeError, r"weights\[0\]"),
    ("a number for weights", lambda m: m.set_weights(5), TypeError, "weights must be a list"),
    ("to nowhere", lambda m: m.to("nump"), ValueError, "backend 'nump': did you mean 'numpy'"),
    # --- backends and threads ---
    ("an unknown backend to use", lambda m: fn.use("nunba"), ValueError, "backend 'nunba': did you mean 'numba'"),
    ("a number to use", lambda m: fn.use(1), TypeError, "backend must be one of"),
    ("an unknown backend for a block", lambda m: fn.backend("torch").__enter__(), ValueError, "backend 'torch'"),
    ("an unknown backend of a model", lambda m: Sequential(backend="jax"), ValueError, "backend 'jax'"),
    ("no threads", lambda m: fn.set_threads(0), ValueError, "count must be at least 1"),
    ("half a thread", lambda m: fn.set_threads(1.5), TypeError, "count must be an integer"),
    ("too many threads", lambda m: fn.set_threads(10**6), ValueError, "count must be at most"),
    # --- optimizers, losses, metrics ---
    ("a negative rate", lambda m: optimizers.SGD(-0.1), ValueError, "learning_rate must be in"),
    ("an infinite rate", lambda m: optimizers.Adam(float("inf")), ValueError, "learning_rate must be in"),
    ("text for a rate", lambda m: optimizers.Adam("fast"), TypeError, "learning_rate must be a number"),
    ("NaN set as rate", lambda m: setattr(m.optimizer, "learning_rate", float("nan")),
     ValueError, "learning_rate must be in"),
    ("momentum above 1", lambda m: optimizers.SGD(0.1, momentum=1.5), ValueError, "momentum must be in"),
    ("beta_1 of 1", lambda m: optimizers.Adam(beta_1=1.0), ValueError, r"beta_1 must be in \[0, 1\)"),
    ("a negative beta_2", lambda m: optimizers.Adam(beta_2=-0.1), ValueError, "beta_2 must be in"),
    ("a negative epsilon", lambda m: optimizers.RMSprop(epsilon=-1), ValueError, "epsilon must be in"),
    ("rho above 1", lambda m: optimizers.RMSprop(rho=2), ValueError, "rho must be in"),
    ("negative weight decay", lambda m: optimizers.AdamW(weight_decay=-1), ValueError, "weight_decay must be in"),
    ("a negative accumulator", lambda m: optimizers.Adagrad(initial_accumulator_value=-1),
     ValueError, "initial_accumulator_value"),
    ("delta of 0", lambda m: losses.Huber(delta=0), ValueError, "delta must be in"),
    ("smoothing above 1", lambda m: losses.CategoricalCrossentropy(label_smoothing=1.1), ValueError, "label_smoothing"),
    ("text for a threshold", lambda m: metrics.BinaryAccuracy("high"), TypeError, "threshold must be a number"),
    ("NaN for a threshold", lambda m: metrics.BinaryAccuracy(float("nan")), ValueError, "threshold must be in"),
    # --- initializers, regularizers, activations, schedules ---
    ("a negative stddev", lambda m: fn.initializers.RandomNormal(stddev=-1), ValueError, "stddev must be in"),
    ("maxval below minval", lambda m: fn.initializers.RandomUniform(1, 0), ValueError, "maxval must be in"),
    ("NaN for a constant", lambda m: fn.initializers.Constant(float("nan")), ValueError, "value must be in"),
    ("a negative shape", lambda m: fn.initializers.Zeros()((-1,)), ValueError, r"shape\[0\] must be at least 0"),
    ("an unknown mode", lambda m: fn.initializers.VarianceScaling(mode="fan"), ValueError, "mode 'fan'"),
    ("a negative l1", lambda m: fn.regularizers.L1(-1), ValueError, "l1 must be in"),
    ("an infinite l2", lambda m: fn.regularizers.L2(float("inf")), ValueError, "l2 must be in"),
    ("an unknown activation by name", lambda m: fn.activations.get("sigmod"), ValueError, "did you mean 'sigmoid'"),
    ("a negative decay", lambda m: schedules.ExponentialDecay(0.1, 10, -1), ValueError, "decay_rate must be in"),
    ("no decay steps", lambda m: schedules.CosineDecay(0.1, 0), ValueError, "decay_steps must be in"),
    ("boundaries that fall", lambda m: schedules.PiecewiseConstantDecay([2, 1], [1, 2, 3]),
     ValueError, "boundaries must"),
    ("a negative step", lambda m: schedules.CosineDecay(0.1, 5)(-1), ValueError, "steps must be 0 or more"),
    # --- data ---
    ("half a label to encode", lambda m: fn.utils.to_categorical([0.5]),
     ValueError, "x must hold integer labels, got 0.5"),
    ("a label beyond num_classes", lambda m: fn.utils.to_categorical([3], 3), ValueError, "num_classes=3, got 3"),
    ("no folder of images", lambda m: fn.datasets.fashion_mnist.load_data("nowhere"),
     FileNotFoundError, "path must be"),
    ("a number for a folder", lambda m: fn.datasets.fashion_mnist.load_data(3), TypeError, "path must be"),
    ("scaling before fit", lambda m: fn.data.StandardScaler().transform(X), Exception, "fit"),
    ("scaling text", lambda m: fn.data.StandardScaler().fit([["a"]]), (TypeError, ValueError), "x must"),
    ("a test part of all", lambda m: fn.data.train_test_split(X, test_size=40), ValueError, "test_size=40"),
    ("no table", lambda m: fn.data.load_table("nowhere.csv"), FileNotFoundError, "path must be"),
    # --- files ---
    ("no file to load", lambda m: fn.load_model("nowhere.safetensors"), FileNotFoundError, "path must be|nowhere"),
    ("a number to load", lambda m: fn.load_model(3), TypeError, "path must be"),
    ("a number to save to", lambda m: m.save(3), TypeError, "path must be"),
    ("save to no folder", lambda m: m.save(os.path.join("no", "folder", "m")), FileNotFoundError, "path must be"),
    ("save what is not built", lambda m: Sequential([Dense(3)]).save("m"), ValueError, "no weights"),
    # --- kernels ---
    ("an unknown kernel", lambda m: eager("dens"), AttributeError, "kernel 'dens': did you mean 'dense'"),
    ("too few arguments", lambda m: eager("dense", real(2, 3)), TypeError, "dense takes x, weight, bias, z; got 1"),
    ("shapes that do not fit", lambda m: eager("dense", real(2, 3), real(4, 5), None, real(2, 5)),
     ValueError, "dense: axis I is 3 in x but 4 in weight"),
    ("an output too small", lambda m: eager("dense", real(2, 3), real(3, 5), None, real(2, 4)),
     ValueError, "dense: axis O is 5 in weight but 4 in z"),
    ("another dtype", lambda m: eager("softmax", np.ones((2, 3)), real(2, 3)),
     TypeError, "softmax: z must be float32, got float64"),
    ("labels as floats", lambda m: eager("sparse_accuracy", real(2, 3), real(2), real(2)),
     TypeError, "labels must be int64"),
    ("a list for an array", lambda m: eager("softmax", [[1.0]], real(1, 1)),
     TypeError, "softmax: z must be an array, got list"),
    ("None for an array", lambda m: eager("softmax", None, real(1, 1)),
     TypeError, "softmax: z must be an array, got None"),
    ("columns of a larger array", lambda m: eager("softmax", real(4, 4)[:, :2], real(4, 2)),
     ValueError, "softmax: z must be contiguous"),
]  # fmt: skip


def compiled_new():
    model = Sequential([Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("call, error, words", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_it_is_refused_and_nothing_changes(call, error, words, backend):
    model = trained(backend)
    before, in_force = state(model), backends.current()
    with pytest.raises(error, match=words):
        call(model)
    assert state(model) == before
    assert backends.current() == in_force


def test_a_model_that_was_refused_much_trains_like_any_other(backend):
    model, other = trained(backend), trained(backend)
    for _, call, error, _ in REFUSED:
        with pytest.raises(error):
            call(model)
    for m in (model, other):
        m.fit(X, Y, batch_size=7, epochs=2, verbose=0, validation_split=0.2)
    assert state(model)[0] == state(other)[0]
    assert model.history.history == other.history.history


def test_a_new_model_may_be_given_other_data_after_a_refusal(backend):
    images = X.reshape(40, 2, 2)
    for use in ("fit", "evaluate", "train_on_batch"):
        model = compiled_new()
        with pytest.raises(ValueError, match="output_shape"):
            getattr(model, use)(images, Y)
        assert not model.built
        model.fit(X, Y, verbose=0)
        assert model.input_shape == (4,)


def test_a_layer_that_cannot_be_built_leaves_the_model_as_it_was(backend):
    class Picky(fn.layers.Layer):
        def build(self, input_shape):
            raise ValueError("never")

    model = Sequential([Dense(3, input_shape=(4,))], seed=1)
    with pytest.raises(ValueError, match="never"):
        model.add(Picky())
    assert len(model.layers) == 1
    model.add(Dense(2))
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    unbuilt = Sequential([Dense(3), Picky()])
    with pytest.raises(ValueError, match="never"):
        unbuilt.build((4,))
    assert not unbuilt.built
    assert not unbuilt.layers[0].built


@pytest.mark.parametrize("variable, value, error", [
    ("FASTNN_BACKEND", "nunpy", "ValueError: unknown FASTNN_BACKEND 'nunpy': did you mean 'numpy'"),
    ("FASTNN_THREADS", "many", "ValueError: FASTNN_THREADS must be a positive integer, got 'many'"),
    ("FASTNN_THREADS", "0", "ValueError: FASTNN_THREADS must be a positive integer, got '0'"),
])  # fmt: skip
def test_variables_are_checked(variable, value, error):
    if variable == "FASTNN_THREADS" and not backends.available()["numba"]:
        pytest.skip("numba is not installed")
    code = """
import numpy as np, fastnn as fn
model = fn.Sequential([fn.layers.Dense(1, input_shape=(4,))])
model.compile("sgd", "mse")
model.fit(np.ones((8, 4)), np.ones(8), verbose=0)
"""
    env = {**os.environ, variable: value}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert error in done.stderr.splitlines()[-1]
