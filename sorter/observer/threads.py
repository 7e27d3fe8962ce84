"""The threads of a watchdog observer: whether they live, how they end, and what they may print."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator

from watchdog.observers.api import BaseObserver
from watchdog.utils import BaseThread

STOP_SECONDS = 5.0  # an observer that takes longer to stop is left behind; its threads are daemons


def all_alive(observer: BaseObserver) -> bool:
    """Whether none of its threads has ended; one that has does so without a word."""
    return bool(observer.emitters) and all(thread.is_alive() for thread in _threads(observer))


def _threads(observer: BaseObserver) -> Iterator[threading.Thread]:
    """Observer, emitters, and the inotify reader, which versions of watchdog keep in different attributes."""
    for owner in (observer, *observer.emitters):
        yield owner
        yield from (part for part in vars(owner).values() if isinstance(part, threading.Thread))


def stop_in_time(observer: BaseObserver) -> str:
    """Stop an observer without waiting for ever; what went wrong, or nothing."""
    failures = []

    def stop() -> None:
        try:
            observer.stop()
            if observer.is_alive():
                observer.join()
        except Exception as error:  # noqa: BLE001 - whatever a broken observer raises is reported as a Trouble
            failures.append(type(error).__name__)

    stopping = threading.Thread(target=stop, name="sorter-stop-watch", daemon=True)
    stopping.start()
    stopping.join(STOP_SECONDS)
    return "timeout" if stopping.is_alive() else "".join(failures)


class _SparesWatchdog:
    """Prints no traceback of a watchdog thread (it quotes paths); :func:`all_alive` reports the death."""

    def __init__(self) -> None:
        self._previous = threading.excepthook

    def __call__(self, args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.thread, BaseThread):
            self._previous(args)


def hush_watchdog() -> None:
    """Keep watchdog's own words, which are full of paths, off stderr."""
    # One of its warnings prints every path it watches (watchdog 7.1, two unreadable folders).
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning, r"watchdog\.")
    logging.getLogger("watchdog").addHandler(logging.NullHandler())
    if not isinstance(threading.excepthook, _SparesWatchdog):
        threading.excepthook = _SparesWatchdog()
