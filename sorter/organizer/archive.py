"""The archive: the only code that names new files below the archive root.

What it guarantees, on a file system that keeps the promises of fsync: a name appears only when its bytes are
durable (rule 1); :meth:`Archive.publish` returns only when the names are durable (rule 2); a name that exists
is never replaced and never changes content (rule 4). Rule 3, the row before the source goes, is the
caller's: see :mod:`sorter.ingest`. Where the hardware lies about fsync, so does this.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sorter.errors import ArchiveError
from sorter.model import Expanded, Kind, Outcome, Place, Reason, Refused, Staged
from sorter.organizer.judge import Verdict
from sorter.organizer.lease import META, lease_if_dead, open_lock, remove_folder
from sorter.organizer.quarantine import Quarantine, clear_way
from sorter.organizer.staging import Staging
from sorter.organizer.stamps import Stamps
from sorter.organizer.tree import Blocked, Tree, digest, make_root, trouble


class Archive:
    """One archive root, open for writing by this process (and, by turns, by others).

    Parameters
    ----------
    root
        The archive root; made, with its ``.sorter`` folder, where missing.

    Attributes
    ----------
    tree
        Its directories; within a turn.
    staging
        This run's own staging folder.
    quarantine
        Where refused bytes are kept; within a turn.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        with trouble(f"open the archive {root}"):
            _check_owner(root)
            for folder in ("staging", "quarantine"):
                make_root(root / META / folder)
            self.tree = Tree(root)
            self._lock = open_lock(root / META / "lock")
        self._lease: int | None = None
        with self.turn():
            self.staging = self._new_staging()
        self._staging_folder = f"{META}/staging/{Path(self.staging.folder).name}"
        self.quarantine = Quarantine(self.tree, self.staging, self.staging_fd)
        self._stamps = Stamps(self._lock)

    # -- turns: one writer at a time ------------------------------------------------------------------

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the archive's one writer lock; a daemon and a rescan take turns batch by batch."""
        with trouble("lock the archive"):
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            self.tree.forget()
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
                self._stamps.reserve(len(verdicts))
            outcomes = [self._settle(verdict, places, named) for verdict in verdicts]
            outcomes += [self._refuse(one) for one in refused]
            self.tree.sync()
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
                if self.tree.vouch(folder, leaf, lambda _fd: True):
                    found.append(path)
            self.tree.sync()
        return found

    def digest(self, path: str) -> str | None:
        """SHA-256 of a published file as it lies there now; ``None`` for what is none or unreadable."""
        try:
            fd = os.open(self.locate(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return digest(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except OSError:
            return None
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
        self._stamps.put(staged.name, self.staging_fd())
        for leaf in dict.fromkeys((place.leaf, place.spare)):
            path = f"{place.folder}/{leaf}" if place.folder else leaf
            try:
                self.tree.link(staged.name, self.staging_fd(), place.folder, leaf)
                return _outcome(staged, Kind.STORED, path=path)
            except FileExistsError:
                if self.tree.holds(place.folder, leaf, staged.instance.sha256):
                    return _outcome(staged, Kind.STORED, path=path, detail="adopted")
            except Blocked as blocked:
                return _outcome(staged, Kind.DEFERRED, reason=Reason.BLOCKED, detail=str(blocked))
        return self._conflict(staged, "a file without a row holds other bytes under its name", path)

    def _confirm(self, staged: Staged, kind: Kind, path: str) -> Outcome:
        """A duplicate, once its archived file is there: put back where it was removed by hand."""
        folder, _, leaf = path.rpartition("/")
        try:
            facts = os.stat(leaf, dir_fd=self.tree.directory(folder), follow_symlinks=False)
        except FileNotFoundError:
            self.tree.link(staged.name, self.staging_fd(), folder, leaf)
            return _outcome(staged, kind, path=path, detail="restored")
        except Blocked:
            detail = "the folder of the archived file is not a folder any more"
            return _outcome(staged, Kind.DEFERRED, reason=Reason.BLOCKED, detail=detail)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != staged.instance.size:
            detail = "the archived file was changed or damaged: move it away, then it is put back"
            return _outcome(staged, Kind.DEFERRED, reason=Reason.BLOCKED, detail=detail)
        return _outcome(staged, kind, path=path)

    def staging_fd(self) -> int:
        """Descriptor of the staging folder, within a turn."""
        # Below the root like any folder, so that source and target are opened the same careful way.
        return self.tree.directory(self._staging_folder)

    # -- quarantine -------------------------------------------------------------------------------------

    def _conflict(self, staged: Staged, detail: str, existing: str) -> Outcome:
        path = self.quarantine.keep(
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
            path = self.quarantine.keep(
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

    # -- the rest ---------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Bytes that this process may still write."""
        facts = os.fstatvfs(self.tree.fd)
        return facts.f_bavail * facts.f_frsize

    def close(self) -> None:
        """Remove this run's staging folder and close all."""
        with self.turn(), trouble("remove the staging folder"):
            remove_folder(Path(self.staging.folder))
        for fd in (self._lease, self._lock):
            if fd is not None:
                os.close(fd)
        self.tree.close()


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
