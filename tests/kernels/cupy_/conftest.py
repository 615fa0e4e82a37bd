"""NVIDIA's compiler without a GPU: the wheel nvidia-cuda-nvrtc needs no driver, so that CUDA text is compiled in CI."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import pytest


class Nvrtc:
    """The compiler, called as its C interface documents it."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source: str, options: tuple[str, ...]) -> str:
        """The PTX of a text; raises ValueError with the compiler's words where it has any to say, warnings too."""
        program = ctypes.c_void_p()
        given = [option.encode() for option in options]
        self.library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
        try:
            failed = self.library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
            words = self._text(program, "ProgramLog").strip()
            if failed or words:
                raise ValueError(words)
            return self._text(program, "PTX")
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, text)
        return text.value.decode()


def _installed() -> Path | None:
    """The compiler's library, where its wheel is installed."""
    found = importlib.util.find_spec("nvidia")
    folders = found.submodule_search_locations if found and found.submodule_search_locations else ()
    return next((path for folder in folders for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*"))), None)


@pytest.fixture(scope="session")
def nvrtc():
    """NVIDIA's compiler for kernels."""
    library = _installed()
    if library is None:
        pytest.skip("nvidia-cuda-nvrtc is not installed")
    return Nvrtc(library)


_compiled: dict[str, set[str]] = {}  # architecture -> kernels


@pytest.fixture
def record_compiled():
    """Note kernels that were compiled, for the summary of the run."""
    return lambda architecture, kernels: _compiled.setdefault(architecture, set()).update(kernels)


def pytest_terminal_summary(terminalreporter):
    if _compiled:
        least = min(map(len, _compiled.values()))
        terminalreporter.write_line(f"CUDA: {least} kernels compiled by NVRTC for {', '.join(_compiled)}")
