"""The memory of everything that a benchmark started: proportional set size of the process tree, sampled."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path
from types import TracebackType

_PSS = re.compile(r"^Pss(_Anon|_Shmem|):\s+(\d+)", re.MULTILINE)
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def descendants(pid: int) -> list[int]:
    """All processes that a process started, directly or not, and that live."""
    found: list[int] = []
    pending = [pid]
    while pending:
        with contextlib.suppress(*_GONE):
            for task in Path(f"/proc/{pending.pop()}/task").iterdir():
                children = [int(one) for one in (task / "children").read_text().split()]
                found += children
                pending += children
    return found


def pss_mb(pids: list[int]) -> tuple[float, float]:
    """Their memory in MiB, with what is shared counted once: all of it, and without mapped files.

    Mapped files count as far as they are resident; the kernel may drop them at any time (proc(5),
    ``smaps_rollup``).
    """
    whole = own = 0
    for pid in pids:
        with contextlib.suppress(*_GONE):
            for part, kib in _PSS.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()):
                if part:
                    own += int(kib)
                else:
                    whole += int(kib)
    return whole / 1024, own / 1024


class Peak:
    """The highest memory of this process's descendants while the block runs.

    ``mb`` is of all, ``own_mb`` without mapped files.

    Parameters
    ----------
    every
        Seconds between two looks; what comes and goes in between is not seen.
    """

    def __init__(self, every: float = 0.05) -> None:
        self.mb = self.own_mb = 0.0
        self._every, self._over = every, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(self._every):
            whole, own = pss_mb(descendants(os.getpid()))
            self.mb, self.own_mb = max(self.mb, whole), max(self.own_mb, own)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
