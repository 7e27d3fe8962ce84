"""What verification finds, as data; kept in a temporary database, however much it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Wrong(StrEnum):
    """What can be wrong with an archive."""

    MISSING = "missing"  # a row without its file
    DAMAGED = "damaged"  # a file with another size or digest than its row says, or that the disk cannot give
    UNREADABLE = "unreadable"  # a file or folder that this user may not read
    NO_ROW = "no_row"  # a file that no row names
    SECOND_NAME = "second_name"  # another name of a file that lies under its recorded name too
    MISPLACED = "misplaced"  # a row whose path is not in its series' folder, or not a safe one
    PERMISSIONS = "permissions"
    OWNER = "owner"
    STRAY = "stray"  # what a dead run left
    NO_NOTE = "quarantine_no_note"
    NOTE_DAMAGED = "quarantine_note_damaged"
    QUARANTINED_MISSING = "quarantine_missing"
    QUARANTINED_DAMAGED = "quarantine_damaged"
    INDEX = "index"


class Mend(StrEnum):
    """What ``--repair`` can do about a finding; the empty one: nothing."""

    NOTHING = ""
    PUT_BACK = "put back under its recorded name"
    RESTORE = "restore from a source that is still there"
    REMOVE_NAME = "remove the second name of a file"
    ADOPT = "give it a row, if it is an instance"
    PERMISSIONS = "set the permissions right"
    SWEEP = "remove what a dead run left"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    path
        Relative to the archive root; or the source that a mend would take.
    expected, found
        In words: a digest, a size, a mode.
    mend, source
        What ``--repair`` can do, and from which path (relative, or absolute outside the archive).
    instance
        Id of the row concerned; 0 for none.
    sha256, size
        Of the row concerned; for a file without a row, its own size.
    """

    kind: Wrong
    path: str
    expected: str = ""
    found: str = ""
    mend: Mend = Mend.NOTHING
    source: str = ""
    instance: int = 0
    sha256: str = ""
    size: int = 0

    def facts(self) -> dict[str, str | None]:
        """For JSON."""
        return {
            "kind": str(self.kind),
            "path": self.path,
            "expected": self.expected or None,
            "found": self.found or None,
            "repair": str(self.mend) or None,
            "source": self.source or None,
        }


_COLUMNS = ("kind", "path", "expected", "found", "mend", "source", "instance", "sha256", "size")


class Findings:
    """All that was found. The database has no name, grows on disk, and is gone with this object."""

    def __init__(self) -> None:
        self._kept = sqlite3.connect("", isolation_level=None)
        self._kept.execute(f"CREATE TABLE findings (id INTEGER PRIMARY KEY, {', '.join(_COLUMNS)})")
        self._kept.execute("CREATE INDEX by_kind ON findings (kind, size)")
        self._kept.execute("CREATE INDEX by_mend ON findings (mend)")

    def add(self, one: Finding) -> None:
        """Keep one; names that are not UTF-8 become readable."""
        values = [getattr(one, name) for name in _COLUMNS]
        texts = [
            value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
            for value in values
        ]
        marks = ", ".join("?" * len(texts))
        insert = f"INSERT INTO findings ({', '.join(_COLUMNS)}) VALUES ({marks})"  # noqa: S608 - our own names
        self._kept.execute(insert, texts)

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return dict(self._kept.execute("SELECT kind, count(*) FROM findings GROUP BY kind ORDER BY kind"))

    def mends(self) -> dict[str, int]:
        """How many of each mend."""
        return dict(self._kept.execute("SELECT mend, count(*) FROM findings GROUP BY mend ORDER BY mend"))

    def __len__(self) -> int:
        """How many in all."""
        (count,) = self._kept.execute("SELECT count(*) FROM findings").fetchone()
        return int(count)

    def numbered(
        self, *, kind: Wrong | None = None, mend: Mend | None = None
    ) -> Iterator[tuple[int, Finding]]:
        """(number, finding) of one kind or one mend, or all, as found; they may change meanwhile."""
        given = [(name, str(value)) for name, value in (("kind", kind), ("mend", mend)) if value is not None]
        where = "".join(f" AND {name} = ?" for name, _ in given)
        query = f"SELECT id, {', '.join(_COLUMNS)} FROM findings WHERE id > ?{where} ORDER BY id LIMIT 500"  # noqa: S608 - our own names
        last = 0
        while rows := self._kept.execute(query, [last, *(value for _, value in given)]).fetchall():
            for number, wrong, path, expected, found, how, *rest in rows:
                yield number, Finding(Wrong(wrong), path, expected, found, Mend(how), *rest)
                last = number

    def all(self, *, kind: Wrong | None = None, mend: Mend | None = None) -> Iterator[Finding]:
        """As :meth:`numbered`, without the numbers."""
        return (one for _, one in self.numbered(kind=kind, mend=mend))

    def can(self, number: int, mend: Mend, source: str = "") -> None:
        """Say what can be done about a finding."""
        change = "UPDATE findings SET mend = ?, source = ? WHERE id = ?"
        self._kept.execute(change, (str(mend), source, number))

    def is_second_name(self, number: int, path: str) -> None:
        """A file without a row is just another name of this recorded one."""
        change = "UPDATE findings SET kind = ?, mend = ?, source = ? WHERE id = ?"
        self._kept.execute(change, (str(Wrong.SECOND_NAME), str(Mend.REMOVE_NAME), path, number))

    def same_size(self) -> Iterator[tuple[int, Finding]]:
        """Files without a row that have the size of a missing or damaged one."""
        lost = "SELECT size FROM findings WHERE kind IN ('missing', 'damaged')"
        query = f"SELECT id, path, size FROM findings WHERE kind = 'no_row' AND size IN ({lost})"  # noqa: S608
        rows = self._kept.execute(query).fetchall()
        for number, path, size in rows:
            yield number, Finding(Wrong.NO_ROW, path, size=size)

    def lost(self, sha256: str) -> list[tuple[int, Finding]]:
        """Missing or damaged instances with this digest."""
        query = (
            "SELECT id, kind, path, instance, sha256, size FROM findings "
            "WHERE kind IN ('missing', 'damaged') AND sha256 = ? AND mend = ''"
        )
        return [
            (number, Finding(Wrong(kind), path, instance=instance, sha256=digest, size=size))
            for number, kind, path, instance, digest, size in self._kept.execute(query, (sha256,)).fetchall()
        ]

    def forget(self, number: int) -> None:
        """It is mended."""
        self._kept.execute("DELETE FROM findings WHERE id = ?", (number,))

    def close(self) -> None:
        """Forget all."""
        self._kept.close()
