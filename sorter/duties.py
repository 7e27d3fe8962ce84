"""What a daemon does beside bringing files in: a seam, and the care that no duty harms the daemon."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sorter import log
from sorter.errors import SorterError
from sorter.model import Outcome

T = TypeVar("T")


class Duty(Protocol):
    """Something a daemon does beside bringing files in. It must never hold that up.

    An exception is logged once a kind and does no harm, unless it is a :class:`~sorter.errors.SorterError`
    of the archive or the index, which ends the daemon as it always does.
    """

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Outcomes of one batch, committed; called in the working thread."""

    def work(self, now: float) -> float | None:
        """Do what is due, for at most about 0.1 s; longer things are sliced or go to a thread of their own.

        Parameters
        ----------
        now
            Monotonic seconds.

        Returns
        -------
        float | None
            When it wants to be called again at the latest; ``None``: only after the next :meth:`note`.
        """

    def report(self) -> dict[str, object]:
        """Keys for ``status.json``, without paths and patient data.

        Called in the heartbeat's thread: returns a dict that was made before.
        """

    def close(self) -> None:
        """The daemon ends, or its configuration changes."""


@dataclass(slots=True, eq=False)
class _Entry:
    duty: Duty
    due: float | None = 0.0  # the first call comes at once


Trouble = Callable[[str, str], None]  # one word for its kind, and what it is, without patient data


class Duties:
    """The duties of one daemon, called when they are due; in the working thread, but for :meth:`report`."""

    def __init__(self, duties: Sequence[Duty]) -> None:
        self._entries = [_Entry(duty) for duty in duties]
        self._told: set[tuple[str, str]] = set()

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Tell every duty about a committed batch; each works soon after."""
        for entry in self._entries:
            self._safely(entry.duty, entry.duty.note, outcomes)
            entry.due = 0.0

    def work(self) -> None:
        """Let each duty work that is due. One that raises is called again after the next batch."""
        for entry in self._entries:
            now = time.monotonic()
            if entry.due is not None and entry.due <= now:
                entry.due = self._safely(entry.duty, entry.duty.work, now)

    def next_due(self) -> float | None:
        """When :meth:`work` next has something to do, by the monotonic clock."""
        return min((entry.due for entry in self._entries if entry.due is not None), default=None)

    def report(self) -> dict[str, object]:
        """All their keys for ``status.json``."""
        found: dict[str, object] = {}
        for entry in self._entries:
            found.update(self._safely(entry.duty, entry.duty.report) or {})
        return found

    def close(self) -> None:
        """End all, whatever one of them raises."""
        for entry in self._entries:
            try:
                self._safely(entry.duty, entry.duty.close)
            except SorterError as error:
                log.get().error("duty_failed", name=type(entry.duty).__name__, detail=str(error))

    def _safely(self, duty: Duty, call: Callable[..., T], *args: object) -> T | None:
        try:
            return call(*args)
        except SorterError:
            raise
        except Exception as error:  # noqa: BLE001 - a duty is no reason to stop bringing files in
            kind = (type(duty).__name__, type(error).__name__)
            if kind not in self._told:
                self._told.add(kind)
                log.get().error("duty_failed", name=kind[0], exception=log.describe(error))
            return None
