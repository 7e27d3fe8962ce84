"""A thread for what must not hold up the line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sorter import log

STOP_SECONDS = 2.0
_AFTER_TROUBLE = 30.0


class Aside:
    """Calls a step again and again: when it asked to be, or when woken.

    Parameters
    ----------
    step
        Does what is due; gets monotonic seconds, returns when it wants to be called again at the latest.
    finish
        Called at the end, in the same thread.
    """

    def __init__(
        self, name: str, step: Callable[[float], float | None], finish: Callable[[], None] = lambda: None
    ) -> None:
        self.stopping = threading.Event()
        self._name, self._step, self._finish = name, step, finish
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def stop(self) -> None:
        """End within :data:`STOP_SECONDS`: a step that takes longer ends by itself, nobody waits for it."""
        self.stopping.set()
        self._wake.set()
        if self._thread.ident is None:
            self._finish()
        else:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self.stopping.is_set():  # looked at only now, so that no stop goes unnoticed
                break
            try:
                due = self._step(time.monotonic())
            except Exception as error:  # noqa: BLE001 - reporting may fail; bringing files in goes on
                log.get().error("aside_failed", name=self._name, exception=log.describe(error))
                self.stopping.wait(_AFTER_TROUBLE)
                continue
            self._wake.wait(None if due is None else max(0.0, due - time.monotonic()))
        self._finish()
