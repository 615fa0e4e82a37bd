"""Bundled data equal the published numbers; Fashion-MNIST is found or fetched once, never read if damaged."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import os
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import breast_cancer, diabetes, digits, fashion_mnist


def test_import_is_cheap():
    code = "import sys, fastnn.datasets; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    loaded = set(out.stdout.split())
    assert "fastnn.datasets.fashion_mnist" in loaded
    assert not loaded & {"sklearn", "scipy", "pandas", "urllib.request", "http.client", "ssl"}


@pytest.mark.parametrize(
    "module, shape, x_dtype, y_dtype, counts",
    [
        (breast_cancer, (569, 30), np.float64, np.int64, [212, 357]),
        (diabetes, (442, 10), np.float64, np.float64, None),
        (digits, (1797, 64), np.float32, np.int64, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
    ],
)
def test_bundled(module, shape, x_dtype, y_dtype, counts):
    x, y = module.load_data()
    assert (x.shape, y.shape) == (shape, shape[:1])
    assert (x.dtype, y.dtype) == (x_dtype, y_dtype)
    assert np.isfinite(x).all()
    assert len(module.FEATURE_NAMES) == shape[1] == len(set(module.FEATURE_NAMES))
    if counts is not None:
        assert np.bincount(y).tolist() == counts
        assert len(module.CLASS_NAMES) == len(counts)
    x[:] = 0
    assert module.load_data()[0].any(), "a caller's changes must not reach the next caller"


@pytest.mark.parametrize("module", [breast_cancer, diabetes, digits])
def test_bundled_equals_scikit_learn(module):
    peer = pytest.importorskip("sklearn.datasets")
    theirs = getattr(peer, f"load_{module.__name__.rpartition('.')[2]}")()
    x, y = module.load_data()
    # Scaled while loading there, so that the last bit may differ from version to version.
    np.testing.assert_allclose(x, theirs.data, rtol=1e-12 if module is diabetes else 0)
    np.testing.assert_array_equal(y, theirs.target)
    assert list(theirs.feature_names) == list(module.FEATURE_NAMES)
    if module is not diabetes:
        assert [str(name) for name in theirs.target_names] == list(module.CLASS_NAMES)


def test_diabetes_gives_the_numbers_of_the_first_lesson():
    x, y = diabetes.load_data()
    column, targets = x[:, diabetes.FEATURE_NAMES.index("bmi")].tolist(), y.tolist()
    w = b = 1.0
    for epoch in range(100):
        for value, target in zip(column, targets, strict=True):
            error = target - (value * w + b)
            w, b = w + value * error, b + error
        if epoch == 0:
            assert (w, b) == (587.8654539985616, 99.4093556453094)
    assert (w, b) == (913.5973364346786, 123.39414383177173)


def test_digits_are_whole_grey_values():
    x, _ = digits.load_data()
    assert (x.min(), x.max()) == (0, 16)
    np.testing.assert_array_equal(x, np.round(x))


def test_attribution_is_with_the_files():
    text = (Path(digits.__file__).parent / "files" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for name in ("breast_cancer.npz", "digits.npz", "diabetes.npz", "CC BY 4.0", "Fashion-MNIST"):
        assert name in text


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(5)
    shapes = [(12, 4, 3), (12,), (5, 4, 3), (5,)]
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


@pytest.fixture
def tiny(arrays, tmp_path, monkeypatch):
    """Put a small data set, as yet nowhere, in place of Fashion-MNIST; return its gzipped files by name."""
    files = [
        fashion_mnist.FILES[i]._replace(
            shape=array.shape, sha256=hashlib.sha256(idx_bytes(array)).hexdigest()
        )
        for i, array in enumerate(arrays)
    ]
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(files))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    return {
        f"{file.name}.gz": gzip.compress(idx_bytes(array)) for file, array in zip(files, arrays, strict=True)
    }


def no_network(url, timeout):
    raise urllib.error.URLError("no network in tests")


def put(folder, contents, packed=True):
    folder.mkdir(parents=True)
    for name, content in contents.items():
        if packed:
            (folder / name).write_bytes(content)
        else:
            (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    return folder


def assert_loaded(result, arrays):
    (x_train, y_train), (x_test, y_test) = result
    for actual, expected in zip((x_train, y_train, x_test, y_test), arrays, strict=True):
        assert actual.dtype == np.uint8
        assert actual.flags.writeable
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("packed", [True, False])
def test_from_a_given_folder(tiny, arrays, tmp_path, packed):
    folder = put(tmp_path / "mine", tiny, packed)
    assert_loaded(fashion_mnist.load_data(folder), arrays)
    assert_loaded(fashion_mnist.load_data(str(folder)), arrays)


@pytest.mark.parametrize("place", ["data", "data/fashion-mnist", "debian", "cache/fastnn/fashion-mnist"])
def test_from_where_it_may_lie(tiny, arrays, tmp_path, monkeypatch, place):
    put(tmp_path / place, tiny)
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    assert_loaded(fashion_mnist.load_data(), arrays)


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert fashion_mnist.cache_folder() == Path.home() / ".cache" / "fastnn" / "fashion-mnist"


def test_the_order_of_the_places(tiny, tmp_path, monkeypatch):
    """Each place holds a damaged file, so that the error tells which one was read."""
    broken = dict.fromkeys(tiny, b"broken")
    for place in ("cache/fastnn/fashion-mnist", "debian", "data"):
        put(tmp_path / place, broken)
        monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
        with pytest.raises(ValueError, match=f"{place}/train-images-idx3-ubyte.gz is no IDX file"):
            fashion_mnist.load_data()


def test_a_folder_that_lacks_a_file(tiny, tmp_path):
    folder = put(tmp_path / "mine", tiny)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    put(tmp_path / "debian", tiny)
    with pytest.raises(
        FileNotFoundError, match=r"path must be a folder .*t10k-labels-idx1-ubyte\[.gz\], got"
    ):
        fashion_mnist.load_data(folder)


def test_a_path_that_is_none():
    with pytest.raises(TypeError, match="path must be a string or a path of a folder, got 3"):
        fashion_mnist.load_data(3)


def faults(content):
    """Ways to damage an IDX file of labels, and what is said of each."""
    plain = gzip.decompress(content)
    return {
        "is cut short: its gzip stream": content[:-9],
        "is cut short: it holds 11 bytes, not 13": gzip.compress(plain[:-2]),
        "is cut short: it holds 6 bytes, not 13": plain[:6],
        "is no IDX file .* it starts with nothing": b"",
        "is no IDX file .* it starts with 00 00 08 03, not with 00 00 08 01": b"\0\0\x08\x03" + plain[4:],
        "is no IDX file .* it starts with 3c 21 44 4f": b"<!DOCTYPE html>",
        r"holds an array of shape \(6,\), not \(5,\)": idx_bytes(np.zeros(6, np.uint8)),
        "is too long: it holds more than 13 bytes": gzip.compress(plain + b"\0"),
        "is damaged, or of another data set": plain[:-1] + bytes([plain[-1] ^ 1]),
        "is damaged: ": content[:15] + bytes([content[15] ^ 255]) + content[16:],
        "is damaged: Unknown compression method": b"\x1f\x8b" + b"\xff" * 30,
    }


@pytest.mark.parametrize("i", range(11))
def test_damaged_file_is_named(tiny, tmp_path, i):
    name = "t10k-labels-idx1-ubyte.gz"
    message, content = list(faults(tiny[name]).items())[i]
    folder = put(tmp_path / "mine", {**tiny, name: content})
    with pytest.raises(ValueError, match=f"{name} {message}"):
        fashion_mnist.load_data(folder)


def test_a_gzip_bomb_does_not_fill_the_memory(tiny, tmp_path):
    name = "t10k-labels-idx1-ubyte.gz"
    bomb = gzip.compress(gzip.decompress(tiny[name]) + bytes(2**24))
    folder = put(tmp_path / "mine", {**tiny, name: bomb})
    with pytest.raises(ValueError, match=f"{name} is too long"):
        fashion_mnist.load_data(folder)


def serve(monkeypatch, answer):
    """Answer every request with `answer(url)`; return the list of urls that were asked for."""
    asked = []

    def urlopen(url, timeout):
        assert timeout > 0
        asked.append(url)
        return io.BytesIO(answer(url))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def test_downloads_once(tiny, arrays, tmp_path, monkeypatch, capsys):
    asked = serve(monkeypatch, lambda url: tiny[url.rpartition("/")[2]])
    assert_loaded(fashion_mnist.load_data(), arrays)
    assert asked == [f"{fashion_mnist.SOURCES[0]}/{name}" for name in tiny]
    assert "Downloading Fashion-MNIST" in capsys.readouterr().err
    assert_loaded(fashion_mnist.load_data(), arrays)
    assert len(asked) == 4
    assert sorted(path.name for path in (tmp_path / "cache/fastnn/fashion-mnist").iterdir()) == sorted(tiny)


def test_takes_the_second_source_if_the_first_sends_something_else(tiny, arrays, monkeypatch):
    def answer(url):
        return tiny[url.rpartition("/")[2]] if fashion_mnist.SOURCES[1] in url else b"<html>moved</html>"

    asked = serve(monkeypatch, answer)
    assert_loaded(fashion_mnist.load_data(), arrays)
    assert len(asked) == 8


def test_a_broken_download_leaves_nothing_behind_and_goes_on_later(tiny, arrays, tmp_path, monkeypatch):
    def answer(url):
        if "t10k" in url:
            raise http.client.IncompleteRead(b"")
        return tiny[url.rpartition("/")[2]]

    serve(monkeypatch, answer)
    with pytest.raises(FileNotFoundError, match="IncompleteRead"):
        fashion_mnist.load_data()
    kept = {path.name for path in (tmp_path / "cache/fastnn/fashion-mnist").iterdir()}
    assert kept == {name for name in tiny if "train" in name}
    asked = serve(monkeypatch, lambda url: tiny[url.rpartition("/")[2]])
    assert_loaded(fashion_mnist.load_data(), arrays)
    assert len(asked) == 2


def test_without_network_the_error_says_all_three_ways(tiny, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        fashion_mnist.load_data()
    message = str(caught.value)
    for part in (
        "no network in tests",
        str(tmp_path / "debian"),
        "connect to the internet",
        "apt install dataset-fashion-mnist",
        "load_data(path=...)",
        "FASTNN_DATA",
        "t10k-labels-idx1-ubyte.gz",
        fashion_mnist.HOMEPAGE,
        *fashion_mnist.SOURCES,
    ):
        assert part in message
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written(tiny, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where a folder should be")
    serve(monkeypatch, lambda url: tiny[url.rpartition("/")[2]])
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded to .*cache"):
        fashion_mnist.load_data()


def test_the_real_files():
    folders = [folder for folder in fashion_mnist._folders() if fashion_mnist._files_in(folder)]
    if not folders:
        pytest.skip("Fashion-MNIST is not on this machine")
    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data(folders[0])
    assert (x_train.shape, x_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert y_train[:5].tolist() == [9, 0, 0, 3, 0]
    assert x_train.mean() == pytest.approx(72.94035223214286)
    assert fashion_mnist.CLASS_NAMES[y_train[0]] == "Ankle boot"
