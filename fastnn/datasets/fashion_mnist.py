"""Fashion-MNIST, the images of the lessons: found on this machine or downloaded once, and always checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import download, idx
from fastnn.files import write_whole

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
HOMEPAGE = "https://github.com/zalandoresearch/fashion-mnist"
# The second one has no TLS; what it sends is trusted only because its checksum is right.
SOURCES = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)


class _File(NamedTuple):
    name: str
    shape: tuple[int, ...]
    sha256: str

    def decode(self, source: str, content: bytes) -> NDArray[np.uint8]:
        return idx.decode(source, content, self.shape, self.sha256)


FILES = (
    _File(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    _File(
        "train-labels-idx1-ubyte",
        (60000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    _File(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    _File(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


def load_data(
    path: str | os.PathLike[str] | None = None,
) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Return `(x_train, y_train), (x_test, y_test)`, all uint8, as Keras does.

    x_train is (60000, 28, 28) and x_test (10000, 28, 28), grey values from 0 (background) to 255; the labels,
    (60000,) and (10000,), are indices into `CLASS_NAMES`, every class equally often.

    The four IDX files, gzipped as they are published or not, are looked for in

    1. the folder `path`, if it is given: then nowhere else;
    2. the folder that the variable FASTNN_DATA names, or `fashion-mnist` in it;
    3. the folder of Debian's package `dataset-fashion-mnist`;
    4. the cache: `fastnn/fashion-mnist` in the folder that XDG_CACHE_HOME names, or else in `~/.cache`;

    and are otherwise downloaded (30 MB) into the cache. Wherever they come from, their content is compared
    with the SHA-256 of what the authors published.

    Raises FileNotFoundError if the files are nowhere and cannot be downloaded, ValueError, naming the file,
    if one is damaged or not Fashion-MNIST's, and TypeError if `path` is no path.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms" (2017), https://github.com/zalandoresearch/fashion-mnist, MIT licence.
    """
    if path is None:
        paths = next(filter(None, map(_files_in, _folders())), None) or _download()
    else:
        paths = _files_in(_as_folder(path)) or _refuse(path)
    x_train, y_train, x_test, y_test = (
        file.decode(str(found), found.read_bytes()) for found, file in zip(paths, FILES, strict=True)
    )
    return (x_train, y_train), (x_test, y_test)


def _as_folder(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except TypeError:
        raise TypeError(f"path must be a string or a path of a folder, got {path!r}") from None


def _refuse(path: str | os.PathLike[str]) -> NoReturn:
    names = ", ".join(f"{file.name}[.gz]" for file in FILES)
    raise FileNotFoundError(f"path must be a folder with the files {names}, got {os.fspath(path)!r}")


def _folders() -> Iterator[Path]:
    """Yield where the files may lie, best first."""
    if named := os.environ.get("FASTNN_DATA"):
        yield Path(named).expanduser()
        yield Path(named).expanduser() / "fashion-mnist"
    yield DEBIAN_FOLDER
    yield cache_folder()


def cache_folder() -> Path:
    """Return the folder that downloads go to; it need not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fastnn" / "fashion-mnist"


def _files_in(folder: Path) -> list[Path] | None:
    """Return the paths of the four files in the order of `FILES`, or None if one is missing in `folder`."""
    found = []
    for file in FILES:
        candidates = (folder / f"{file.name}.gz", folder / file.name)
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            return None
        found.append(path)
    return found


def _download() -> list[Path]:
    """Fetch what the cache lacks and return the four paths, or raise FileNotFoundError with what to do."""
    folder = cache_folder()
    paths = [folder / f"{file.name}.gz" for file in FILES]
    print(f"Downloading Fashion-MNIST (30 MB) to {folder}", file=sys.stderr)
    try:
        for path, file in zip(paths, FILES, strict=True):
            if not path.is_file():
                urls = [f"{source}/{path.name}" for source in SOURCES]
                content = download.first_good(urls, file.decode)
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(path, content)
    except OSError as error:
        raise FileNotFoundError(
            f"Fashion-MNIST is in none of {', '.join(map(str, _folders()))} and could not be downloaded to "
            f"{folder} ({error}). Either\n"
            "  - connect to the internet and try again;\n"
            "  - or, on Debian and Ubuntu, run: apt install dataset-fashion-mnist;\n"
            f"  - or get {', '.join(path.name for path in paths)} from data/fashion in {HOMEPAGE} "
            "and name the folder they are in: load_data(path=...), or the variable FASTNN_DATA."
        ) from error
    return paths
