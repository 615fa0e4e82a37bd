"""Ctrl-C between steps: one that arrives within a step waits until the step is whole."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` wraps it in enumerations: longer than a short run takes
import signal
import threading
from typing import Any


class Deferred:
    """While it is entered, the first Ctrl-C only leaves a note; `check()`, called between steps, raises it.

    A second one interrupts at once: a step of the user's own code may never end. Only the main thread is interrupted
    by Python at all, and a handler of the user's own is left alone.
    """

    def __enter__(self) -> Deferred:
        self._noted = False
        ours = threading.current_thread() is threading.main_thread()
        self._active = ours and _signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._active:
            _signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        if self._active:
            _signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raises KeyboardInterrupt if there was one."""
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: Any) -> None:
        if self._noted:
            signal.default_int_handler(number, frame)
        self._noted = True
