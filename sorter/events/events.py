"""Telling of events: to the log, and to the hooks of the configuration, through the outbox."""

from __future__ import annotations

import datetime
import json
import random
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sorter import __version__, log
from sorter.config import Config, Event, Hook
from sorter.events.aside import Aside
from sorter.events.outbox import Outbox, hook_key
from sorter.events.sending import Answer, Attempt, Carrier, check_hook
from sorter.model import Kind, Outcome, Reason
from sorter.organizer.lease import META

# Pauses after failures: twice as long each time, with jitter.
PAUSE_FIRST, PAUSE_MOST = 1.0, 300.0
PAUSE_ASKED_MOST = 3600.0
GIVE_UP = 86400.0
# The same trouble is told to hooks once in so many seconds.
TROUBLE_AGAIN = 600.0
_REFUSED = (Kind.REJECTED, Kind.CONFLICT)


@dataclass(slots=True)
class _Line:
    """The way to one hook."""

    hook: Hook
    label: str
    failures: int = 0
    due: float = 0.0


class Events:
    """A duty of the daemon: takes events to hooks, in a thread of its own.

    Delivery is at least once: an event may come twice, with the same id, after a crash or a lost answer.

    Raises
    ------
    ConfigError
        The secret of a hook cannot be read.
    ArchiveError
        The outbox cannot be opened.
    """

    def __init__(self, config: Config) -> None:
        self._lines: dict[str, _Line] = {}
        self._listening: dict[Event, list[str]] = {}
        for number, hook in enumerate(config.hooks, 1):
            check_hook(hook)
            key = hook_key(hook)
            self._lines.setdefault(key, _Line(hook, f"hook {number}"))
            for kind in hook.events:
                keys = self._listening.setdefault(kind, [])
                if key not in keys:
                    keys.append(key)
        self._outbox = Outbox(config.archive / META / "outbox", list(self._lines)) if self._lines else None
        self._carrier = Carrier()
        self._told: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._sent = self._failed = self._given_up = 0
        self._aside = Aside("events", self.send, self._carrier.close)

    # -- telling --------------------------------------------------------------------------------------

    def emit(
        self,
        kind: Event,
        data: Mapping[str, Any],
        *,
        number: str = "",
        logged: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Tell of an event; from any thread, and without waiting for anybody. It is kept when this returns.

        Parameters
        ----------
        data
            For the hooks. May hold UIDs and paths, since they need them.
        number
            The event's id, where telling it again must give the same; otherwise a new one.
        logged
            For the log: keys of :data:`sorter.log.ALLOWED`, no patient data.
        """
        number = number or uuid.uuid4().hex
        log.get().info(f"event_{kind}", **{"id": number, **logged})
        keys = self._listening.get(kind, [])
        if not keys or self._outbox is None:
            return
        event = {
            "event": kind,
            "id": number,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "sorter": __version__,
            "data": data,
        }
        body = json.dumps(event).encode()
        for key in keys:
            try:
                self._outbox.put(key, body)
            except OSError as error:
                log.get().error("event_lost", id=number, exception=log.describe(error))
        self._aside.wake()

    def trouble(self, kind: str, detail: str) -> None:
        """Tell that something needs a person's eye; the same words again only after a while.

        Parameters
        ----------
        kind
            One word, such as ``no_space`` or ``watch``.
        detail
            Without patient data: it goes to the log too.
        """
        now = time.monotonic()
        with self._lock:
            if now - self._told.get((kind, detail), -TROUBLE_AGAIN) < TROUBLE_AGAIN:
                return
            self._told = {what: at for what, at in self._told.items() if now - at < TROUBLE_AGAIN}
            self._told[kind, detail] = now
        said = {"kind": kind, "detail": detail}
        self.emit("trouble", said, logged=said)

    def verification(self, result: Mapping[str, Any], logged: Mapping[str, object]) -> None:
        """Tell the result of a background verification: to the hooks, and what of it the log may hold."""
        self.emit("verification", result, logged=logged)

    # -- the duty -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to send, what waits from earlier runs first."""
        if self._lines:
            self._aside.start()

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """One event for all that a batch refused."""
        files = [
            {
                "kind": one.kind,
                "reason": one.reason,
                "detail": one.detail,
                "quarantine": one.path.removeprefix(f"{META}/"),
                "source": log.source_id(one.candidate.path),
            }
            for one in outcomes
            if one.kind in _REFUSED
        ]
        if files:
            self.emit("refused", {"count": len(files), "files": files}, logged={"count": len(files)})
        if any(one.reason is Reason.BLOCKED for one in outcomes):
            self.trouble("blocked", "something stands in the archive where a folder must be")

    def work(self, _now: float) -> float | None:
        """Nothing: the thread does it."""
        return None

    def report(self) -> dict[str, object]:
        """For ``status.json``: what waits, and what became of the rest since the start."""
        if self._outbox is None:
            return {}
        counts = {"waiting": len(self._outbox), "sent": self._sent, "failed_attempts": self._failed}
        return {"hooks": counts | {"given_up": self._given_up, "dropped": self._outbox.dropped}}

    def close(self) -> None:
        """End within two seconds; what was not sent waits in the outbox for the next start."""
        self._aside.stop()

    # -- sending --------------------------------------------------------------------------------------

    def send(self, now: float) -> float | None:
        """One attempt for each hook that is due; returns when the next is."""
        for key, line in self._lines.items():
            if line.due <= now and not self._aside.stopping.is_set():
                self._send_one(key, line)
        assert self._outbox is not None
        return min((line.due for key, line in self._lines.items() if self._outbox.waiting(key)), default=None)

    def _send_one(self, key: str, line: _Line) -> None:
        assert self._outbox is not None
        found = self._outbox.next(key)
        if found is None:
            return
        name, body = found
        try:
            event = json.loads(body)
            kind, number = str(event["event"]), str(event["id"])
        except (ValueError, LookupError, TypeError):
            log.get().error("event_lost", reason="its file in the outbox is damaged")
            self._outbox.remove(key, name)
            return
        attempt = self._carrier.carry(line.hook, kind, number, body, self._aside.stopping)
        if attempt.answer is Answer.TAKEN:
            self._outbox.remove(key, name)
            self._sent += 1
            line.failures = 0
        elif not self._aside.stopping.is_set():
            self._not_taken(key, line, attempt, name, number)

    def _not_taken(self, key: str, line: _Line, attempt: Attempt, name: str, number: str) -> None:
        assert self._outbox is not None
        self._failed += 1
        line.failures += 1
        log.get().warning(
            "hook_failed", name=line.label, id=number, reason=attempt.reason, attempt=line.failures
        )
        old = self._outbox.age(name) > GIVE_UP
        if old or attempt.answer is Answer.NEVER:
            self._outbox.remove(key, name)
            self._given_up += 1
            log.get().error("event_given_up", name=line.label, id=number, reason=attempt.reason)
        else:
            self._outbox.put_last(key, name)
        if attempt.answer is Answer.LATER:
            line.due = time.monotonic() + pause(line.failures, attempt.pause)


def pause(failures: int, asked: float = 0.0) -> float:
    """Seconds until the next attempt: exponential with jitter, and not sooner than the other side asked."""
    longest = min(PAUSE_MOST, PAUSE_FIRST * 2.0 ** min(failures, 30))
    return max(longest * random.uniform(0.5, 1.0), min(asked, PAUSE_ASKED_MOST))  # noqa: S311 - no secret
