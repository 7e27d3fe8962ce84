"""Which groups of rows have gone quiet and were not yet reported; and a small file that remembers it.

Rows are those of the ledger, which only grows. They belong to a group: a series, or a dropped folder.
All rows up to a mark are reported; of some groups, more than that.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sorter.index.events import News


@dataclass(slots=True)
class _Open:
    first: int
    last: int
    since: float  # when the last of them was noticed
    due: float | None = None  # set where it was put off


@dataclass(slots=True)
class Quiet:
    """Groups by name, with their rows since the last report. Pure; times are monotonic seconds.

    Parameters
    ----------
    mark
        Every row up to this one was reported.
    reported
        By group: up to which row it was reported beyond the mark.
    """

    mark: int = 0
    reported: dict[str, int] = field(default_factory=dict)
    seen: int = 0
    _open: dict[str, _Open] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = max(self.seen, self.mark)

    def __len__(self) -> int:
        return len(self._open)

    def note(self, news: Mapping[str, News], newest: int, now: float) -> None:
        """Take in what came after :attr:`seen`, up to the newest row there is, whatever its group."""
        self.seen = max(self.seen, newest)
        for name, rows in news.items():
            done = self.reported_up_to(name)
            if rows.last <= done:
                continue
            group = self._open.get(name)
            if group is None:
                self._open[name] = _Open(max(rows.first, done + 1), rows.last, now)
            else:
                group.last, group.since, group.due = max(group.last, rows.last), now, None

    def due(self, now: float, seconds: float) -> list[str]:
        """The groups in which nothing has arrived for so long, those that wait longest first."""
        found = [(one.since, name) for name, one in self._open.items() if self._when(one, seconds) <= now]
        return [name for _, name in sorted(found)]

    def next_due(self, seconds: float) -> float | None:
        """When the next group may be due."""
        return min((self._when(one, seconds) for one in self._open.values()), default=None)

    def _when(self, one: _Open, seconds: float) -> float:
        return one.since + seconds if one.due is None else one.due

    def put_off(self, name: str, until: float) -> None:
        """Not yet: something of the group is still waiting."""
        self._open[name].due = until

    def quiet_since(self, name: str) -> float:
        """When the last row of an open group was noticed."""
        return self._open[name].since

    def reported_up_to(self, name: str) -> int:
        """The last row that was reported of a group."""
        return max(self.mark, self.reported.get(name, 0))

    def done(self, name: str, last: int) -> None:
        """The group was reported up to this row."""
        self._open.pop(name)
        self.reported[name] = last
        self.mark = min((one.first for one in self._open.values()), default=self.seen + 1) - 1
        self.reported = {name: row for name, row in self.reported.items() if row > self.mark}


class Memory:
    """A small JSON file that survives power cuts. It names drop folders: only its owner may read it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, origin: str, newest: int) -> Quiet:
        """What was reported, or everything, where nothing is known of this very index."""
        try:
            state: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            if state["origin"] in ("", origin):
                reported = {str(name): int(row) for name, row in state["reported"].items()}
                return Quiet(min(int(state["mark"]), newest), reported)
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
            pass  # none, or none that can be trusted: what is there now counts as reported
        return Quiet(newest)

    def save(self, quiet: Quiet, origin: str) -> None:
        """Replace the file, durably."""
        state = {"origin": origin, "mark": quiet.mark, "reported": quiet.reported}
        write_durably(self._path, json.dumps(state).encode())


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read: whole or not at all, and there after a power cut."""
    draft = path.with_name(f".{path.name}.new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the first trouble is what counts
            draft.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
