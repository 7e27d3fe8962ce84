"""What the index says, read by SQL alone and row by row as it grows."""

import contextlib
import sqlite3
from dataclasses import dataclass

from sorter.index.names import original

SAFE = ("stored", "duplicate", "equivalent")


@dataclass(frozen=True, slots=True)
class Word:
    """One row of the ledger; ``path`` is where it was put then."""

    outcome: str
    reason: str
    path: str


@dataclass(frozen=True, slots=True)
class Row:
    """One archived instance."""

    uid: str
    path: str
    sha256: str
    stream: str  # SHA-256 of the DICOM stream it came as
    pixel_sha256: str
    pixels: str
    size: int


@contextlib.contextmanager
def reading(archive):
    """A read-only connection, as any reader has it."""
    connection = sqlite3.connect(f"file:{archive}/.sorter/index.sqlite?mode=ro", uri=True, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


class Ledger:
    """Follows the index: :meth:`refresh` reads the rows that are new since the last time."""

    def __init__(self, archive):
        self.archive = archive
        self.words = {}  # source path -> version -> Word
        self.safe = set()  # SHA-256 of files that were stored, duplicate or equivalent
        self.rows = {}  # SOP Instance UID -> Row
        self._source = self._instance = 0

    def refresh(self):
        """Read on; returns the rows of instances that are new."""
        new = []
        try:
            with reading(self.archive) as connection:
                connection.execute("BEGIN")  # both at one moment
                for uid, *row in connection.execute(
                    "SELECT sop_instance_uid, path, sha256, source_sha256, pixel_sha256, pixels, size, id"
                    " FROM instances WHERE id > ? ORDER BY id",
                    (self._instance,),
                ):
                    self._instance = row.pop()
                    self.rows[uid] = Row(uid, *row)
                    new.append(self.rows[uid])
                for row in connection.execute(
                    "SELECT folders.path, name, inode, size, mtime_ns, ctime_ns, sha256, outcome, reason,"
                    " sources.path, sources.id FROM sources JOIN folders ON folders.id = folder_fk"
                    " WHERE sources.id > ? ORDER BY sources.id",
                    (self._source,),
                ):
                    self._note(row)
        except sqlite3.OperationalError:
            if self._source:  # else there is no index yet
                raise
        return new

    def _note(self, row):
        folder, name, *version, sha256, outcome, reason, path, self._source = row
        source = f"{original(folder)}/{original(name)}"
        self.words.setdefault(source, {})[tuple(version)] = Word(outcome, reason, path)
        if outcome in SAFE and sha256:
            self.safe.add(sha256)

    def word(self, path, seen):
        """The last word about the version of a source that ``lstat`` shows; None where there is none."""
        version = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        return self.words.get(path, {}).get(version)

    def has_seen_bytes(self, path, seen):
        """Whether there is a word about a version that differs in its ctime alone: nothing was written."""
        same = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        return any(version[:3] == same for version in self.words.get(path, ()))

    def forget(self, keep):
        """Forget the words about all other sources."""
        self.words = {path: words for path, words in self.words.items() if path in keep}
