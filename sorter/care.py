"""Care of the index: a backup while the daemon runs, and a new index from the tree alone."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sorter.adopt import Progress, adopt
from sorter.config import Config
from sorter.errors import ArchiveError, ArchiveFullError, ConfigError, IndexUnusableError
from sorter.index import Index, sqlite_file
from sorter.index.draft import BESIDE, draft_of, leftovers
from sorter.index.engine import MENDED_BY
from sorter.intake import Intake
from sorter.organizer.lease import DaemonLease, RunsLease
from sorter.organizer.tree import trouble


def backup(config: Config, target: Path) -> int:
    """Copy the index to a new file, consistent even while the daemon writes; returns its size in bytes.

    Uses SQLite's backup API: a plain copy of a running index misses what is still in its log. The copy is
    one file, durable, with its name, when this returns.

    Raises
    ------
    ConfigError
        The target exists, or the index is no SQLite file.
    IndexUnusableError
        There is no index, it cannot be read, or it is damaged: a backup is checked before it has its name.
    ArchiveFullError, ArchiveError
        The target cannot be written.
    """
    source = sqlite_file(config.index_location)
    if not source.exists():
        raise IndexUnusableError(f"there is no index at {source}")
    if os.path.lexists(target):
        raise ConfigError(f"{target} exists already; a backup never replaces a file")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with _written():
            _copy(source, draft)
            _name(draft, target)
            _sync(target.parent)
    except FileExistsError:
        raise ConfigError(f"{target} exists already; a backup never replaces a file") from None
    finally:
        draft.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(source: Path, draft: Path) -> None:
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        reader = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)
        with contextlib.closing(reader), contextlib.closing(sqlite3.connect(draft)) as writer:
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode = DELETE")  # one file, readable where nothing can be written
            if writer.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise IndexUnusableError(f"the index is damaged, and no backup was made. {MENDED_BY}")
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", type(error).__name__)
        if code == "SQLITE_FULL":
            raise ArchiveFullError("no space left for the backup") from None
        raise IndexUnusableError(f"the index cannot be backed up ({code})") from None
    _sync(draft)


def _name(draft: Path, target: Path) -> None:
    """Unlike a rename alone, never replaces what came there meanwhile."""
    try:
        os.link(draft, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))  # no links here: reserve the name
        draft.rename(target)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        kind = ArchiveFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else ArchiveError
        raise kind(f"cannot write the backup: {os.strerror(error.errno or 0)}") from None


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def reindex(config: Config, *, progress: Progress = lambda _done, _all: None) -> tuple[int, Path | None]:
    """Build a new index from the archive tree and set the old one aside; returns (instances, the old index).

    Patients, studies, series and instances come back as they were. The ledger does not: what became of
    earlier sources is written nowhere else, so the old index is kept. It stays in place until the new one
    is whole, whatever happens meanwhile.

    Raises
    ------
    AlreadyRunningError
        A daemon serves this archive, or a rescan runs on it: stop it first.
    """
    source = sqlite_file(config.index_location)
    draft = draft_of(source)
    daemon = DaemonLease(config.archive)
    try:
        with RunsLease(config.archive, alone=True) as lease:
            with trouble("remove an unfinished index"):
                for part in leftovers(source):
                    part.unlink()
            with _NewIndex(config, lease, draft) as intake:
                intake.archive.sweep()
                count = adopt(intake, rebuild=True, progress=progress)
            with trouble("put the new index in place"):
                _sync(draft)
                aside = _set_aside(source)
                draft.rename(source)
                _sync(source.parent)
            return count, aside
    finally:
        daemon.release()


class _NewIndex(Intake):
    """An Intake whose index is a draft."""

    def __init__(self, config: Config, lease: RunsLease, draft: Path) -> None:
        self._draft = draft
        super().__init__(config, lease)

    def _open_index(self) -> Index:
        return Index.open(self._draft)


def _set_aside(source: Path) -> Path | None:
    if not source.exists():
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = source.with_name(f"{source.name}.{stamp}")
    for suffix in (*BESIDE, ""):  # the log goes with its database, and first: it must never meet another
        part = source.with_name(source.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
