"""The benchmarks compare like with like, and their tables and reports say what was measured, losses included."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn
from fastnn.capture import Launch
from fastnn.kernels.contract import KERNELS

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:  # bench/ is not installed, and `pytest` without `python -m` does not look here
    sys.path.append(ROOT)

from bench import contestants, handwritten, kernel_cases, peers, report, sweep, table, timing  # noqa: E402

FAKE = [
    {"net": "30-16-2", "batch": 32, "us": {"fastnn-numba": 2.0, "fastnn-numpy": 50.0, "jax-scan": 6.0, "torch": 90.0}},
    {"net": "784-100-10", "batch": 1, "us": {"fastnn-numba": 40.0, "jax-scan": 20.0}},
    {"net": "784-100-10", "batch": 8, "us": {"fastnn-numba": 40.0}},
]


# --- the hand-written network ---


def fastnn_model(sizes):
    hidden = [fastnn.layers.Dense(n, activation="relu") for n in sizes[1:-1]]
    output = fastnn.layers.Dense(sizes[-1], activation="softmax")
    model = fastnn.Sequential([*hidden, output], backend="numpy", dtype="float64", seed=1)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.build((sizes[0],))
    return model


@pytest.mark.parametrize("sizes, batch", [((7, 5, 4, 3), 6), ((7, 3), 1), ((5, 8, 2), 40)])
def test_handwritten_network_trains_like_fastnn(sizes, batch):
    rng = np.random.default_rng(3)
    rows = 12 * batch
    x, labels = rng.standard_normal((rows, sizes[0])), rng.integers(0, sizes[-1], rows)
    model = fastnn_model(sizes)
    network = handwritten.HandwrittenNetwork(model.get_weights(), batch)
    assert network.narrow == (batch > 10 * sizes[-1])
    for _ in range(2):
        loss = network.epoch(x, labels, np.arange(rows))
        history = model.fit(x, labels, batch_size=batch, shuffle=False, verbose=0).history
        np.testing.assert_allclose(loss, history["loss"][0], rtol=1e-10)
    for mine, theirs in zip(network.weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(handwritten.predict(network.weights, x), model.predict(x), rtol=1e-8)


def test_handwritten_network_takes_the_rows_in_order():
    rng = np.random.default_rng(4)
    x, labels, order = rng.standard_normal((6, 3)), np.array([0, 1, 1, 0, 1, 0]), np.array([4, 1, 0, 5, 2])
    weights = [rng.standard_normal((3, 2)), np.zeros(2)]
    shuffled, sorted_ = (handwritten.HandwrittenNetwork(weights, 2) for _ in range(2))
    losses = shuffled.epoch(x, labels, order), sorted_.epoch(x[order], labels[order], np.arange(4))
    assert losses[0] == losses[1]  # the fifth row fills no batch
    np.testing.assert_array_equal(shuffled.flat, sorted_.flat)


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_plain_neuron_is_the_one_of_the_library(backend, batch):
    rng = np.random.default_rng(5)
    x, y, start = rng.standard_normal((10, 3)), rng.integers(0, 2, 10).astype(float), (np.ones(3), 0.0)
    model = fastnn.Sequential([fastnn.layers.Dense(1, "sigmoid", kernel_initializer="ones")], dtype="float64")
    model.build((3,))
    model.compile(fastnn.optimizers.SGD(0.1), "binary_crossentropy")
    loss = model.fit(x, y, batch_size=batch, shuffle=False, verbose=0).history["loss"][0]
    results = [handwritten.neuron_by_batch(x, y, start, 0.1, batch)]
    if batch == 1:
        results.append(handwritten.neuron_by_sample(x, y, start, 0.1))
        textbook = handwritten.TextbookNeuron(3, 0.1)
        textbook.fit(x, y, epochs=1)
        results.append(((textbook.w, textbook.b), textbook.losses[0]))
    for (w, b), plain_loss in results:
        np.testing.assert_allclose(model.get_weights()[0][:, 0], w, rtol=1e-12)
        np.testing.assert_allclose(model.get_weights()[1], [b], rtol=1e-12)
        np.testing.assert_allclose(loss, plain_loss, rtol=1e-12)


# --- the kernels' plain expressions ---


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", sorted(kernel_cases.PLAIN))
def test_plain_expression_does_what_the_kernel_does(name, backend):
    kernel = KERNELS[name]
    assert kernel_cases.reason_against(name) is None
    values, given = (kernel_cases.arguments(name, kernel_cases.SIZES["small"], np.float64) for _ in range(2))
    result = kernel_cases.PLAIN[name](SimpleNamespace(**given))
    fastnn.backends.get(backend).launch(Launch(kernel, list(values.values()), np.float64))
    written = [values[array.name] for array in kernel.arrays if array.writes]
    results = result if isinstance(result, tuple) else (result,)
    assert any(r is not None for r in results)
    for expected, actual in zip(written, results, strict=False):
        if actual is None:
            continue
        assert np.shape(actual) == expected.shape
        if name not in kernel_cases.RANDOM:
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_kernels_without_a_case_are_named(monkeypatch):
    monkeypatch.delitem(kernel_cases.PLAIN, "dense")
    assert kernel_cases.reason_against("dense").endswith("does not know the plain expression of the kernel dense")


# --- taking turns ---


def test_turns_are_taken_and_divided(monkeypatch):
    clock, log = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: log.append("|"))
    monkeypatch.setattr(timing.time, "process_time", lambda: clock[0])

    def work(name, seconds):
        def run():
            log.append(name)
            clock[0] += seconds

        return run

    both = {"a": timing.Contestant(work("a", 0.02), 10), "b": timing.Contestant(work("b", 1.0), 5)}
    turns = timing.take_turns(both, 2)
    assert {name: [round(t, 9) for t in times] for name, times in turns.items()} == {"a": [0.002] * 2, "b": [0.2] * 2}
    assert "".join(log) == "|aaa|bbb" + "|aaa|b|b|aaa"  # two warm-ups and a look at the time; then the turns


@pytest.mark.parametrize("spins, pauses", [(0.0, 1), (0.1, 6), (1e9, 50)])
def test_a_turn_waits_until_no_thread_spins(monkeypatch, spins, pauses):
    clock, slept = [0.0], []

    def sleep(seconds):
        clock[0] += seconds
        slept.append(seconds)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(timing.time, "process_time", lambda: min(clock[0], spins))
    monkeypatch.setattr(timing.time, "sleep", sleep)
    timing.rest()
    assert abs(len(slept) - pauses) <= 1


def test_who_is_missing_is_named():
    def absent():
        raise ModuleNotFoundError("No module named 'torch'")

    def unwilling():
        raise NotImplementedError("no hidden layer")

    def broken():
        return timing.Contestant(lambda: 1 / 0, 1)

    missing = {}
    makers = {"torch": absent, "sklearn": unwilling, "jax": broken, "good": lambda: timing.Contestant(int, 1)}
    assert list(timing.assemble(makers, missing, " at 30-2")) == ["good"]
    assert missing == {
        "torch": "not installed (No module named 'torch')",
        "sklearn at 30-2": "no hidden layer",
        "jax at 30-2": "ZeroDivisionError: division by zero",
    }


# --- tables ---


def test_operations_of_a_step():
    # 32 rows: forward and weight gradients of both layers, dX of the second.
    assert table.flops("784-100-10", 32) == 2 * 32 * (2 * (784 * 100 + 100 * 10) + 100 * 10)
    assert table.flops("30-2", 1) == 240


def test_ratio_is_of_the_fastest_on_both_sides():
    assert [table.ratio(row) for row in FAKE] == [3.0, 0.5, None]


def test_table_of_fake_timings():
    names = ["fastnn-numba", "fastnn-numpy", "jax-scan", "torch"]
    printed = table.full_table(FAKE, names, 10.0).split("\n")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed]
    assert lines[0] == ["network", "batch", *names, "fastest peer", "ratio", "GFLOP/s", "of peak"]
    assert lines[2] == ["30-16-2", "32", "2", "50", "6", "90", "jax-scan", "3.00", "33.8", "338 %"]
    assert lines[3] == ["784-100-10", "1", "40", "-", "20", "-", "jax-scan", "0.50", "7.99", "80 %"]
    assert lines[4] == ["784-100-10", "8", "40", "-", "-", "-", "-", "-", "63.9", "639 %"]
    assert len({len(line) for line in printed}) == 1


def test_table_without_a_ceiling_or_without_products():
    assert table.heading(["fastnn-numba"], None)[-1] == "GFLOP/s"
    assert table.heading(["fastnn-numba"], 10.0, products=False)[-1] == "ratio"
    assert table.heading(["handwritten"], 10.0)[-1] == "ratio"


def test_verdict_names_every_loss():
    said = " ".join(table.verdict(FAKE))
    assert "geometric mean 1.22" in said
    assert "worst 0.50 (784-100-10 batch 1)" in said
    assert "Faster in 1 of 2." in said
    assert "Slower in 1: 784-100-10 batch 1 (0.50, to jax-scan)." in said
    assert "Slower" not in " ".join(table.verdict(FAKE[:1]))
    assert table.verdict(FAKE[2:]) == ["Nothing to compare: it takes one of fastnn and one peer."]


def test_busy_machine_is_told():
    assert table.warning(None) == table.warning(0.02) == []
    assert "others kept 60 % of the cores busy" in table.warning(0.6)[0]
    assert timing.busy_share(0.05) is None or 0 <= timing.busy_share(0.05) <= 1


# --- the command ---


def test_cells():
    assert peers.cell("784-100-10:32") == ((784, 100, 10), 32)
    for wrong in ("784", "784:32", "784-1:32", "a-b:1", "30-2:0", "30-0-2:1", "30-2:"):
        with pytest.raises(argparse.ArgumentTypeError, match="784-100-10:32"):
            peers.cell(wrong)


@pytest.mark.parametrize("words", ["--only keras", "--rounds 0", "--inference --cells 30-2:1", "--inference --sweep"])
def test_wrong_options_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        peers.parse(words.split())
    assert "error" in capsys.readouterr().err


def test_command_keeps_folders_private():
    assert peers.command(["--json", "secret/run.json", "--rounds", "3"]) == (
        "python -m bench.peers --json run.json --rounds 3"
    )


def test_cliffs_are_shapes_slower_than_larger_ones():
    assert sweep.cliffs([1, 2, 3, 100], [1.0, 5.0, 2.0, 0.1]) == [(2, 2.5)]
    assert sweep.cliffs([1, 2, 3], [1.0, None, 1.0]) == []


# --- a run and its report ---


def test_run_and_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(timing, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(contestants, "steps_of", lambda sizes, batch: 4)
    file = tmp_path / "run.json"
    peers.main(["--cells", "4-3-2:8", "--only", "fastnn-numpy", "handwritten", "--rounds", "2", "--json", str(file)])
    result = json.loads(file.read_text())
    assert "| 4-3-2 " in capsys.readouterr().out
    assert result["command"].endswith("--json run.json")
    (row,) = result["rows"]
    assert row["us"].keys() == {"fastnn-numpy", "handwritten"}
    assert all(row["us"][name] == min(times) > 0 and len(times) == 2 for name, times in row["turns_us"].items())

    report.main([str(file), "--out", str(tmp_path / "RESULTS.md")])
    text = (tmp_path / "RESULTS.md").read_text()
    assert result["command"] in text
    assert table.full_table(result["rows"], result["names"], None) in text
    assert all(f"- {sentence}" in text for sentence in table.verdict(result["rows"]))
    assert f"- numpy's version: {np.__version__}" in text
    assert str(tmp_path) not in text


def result_of(kind, rows, **others):
    common = {"command": "python -m bench.peers", "rounds": 2, "names": ["fastnn-numba", "jax-scan"], "missing": {}}
    common |= {"machine": {"cpu": "A"}, "versions": {"numpy": "2"}, "ceiling_gflops": None, "busy": 0.0}
    return {**common, "kind": kind, "rows": rows, **others}


def test_report_of_every_kind(tmp_path):
    pytest.importorskip("matplotlib")
    results = [
        result_of("training", FAKE, ceiling_gflops=100.0, busy=0.6, missing={"torch-fused": "not installed"}),
        result_of("inference", FAKE[1:2]),
        result_of("fashion", [{"name": "fastnn-numba", "seconds": [1.25, 1.5], "accuracy": [0.86, 0.88]}]),
        result_of("sweep", [{"axis": "width", "values": [1, 2, 3], "us": {"fastnn-numba": [1.0, 9.0, None]}}]),
    ]
    report.write(results, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.count("- cpu: A") == 1
    assert "- Left out: torch-fused: not installed." in text
    assert "- Peak: 100 GFLOP/s" in text
    assert text.count("- Beware: others kept 60 %") == 1
    assert "| fastnn-numba | 1.25 | 0.8700 | 0.8600 | 2 |" in text
    for name in ("training.png", "sweep.png"):
        assert f"]({name})" in text
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_report_says_where_machines_differ():
    results = [result_of("inference", FAKE[:1]), result_of("inference", FAKE[:1], machine={"cpu": "B"})]
    text = report.markdown(results, [None, None])
    assert text.index("- cpu: A") < text.index("- cpu: B")
    assert text.index("## ") < text.index("- cpu: A")


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "other"}'])
def test_report_refuses_other_files(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json"):
        report.load(tmp_path / "x.json")
