"""The outbox: events that hooks have not taken yet, one small file each, below ``.sorter/outbox``.

It survives restarts, and is bounded. Who writes calls :meth:`Outbox.put`; one thread sends.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from collections import deque
from pathlib import Path

from sorter import log
from sorter.config import Hook
from sorter.events.quiet import write_durably
from sorter.organizer.tree import trouble

MOST_KEPT = 10_000
_NAME = re.compile(r"\d{20}-\d{6,}-([0-9a-f]{16})\.json")


def hook_key(hook: Hook) -> str:
    """A short name of where a hook leads, for the files that wait for it."""
    return hashlib.blake2b("\0".join((hook.url, *hook.command)).encode(), digest_size=8).hexdigest()


class Outbox:
    """Queues of files, one queue a hook, oldest first; a file is named by time, running number and hook.

    Parameters
    ----------
    keys
        Of the hooks there are; what waits for others is dropped.
    most
        So many files are kept in all; then the oldest goes for each new one.

    Raises
    ------
    ArchiveError
        The folder cannot be made or read.
    """

    def __init__(self, folder: Path, keys: list[str], *, most: int = MOST_KEPT) -> None:
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._queues: dict[str, deque[str]] = {key: deque() for key in keys}
        self.dropped = 0
        with trouble("open the outbox"):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._load()

    def _load(self) -> None:
        strangers = 0
        for path in sorted(self._folder.iterdir()):
            name = _NAME.fullmatch(path.name)
            queue = self._queues.get(name[1]) if name else None
            if queue is not None:
                queue.append(path.name)
            elif path.is_file():
                path.unlink()
                strangers += name is not None  # the others are drafts that a crash left
        if strangers:
            log.get().warning(
                "outbox_dropped", count=strangers, reason="their hook is not configured any more"
            )

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def waiting(self, key: str) -> int:
        """How many wait for a hook."""
        return len(self._queues[key])

    def put(self, key: str, body: bytes) -> None:
        """Keep an event for a hook; it is durable when this returns.

        Raises
        ------
        OSError
            It could not be written.
        """
        with self._lock:
            name = f"{time.time_ns():020d}-{next(self._numbers):06d}-{key}.json"
            write_durably(self._folder / name, body)
            self._queues[key].append(name)
            if len(self) > self._most:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        name, queue = min((min(queue), queue) for queue in self._queues.values() if queue)
        queue.remove(name)
        self.dropped += 1
        (self._folder / name).unlink(missing_ok=True)
        log.get().error("outbox_dropped", count=1, limit=self._most, reason="the outbox is full")

    def next(self, key: str) -> tuple[str, bytes] | None:
        """(file name, event) of the one to send next; ``None`` where none waits."""
        while True:
            with self._lock:
                queue = self._queues[key]
                if not queue:
                    return None
                name = queue[0]
            try:
                return name, (self._folder / name).read_bytes()
            except FileNotFoundError:
                self.remove(key, name)  # somebody emptied the folder by hand

    def remove(self, key: str, name: str) -> None:
        """It was sent, or given up."""
        with self._lock:
            if name in self._queues[key]:
                self._queues[key].remove(name)
        (self._folder / name).unlink(missing_ok=True)

    def put_last(self, key: str, name: str) -> None:
        """Try the others first: one that a hook cannot take must not hold up all."""
        with self._lock:
            queue = self._queues[key]
            if name in queue:
                queue.remove(name)
                queue.append(name)

    @staticmethod
    def age(name: str) -> float:
        """Seconds since the event was put in."""
        return time.time() - int(name.partition("-")[0]) / 1e9
