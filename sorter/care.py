"""Care of the index: a backup while the daemon runs, and a new index from the tree alone."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from sorter.adopt import adopt
from sorter.config import Config
from sorter.errors import ArchiveError, ConfigError, IndexUnusableError
from sorter.index import sqlite_file
from sorter.intake import Intake
from sorter.organizer.lease import DaemonLease, RunsLease


def backup(config: Config, target: Path) -> int:
    """Copy the index to a new file, consistent even while the daemon writes; returns its size in bytes.

    Uses SQLite's backup API: a plain copy of a running index misses what is still in its log.

    Raises
    ------
    ConfigError
        The target exists, or the index is no SQLite file.
    IndexUnusableError
        There is no index, or it cannot be read.
    """
    source = sqlite_file(config.index_location)
    if not source.exists():
        raise IndexUnusableError(f"there is no index at {source}")
    if target.exists():
        raise ConfigError(f"{target} exists already; a backup never replaces a file")
    draft = target.with_name(f".{target.name}.part")
    try:
        reader = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)
        with contextlib.closing(reader), contextlib.closing(sqlite3.connect(draft)) as writer:
            reader.backup(writer)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.rename(target)
    except sqlite3.Error as error:
        draft.unlink(missing_ok=True)
        raise IndexUnusableError(f"the index cannot be backed up ({type(error).__name__})") from None
    except OSError as error:
        raise ArchiveError(f"cannot write the backup: {error.strerror}") from None
    return target.stat().st_size


def reindex(config: Config) -> tuple[int, Path | None]:
    """Set the index aside and build a new one from the archive tree; returns (instances, the old index).

    Patients, studies, series and instances come back. The ledger does not: what became of earlier sources
    is written nowhere else, so the old index is kept.

    Raises
    ------
    AlreadyRunningError
        A daemon serves this archive, or a rescan runs on it: stop it first.
    """
    source = sqlite_file(config.index_location)
    daemon = DaemonLease(config.archive)
    try:
        with RunsLease(config.archive, alone=True) as lease:
            return _rebuild(config, source, lease)
    finally:
        daemon.release()


def _rebuild(config: Config, source: Path, lease: RunsLease) -> tuple[int, Path | None]:
    aside = _set_aside(source)
    try:
        with Intake(config, lease) as intake:
            return adopt(intake), aside
    except BaseException:
        if aside is not None:  # half an index is worse than the old one
            _move(source, source.with_name(f"{source.name}.unfinished"))
            _move(aside, source)
        raise


def _set_aside(source: Path) -> Path | None:
    if not source.exists():
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = source.with_name(f"{source.name}.{stamp}")
    _move(source, aside)
    return aside


def _move(source: Path, target: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal", ""):  # the log goes with its database
        part = source.with_name(source.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
