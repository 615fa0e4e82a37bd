"""The lessons give the numbers of the textbook, on every backend: float64 to 1e-9, float32 to 1e-5."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import simulated_cupy
from numpy.testing import assert_allclose

from fastnn import backends
from fastnn.datasets import download

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FLOAT64, FLOAT32 = 1e-9, 1e-5

sys.path.insert(0, str(EXAMPLES))  # as Python does for a script that lies there


shared = importlib.import_module("lesson")


def lesson(number: int) -> ModuleType:
    (path,) = EXAMPLES.glob(f"lesson_{number:02}_*.py")
    return importlib.import_module(path.stem)


@functools.cache  # a lesson is run once for the tests of its numbers and of its picture
def results(number: int, backend: str) -> dict:
    return lesson(number).run(backend)


# A step a sample, for thousands of steps, is nothing for the simulated device.
@pytest.fixture(params=["numpy", "numba", *([] if simulated_cupy.in_force() else ["cupy"])])
def backend(request) -> str:
    if not backends.available()[request.param]:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(autouse=True)
def _no_download(monkeypatch):
    def refuse(*args):
        raise OSError("tests download nothing")

    monkeypatch.setattr(download, "first_good", refuse)


def test_01_linear_neuron(backend):
    found = results(1, backend)
    for who in ("by hand", "fastnn"):
        assert_allclose(found[1][who], (587.8654539985616, 99.4093556453094), rtol=FLOAT64)
        assert_allclose(found[100][who], (913.5973364346786, 123.39414383177173), rtol=FLOAT64)


def test_02_least_squares(backend):
    found = results(2, backend)
    assert_allclose(found["least squares"], (949.43526038, 152.13348416), rtol=FLOAT64)
    assert_allclose(found["mse"], 3890.456585, rtol=FLOAT64)
    assert_allclose(found["decaying rate"], found["least squares"], rtol=1e-2)
    assert found["mse, decaying rate"][-1] < found["mse"] + 0.01
    assert found["mse, constant rate"][-1] > found["mse"] + 100


def test_03_logistic_neuron(backend):
    found = results(3, backend)
    for who in ("by hand", "fastnn"):
        assert_allclose(found[who]["accuracy"], 0.8245614035087719, rtol=FLOAT64)
    assert_allclose(found["fastnn"]["w"], found["by hand"]["w"], rtol=FLOAT64)
    assert_allclose(found["fastnn"]["b"], found["by hand"]["b"], rtol=FLOAT64)
    assert len(found["losses"]) == 100
    assert max(found["losses"]) <= -np.log(1e-10)


def test_04_standardised_features(backend):
    found = results(4, backend)
    for who in ("by hand", "fastnn"):
        assert_allclose(found[who]["accuracy"], 0.9736842105263158, rtol=FLOAT64)
        assert_allclose(found[who]["loss"], 0.040955591230323, rtol=FLOAT64)
        assert_allclose(found[who]["b"], -0.5038136506675117, rtol=FLOAT64)
    assert_allclose(found["fastnn"]["w"], found["by hand"]["w"], rtol=FLOAT64)


def test_05_gradient_descent(backend):
    found = results(5, backend)
    for who in ("by hand", "batch"):
        assert_allclose(found[who]["accuracy"], 0.9649122807017544, rtol=FLOAT64)
        assert_allclose(found[who]["losses"][-1], 0.06514256046773385, rtol=FLOAT64)
    # fastnn's loss comes from logits and is not clipped, so the first one is larger.
    assert_allclose(found["by hand"]["losses"][0], 12.853303251653633, rtol=FLOAT64)
    assert_allclose(found["batch"]["w"], found["by hand"]["w"], rtol=FLOAT64)
    assert_allclose(found["batch"]["b"], found["by hand"]["b"], rtol=FLOAT64)
    for kind in ("stochastic", "mini-batch"):
        assert found[kind]["accuracy"] > 0.95
        assert found[kind]["losses"][-1] < found["batch"]["losses"][-1]
    fifth = [found[kind]["losses"][4] for kind in ("stochastic", "mini-batch", "batch")]
    assert fifth == sorted(fifth)


def test_06_all_ways_give_the_same_weights(backend):
    for rows in results(6, backend).values():
        expected = rows["Python, sample by sample"]["w"]
        assert len(rows) > 1
        for row in rows.values():
            assert_allclose(row["w"], expected, rtol=FLOAT64)
            assert row["seconds"] > 0


def test_07_activations(backend):
    found, module = results(7, backend), lesson(7)
    z, step = found["z"], 1e-6
    for name, (y, derivative) in found["curves"].items():
        if name in module.TEXTBOOK:
            function, its_derivative = module.TEXTBOOK[name]
            assert_allclose(y, function(z), rtol=FLOAT64)
            assert_allclose(derivative, its_derivative(z, y), rtol=FLOAT64)
        above, _ = module.value_and_derivative(name, z + step, backend)
        below, _ = module.value_and_derivative(name, z - step, backend)
        assert_allclose(derivative, (above - below) / (2 * step), atol=1e-8, err_msg=name)
    assert len(found["curves"]) == 10


def test_08_three_layers(backend):
    found = results(8, backend)
    assert_allclose(found["by hand"], [0.31682708, 0.69627909], atol=5e-9)
    assert_allclose(found["float64"], found["by hand"], rtol=FLOAT64)
    assert_allclose(found["float32"], found["by hand"], rtol=FLOAT32)
    assert found["float32"].dtype == np.float32


def test_09_softmax(backend):
    found = results(9, backend)
    assert_allclose(found["stable"][0], [0.01821127, 0.24519181, 0.73659691], atol=5e-9)
    assert np.isnan(found["naive"][1]).all()
    for who, rtol in (("stable", FLOAT64), ("float64", FLOAT64), ("float32", FLOAT32)):
        for expected, given in zip(found["stable"], found[who], strict=True):
            assert_allclose(given, expected, rtol=rtol)
            assert_allclose(given.sum(), 1, rtol=rtol)


def test_10_batch_prediction(backend):
    found = results(10, backend)
    assert_allclose(found["at once"], found["row by row"], rtol=FLOAT32, atol=1e-6)
    assert found["at once"].shape == (1797, 10)
    assert set(found["seconds"]) == set(lesson(10).BATCH_SIZES)


def test_11_keras_style(backend):
    found = results(11, backend)
    assert found["rows"]["parameters of layers"] == [78_500, 1_010]
    assert found["images"]["parameters of layers"] == [0, 78_500, 1_010]
    for r in found.values():
        assert r["parameters"] == 79_510
        assert r["output shapes"][-2:] == [(100,), (10,)]
        assert "(None, 100)" in r["summary"]
        assert "79,510" in r["summary"]
        assert f"Backend: {backend}" in r["summary"]
        assert r["accuracy"] > 0.85
        assert len(r["history"]["accuracy"]) == 5


def test_12_losses(backend):
    found = results(12, backend)["losses"]
    sparse, one_hot = found["sparse_categorical_crossentropy"], found["categorical_crossentropy"]
    assert_allclose(sparse["loss"], one_hot["loss"], rtol=FLOAT32)
    assert_allclose(sparse["accuracy"], one_hot["accuracy"], rtol=FLOAT32)
    assert found["binary_crossentropy"]["accuracy"][-1] > 0.95
    assert found["mse"]["mae"][-1] < found["mse"]["mae"][0]


def test_12_fashion_mnist(backend):
    found = results(12, backend)["clothes"]
    if found is None:
        pytest.skip("Fashion-MNIST is not on this machine (FASTNN_DATA names its folder; tests download nothing)")
    assert 0.78 < found["sigmoid + SGD"] < 0.83
    assert found["relu + Adam"] >= 0.86


def test_12_goes_on_without_fashion_mnist(monkeypatch, capsys):
    def nowhere():
        raise FileNotFoundError("Fashion-MNIST is nowhere")

    monkeypatch.setattr(lesson(12).fashion_mnist, "load_data", nowhere)
    assert lesson(12).clothes("numpy") is None
    assert "nowhere" in capsys.readouterr().out


def test_13_optimizers(backend):
    found, large = results(13, backend), np.abs(lesson(13).START).max()
    for name in lesson(13).PAIRS:
        expected = found[name]["textbook"][:10]
        # A weight that crosses 0 is compared with the size of where it came from.
        assert_allclose(found[name]["float64"][:10], expected, rtol=0, atol=FLOAT64 * large, err_msg=name)
        assert_allclose(found[name]["float32"][:10], expected, rtol=0, atol=FLOAT32 * large, err_msg=name)
    assert found["default"] == "RMSprop"


def test_14_over_and_underfitting(backend):
    found = results(14, backend)
    small, right, large = (found["networks"][name] for name in ("too small", "about right", "too large"))
    assert min(small["loss"][-1], small["val_loss"][-1]) > 0.3
    assert large["loss"][-1] < right["loss"][-1] < small["loss"][-1]
    assert large["val_loss"][-1] > 1.3 * min(large["val_loss"])
    assert right["val_loss"][-1] < 1.1 * min(right["val_loss"])
    assert min(found["rates"], key=lambda rate: found["rates"][rate][-1]) == 0.03


def test_15_regularisation(backend):
    found = results(15, backend)
    gradient = found["gradient"]
    by_formula = 0.01 * np.sign(gradient["w"]) + 2 * 0.01 * gradient["w"]
    # What is measured is a difference of weights of size 1, divided by the rate.
    assert_allclose(gradient["measured"], by_formula, rtol=FLOAT64, atol=1e-13)
    assert_allclose(gradient["formula"], by_formula, rtol=FLOAT64)
    assert_allclose(found["penalties"]["both"]["w"], found["by hand"], rtol=FLOAT64)
    norms = {name: r["norms"] for name, r in found["penalties"].items()}
    assert norms["both"] < norms["L1, 0.01"] < norms["none"]
    assert norms["both"] < norms["L2, 0.01"] < norms["none"]
    for pairs in found["strengths"].values():
        assert pairs == sorted(pairs, reverse=True)


def test_16_early_stopping_and_dropout(backend):
    found = results(16, backend)
    stopped = found["early stopping"]
    losses = stopped["val_loss"]
    assert len(losses) == stopped["stopped epoch"] + 1 < len(found["plain"]["val_loss"])
    assert stopped["stopped epoch"] - stopped["best epoch"] == lesson(16).PATIENCE
    assert losses[stopped["best epoch"]] == min(losses)
    assert_allclose(stopped["restored loss"], min(losses), rtol=FLOAT32)
    assert_allclose(losses, found["plain"]["val_loss"][: len(losses)], rtol=FLOAT32)
    assert found["dropout"]["val_loss"][-1] < 0.8 * found["plain"]["val_loss"][-1]
    assert set(found["twelve ones"]["training"]) == {0, 2}
    assert set(found["twelve ones"]["prediction"]) == {1}


def test_17_backpropagation(backend):
    found = results(17, backend)
    gradients = found["gradients"]
    for hand, ours, quotient in zip(*gradients.values(), strict=True):
        assert_allclose(ours, hand, rtol=FLOAT64, atol=1e-14)
        assert_allclose(quotient, hand, rtol=1e-6, atol=1e-9)
    assert all(error < 1e-6 for error in found["checks"].values())
    for kind in ("simple", "multiple"):
        ours, closed = found[kind]["fastnn"], found[kind]["closed form"]
        assert_allclose(ours["R^2"], closed["R^2"], rtol=FLOAT64)
        assert_allclose(ours["b"], closed["b"], rtol=FLOAT64)
    assert_allclose(found["simple"]["fastnn"]["w"], found["simple"]["closed form"]["w"], rtol=FLOAT64)
    assert found["multiple"]["fastnn"]["R^2"] > found["simple"]["fastnn"]["R^2"]


@pytest.mark.parametrize("number", range(1, 18))
def test_lesson_prints_and_draws(number, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    found = results(number, "numba" if backends.available()["numba"] else "numpy")
    capsys.readouterr()
    lesson(number).show(found)
    assert len(capsys.readouterr().out.splitlines()) > 1
    picture = tmp_path / "new" / "picture.png"
    shared.save(lesson(number).draw, found, (9, 5), picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in capsys.readouterr().out


def test_no_picture_without_matplotlib(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    shared.save(lesson(8).draw, {}, (9, 5), tmp_path / "picture.png")
    assert "Matplotlib is not installed" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
