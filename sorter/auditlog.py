"""The audit trail: who did what when, as audit messages of PS3.15 A.5, in a file that is only appended to.

One XML message a line. It names studies and patient IDs, which the profile asks for, and nothing else of what
headers hold. Off by default: everything here does nothing then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from xml.etree.ElementTree import Element, tostring

from sorter import log
from sorter.auditmessage import (
    SERIOUS,
    START,
    STOP,
    SUCCESS,
    Alert,
    Reporter,
    activity,
    imports,
    security_alert,
    uri,
)
from sorter.config import Config
from sorter.errors import ConfigError
from sorter.model import Outcome, Reason

__all__ = ["Alert", "AuditTrail"]

MOST_KEPT = 10_000
_TRY_AGAIN, _LOOK_AGAIN = 5.0, 60.0
_ALERT_AGAIN = 600.0  # files that are blocked are tried again and again


class AuditTrail:
    """Writes the audit trail; a duty of the daemon, and a context manager for commands.

    Parameters
    ----------
    command
        What runs: "daemon", "rescan" and so on.

    Raises
    ------
    ConfigError
        The file is set and cannot be written, or lies in a drop folder or in the archive.
    """

    def __init__(self, config: Config, command: str = "daemon") -> None:
        self._root = config.archive
        self._drops = [str(folder) for folder in config.incoming]
        self._by = Reporter(command)
        self._file = _File(config.audit_log) if config.audit_log else None
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._written = self._lost = 0
        self._failing = False
        self._blocked_again = 0.0
        if config.audit_log:
            _check_place(config, config.audit_log)
            assert self._file is not None
            try:
                self._file.open()
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise ConfigError(f"audit_log: cannot write to {config.audit_log}: {reason}") from None
        self._tell([activity(self._by, START)])

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """One message for each study that a batch brought in; another for what of it was in conflict."""
        if self._file is None:
            return
        self._tell(imports(self._by, outcomes, self._drops))
        if any(one.reason is Reason.BLOCKED for one in outcomes):
            now = time.monotonic()
            if now >= self._blocked_again:
                self._blocked_again = now + _ALERT_AGAIN
                self.alert(Alert.BLOCKED, "something stands in the archive where a folder must be")

    def alert(self, kind: Alert, detail: str, *, sop_instance_uid: str = "") -> None:
        """A security alert; from any thread.

        Parameters
        ----------
        detail
            What was found, without patient data.
        sop_instance_uid
            Of the archived instance; empty where the archive as a whole is meant.
        """
        if self._file is not None:
            subject = f"urn:oid:{sop_instance_uid}" if sop_instance_uid else uri(self._by.host, self._root)
            self._tell([security_alert(self._by, kind, detail, subject)])

    def work(self, now: float) -> float | None:
        """Write what could not be written before."""
        self._tell([])
        return None if self._file is None else now + _TRY_AGAIN if self._waiting else now + _LOOK_AGAIN

    def report(self) -> dict[str, object]:
        """For ``status.json``."""
        if self._file is None:
            return {}
        counts = {"written": self._written, "waiting": len(self._waiting), "lost": self._lost}
        return {"audit_trail": counts}

    def close(self, *, failed: bool = False) -> None:
        """Say that the application stops, and close the file."""
        self._tell([activity(self._by, STOP, SERIOUS if failed else SUCCESS)])
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> AuditTrail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def _tell(self, messages: Sequence[Element]) -> None:
        if self._file is None:
            return
        with self._lock:
            for message in messages:
                self._waiting.append(tostring(message, encoding="utf-8", xml_declaration=False) + b"\n")
            while len(self._waiting) > MOST_KEPT:
                self._waiting.popleft()
                self._lost += 1
            if not self._waiting:
                return
            try:
                self._file.append(b"".join(self._waiting))
            except OSError as error:
                if not self._failing:
                    log.get().error("audit_trail_failed", exception=log.describe(error))
                self._failing = True
                return
            self._written += len(self._waiting)
            self._waiting.clear()
            if self._failing:
                log.get().info("audit_trail_recovered", count=self._lost)
                self._failing = False


class _File:
    """The file: appended to, synced, opened anew when somebody rotated it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._torn = False

    def open(self) -> None:
        """Open it, or make it; a line that a crash left half written is ended.

        Raises
        ------
        OSError
            It cannot be written, or is no regular file.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o640)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            self._torn = facts.st_size > 0 and os.pread(fd, 1, facts.st_size - 1) != b"\n"
            _sync_folder(self._path.parent)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def append(self, lines: bytes) -> None:
        """Write lines and sync them.

        Raises
        ------
        OSError
            Some may be there, the last of them cut; all must be written again.
        """
        if not self._is_current():
            self.close()
            self.open()
        assert self._fd is not None
        left = memoryview(b"\n" + lines if self._torn else lines)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
                self._torn = True
            self._torn = False
            os.fsync(self._fd)
        except OSError:
            self.close()  # an fsync is never tried again on the same descriptor
            raise

    def _is_current(self) -> bool:
        if self._fd is None:
            return False
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def close(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):  # what matters was synced
                os.close(self._fd)
            self._fd = None


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_place(config: Config, path: Path) -> None:
    for folder in (*config.incoming, config.archive):
        if folder in path.parents:
            raise ConfigError(f"audit_log: {path} lies inside {folder}")
