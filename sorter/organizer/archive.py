"""The archive: the only code that names new files below the archive root.

What it guarantees, on a file system that keeps the promises of fsync: a name appears only when its bytes are
durable (rule 1); :meth:`Archive.publish` returns only when the names are durable (rule 2); a name that exists
is never replaced and never changes content (rule 4). Rule 3, the row before the source goes, is the
caller's: see :mod:`sorter.ingest`. Where the hardware lies about fsync, so does this.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import itertools
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sorter.errors import ArchiveError
from sorter.model import (
    PATIENT_KEYWORDS,
    Candidate,
    Expanded,
    Header,
    Kind,
    Outcome,
    Place,
    Reason,
    Refused,
    Staged,
)
from sorter.organizer.judge import Verdict
from sorter.organizer.lease import META, lease_if_dead, open_lock, remove_folder
from sorter.organizer.staging import Staging
from sorter.organizer.tree import Blocked, Tree, make_root, trouble

_KEY_HEADERS = (
    *PATIENT_KEYWORDS,
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "StudyDate",
)  # fmt: skip
_CHUNK = 1 << 20
QUARANTINE = f"{META}/quarantine"
FILL_IN = "fill_in"
# Trouble of this process or of the disk, which says nothing about what lies under a name.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)


class Archive:
    """One archive root, open for writing by this process (and, by turns, by others).

    Parameters
    ----------
    root
        The archive root; made, with its ``.sorter`` folder, where missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        with trouble("open the archive"):
            _check_owner(root)
            for folder in ("staging", "quarantine"):
                make_root(root / META / folder)
            self._tree = Tree(root)
            self._lock = open_lock(root / META / "lock")
        self._lease: int | None = None
        with self.turn():
            self.staging = self._new_staging()
        self._staging_folder = f"{META}/staging/{Path(self.staging.folder).name}"
        self._stamps = itertools.count()

    # -- turns: one writer at a time ------------------------------------------------------------------

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the archive's one writer lock; a daemon and a rescan take turns batch by batch."""
        with trouble("lock the archive"):
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            self._tree.forget()
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _new_staging(self) -> Staging:
        folder = self.root / META / "staging" / f"{os.getpid()}-{secrets.token_hex(4)}"
        with trouble("make a staging folder"):
            folder.mkdir()
            self._lease = open_lock(folder / ".lease")
            fcntl.flock(self._lease, fcntl.LOCK_EX)
        return Staging(str(folder))

    def sweep(self) -> int:
        """Remove what dead runs left in staging; returns the number of files removed.

        Whatever lies there has no row: it was either never published, or its name is adopted when the source
        is seen again. Folders whose lease is held belong to a living run and stay.
        """
        swept = 0
        with self.turn(), trouble("sweep the staging folder"):
            for folder in (self.root / META / "staging").iterdir():
                if str(folder) == self.staging.folder or not folder.is_dir():
                    continue
                with lease_if_dead(folder) as dead:
                    if dead:
                        swept += remove_folder(folder)
        return swept

    # -- publishing -------------------------------------------------------------------------------------

    def publish(
        self,
        verdicts: Sequence[Verdict],
        places: Mapping[str, Place],
        refused: Sequence[Refused],
    ) -> list[Outcome]:
        """Give each staged instance its name, or its place in quarantine; one outcome per candidate.

        Parameters
        ----------
        verdicts
            What is staged, durable (rule 1), in the order of arrival: an instance's duplicates come after it.
        places
            By SOP Instance UID, for the verdicts that say stored.
        refused
            What is not to be archived.

        Raises
        ------
        ArchiveError
            The archive does not take it; nothing of the batch may be recorded.
        """
        with trouble("publish"), clear_way():
            named: dict[str, Outcome] = {}
            if verdicts:
                self._reserve_stamps(len(verdicts))
            outcomes = [self._settle(verdict, places, named) for verdict in verdicts]
            outcomes += [self._refuse(one) for one in refused]
            self._tree.sync()
        return outcomes

    def discard(self, staged: Sequence[Staged | Refused | Expanded]) -> None:
        """Remove the staging names; published bytes keep their own."""
        for one in staged:
            if one.candidate.held:
                self.staging.discard(one.candidate.held)
            if one.name:
                self.staging.discard(one.name)

    def adopt(self, paths: Sequence[str]) -> list[str]:
        """Vouch for published files that have no row: make bytes and names durable again (rules 1 and 2).

        Returns those of the paths that are regular files.
        """
        found = []
        with trouble("adopt published files"):
            for path in paths:
                folder, _, leaf = path.rpartition("/")
                if self._make_durable(folder, leaf, lambda _fd: True):
                    found.append(path)
            self._tree.sync()
        return found

    def digest(self, path: str) -> str | None:
        """SHA-256 of a published file as it lies there now; ``None`` where it is none."""
        try:
            fd = os.open(self.locate(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _digest(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

    def locate(self, path: str) -> str:
        """The absolute path of a recorded file."""
        return f"{self.root}/{path}"

    def _settle(self, verdict: Verdict, places: Mapping[str, Place], named: dict[str, Outcome]) -> Outcome:
        staged = verdict.staged
        uid = staged.instance.header.text("SOPInstanceUID")
        if verdict.kind is Kind.STORED:
            named[uid] = outcome = self._store(staged, places[uid])
            return outcome
        # The first of this batch may have been deferred: then nothing vouches for these bytes yet.
        first = named.get(uid)
        if first is not None and first.kind is Kind.DEFERRED:
            return _outcome(staged, Kind.DEFERRED, reason=first.reason, detail=first.detail)
        if first is not None and first.kind is Kind.CONFLICT:
            return self._conflict(staged, first.detail, first.path)
        path = verdict.existing.path if verdict.existing else ""
        if not path and first is not None:
            path = first.path
        if verdict.kind is Kind.CONFLICT:
            return self._conflict(staged, verdict.detail, path)
        if verdict.existing and staged.instance.sha256 == verdict.existing.sha256:
            return self._confirm(staged, verdict.kind, path)
        return _outcome(staged, verdict.kind, path=path)

    def _store(self, staged: Staged, place: Place) -> Outcome:
        self._stamp(staged.name)
        for leaf in dict.fromkeys((place.leaf, place.spare)):
            path = f"{place.folder}/{leaf}" if place.folder else leaf
            try:
                self._tree.link(staged.name, self._staging_fd(), place.folder, leaf)
                return _outcome(staged, Kind.STORED, path=path)
            except FileExistsError:
                if self._holds(place.folder, leaf, staged.instance.sha256):
                    return _outcome(staged, Kind.STORED, path=path, detail="adopted")
            except Blocked as blocked:
                return _outcome(staged, Kind.DEFERRED, reason=Reason.BLOCKED, detail=str(blocked))
        return self._conflict(staged, "a file without a row holds other bytes under its name", path)

    def _reserve_stamps(self, count: int) -> None:
        """Take so many stamps for this turn; :meth:`_stamp` hands them out.

        The last of them is kept on the lock file, so that stamps grow from turn to turn whoever takes it,
        even when the clock is set back.
        """
        first = max(time.time_ns(), os.fstat(self._lock).st_mtime_ns + 1)
        self._stamps = itertools.count(first)
        with _no_times():
            os.utime(self._lock, ns=(first + count, first + count))

    def _stamp(self, name: str) -> None:
        """Write the order of arrival on the file itself, as its modification time.

        The first instance to come speaks for its patient, study and series. Only this tells a new index,
        made from the tree alone, which one it was. No promise rests on it, so it is not synced, and a file
        system that keeps no such times is no error.
        """
        now = next(self._stamps)
        with _no_times():
            os.utime(name, ns=(now, now), dir_fd=self._staging_fd(), follow_symlinks=False)

    def _confirm(self, staged: Staged, kind: Kind, path: str) -> Outcome:
        """A duplicate, once its archived file is there: put back where it was removed by hand."""
        folder, _, leaf = path.rpartition("/")
        try:
            facts = os.stat(leaf, dir_fd=self._tree.directory(folder), follow_symlinks=False)
        except FileNotFoundError:
            self._tree.link(staged.name, self._staging_fd(), folder, leaf)
            return _outcome(staged, kind, path=path, detail="restored")
        except Blocked:
            detail = "the folder of the archived file is not a folder any more"
            return _outcome(staged, Kind.DEFERRED, reason=Reason.BLOCKED, detail=detail)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != staged.instance.size:
            detail = "the archived file was changed or damaged: move it away, then it is put back"
            return _outcome(staged, Kind.DEFERRED, reason=Reason.BLOCKED, detail=detail)
        return _outcome(staged, kind, path=path)

    def _staging_fd(self) -> int:
        # Below the root like any folder, so that source and target are opened the same careful way.
        return self._tree.directory(self._staging_folder)

    def _holds(self, folder: str, name: str, sha256: str) -> bool:
        """Whether the taken name holds just these bytes; then it counts as ours, made durable again."""
        return self._make_durable(folder, name, lambda fd: _digest(fd) == sha256)

    def _make_durable(self, folder: str, name: str, is_ours: Callable[[int], bool]) -> bool:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self._tree.directory(folder))
        except Blocked:
            return False
        except OSError as error:
            if error.errno in _SCARCE:
                raise
            return False  # a symlink, a socket, somebody else's, or gone: not what we published
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode) or not is_ours(fd):
                return False
            os.fsync(fd)
        finally:
            os.close(fd)
        self._tree.touch(folder)
        return True

    # -- quarantine -------------------------------------------------------------------------------------

    def _conflict(self, staged: Staged, detail: str, existing: str) -> Outcome:
        path = self._quarantine(
            staged.candidate,
            Reason.CONFLICT,
            detail,
            name=staged.name,
            sha256=staged.instance.sha256,
            header=staged.instance.header,
            existing=existing,
        )
        return _outcome(staged, Kind.CONFLICT, reason=Reason.CONFLICT, detail=detail, path=path)

    def _refuse(self, one: Refused) -> Outcome:
        path = ""
        if one.kind is Kind.REJECTED:
            path = self._quarantine(
                one.candidate,
                one.reason,
                one.detail,
                name=one.name,
                sha256=one.source_sha256,
                header=one.header,
                missing=one.missing,
            )
        return Outcome(
            one.candidate, one.kind, one.reason, one.detail, path=path, source_sha256=one.source_sha256
        )

    def _quarantine(
        self,
        candidate: Candidate,
        reason: Reason,
        detail: str,
        *,
        name: str,
        sha256: str,
        header: Header,
        existing: str = "",
        missing: Sequence[str] = (),
    ) -> str:
        """Keep the bytes and a JSON that says why; the same bytes are kept once per reason."""
        folder = f"{QUARANTINE}/{reason}"
        key = sha256[:24] or hashlib.sha256(repr(candidate.version).encode()).hexdigest()[:24]
        note = {
            "reason": reason,
            "detail": detail,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "sha256": sha256,
            "size": candidate.size,
            "source": os.fsencode(candidate.path).decode("utf-8", "backslashreplace"),
            "header": {k: header.values[k] for k in _KEY_HEADERS if k in header.values},
        }
        if existing:
            note["existing"] = existing
        if missing:
            note[FILL_IN] = dict.fromkeys(missing, "")  # for people to fill in: sorter.unpack reads it
        path = f"{folder}/{key}.json"
        if name:
            path = f"{folder}/{self._place_once(name, folder, key, sha256)}"
        staged = f"{key}-{secrets.token_hex(4)}.json"
        self.staging.write(staged, [json.dumps(note, indent=2, ensure_ascii=False).encode()], sync=True)
        with contextlib.suppress(FileExistsError):  # the first note about these bytes stays
            self._tree.link(staged, self._staging_fd(), folder, f"{key}.json")
        self.staging.discard(staged)
        return path

    def _place_once(self, name: str, folder: str, key: str, sha256: str) -> str:
        """Name the bytes after their digest; beside a damaged file of that name, with a number."""
        for number in itertools.count():
            leaf = f"{key}-{number}.dcm" if number else f"{key}.dcm"
            try:
                self._tree.link(name, self._staging_fd(), folder, leaf)
            except FileExistsError:
                if not self._holds(folder, leaf, sha256):
                    continue
            return leaf
        raise AssertionError("unreachable: the numbers never end")

    def annotate(self, path: str, note: Mapping[str, object]) -> None:
        """Put another note in a quarantine note's place: whole and durable before it has the name.

        Parameters
        ----------
        path
            Of the note, relative to the root; within a turn.
        """
        folder, leaf = _quarantine_name(path)
        staged = f"{leaf}-{secrets.token_hex(4)}"
        self.staging.write(staged, [json.dumps(note, indent=2, ensure_ascii=False).encode()], sync=True)
        with trouble("change a note in quarantine"), clear_way():
            target = self._tree.directory(folder)
            os.rename(staged, leaf, src_dir_fd=self._staging_fd(), dst_dir_fd=target)
            self._tree.touch(folder)
            self._tree.sync()

    def remove_quarantined(self, paths: Sequence[str]) -> None:
        """Remove files of the quarantine, durably; those that are gone already are no error.

        The caller has made sure that nothing is lost with them, and holds the turn.

        Raises
        ------
        ValueError
            A path lies elsewhere; nothing is removed.
        """
        names = [_quarantine_name(path) for path in paths]
        with trouble("remove files of the quarantine"), clear_way():
            for folder, leaf in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(leaf, dir_fd=self._tree.directory(folder))
                self._tree.touch(folder)
            self._tree.sync()

    # -- the rest ---------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Bytes that this process may still write."""
        facts = os.fstatvfs(self._tree.fd)
        return facts.f_bavail * facts.f_frsize

    def close(self) -> None:
        """Remove this run's staging folder and close all."""
        with self.turn(), trouble("remove the staging folder"):
            remove_folder(Path(self.staging.folder))
        for fd in (self._lease, self._lock):
            if fd is not None:
                os.close(fd)
        self._tree.close()


def _check_owner(root: Path) -> None:
    """Root must not leave folders in somebody else's archive: its owner could not write into them later."""
    if os.geteuid() != 0:
        return
    owners = {path.stat().st_uid for path in (root, root / META) if path.exists()} - {0}
    if owners:
        owner = min(owners)
        raise ArchiveError(
            f"the archive belongs to user id {owner}: run this as that user, for example with "
            f"`sudo -u '#{owner}' sorter ...`"
        )


def _outcome(
    staged: Staged, kind: Kind, *, reason: Reason | None = None, detail: str = "", path: str = ""
) -> Outcome:
    return Outcome(staged.candidate, kind, reason, detail, path, staged.source_sha256, staged.instance)


@contextlib.contextmanager
def _no_times() -> Iterator[None]:
    """A file system that keeps no such times, or does not let us set them, is no error."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise


@contextlib.contextmanager
def clear_way() -> Iterator[None]:
    """Make an obstacle within ``.sorter`` an error of the archive: there no folder is anybody else's."""
    try:
        yield
    except Blocked:
        raise ArchiveError("something that is not a folder stands in .sorter; move it away") from None


def _quarantine_name(path: str) -> tuple[str, str]:
    """(folder, name) of a file in quarantine."""
    folder, _, leaf = path.rpartition("/")
    if folder.rpartition("/")[0] != QUARANTINE or not leaf or ".." in path.split("/"):
        raise ValueError("this path does not lie in the quarantine")
    return folder, leaf


def _digest(fd: int) -> str:
    digest = hashlib.sha256()
    while chunk := os.read(fd, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
