"""Everything that is no recorded file: files and folders of the tree, staging, the quarantine."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator

from sorter.adopt import without_row
from sorter.index import conservation, sqlite_file, verification
from sorter.index.draft import leftovers
from sorter.intake import Intake
from sorter.organizer.lease import META, lease_if_dead
from sorter.organizer.quarantine import QUARANTINE
from sorter.verification.findings import Finding, Findings, Mend, Wrong
from sorter.verification.reading import digest_of

_KEY = 24  # hex digits of the digest that names a file in quarantine


class Rest:
    """Checks what the rows of the instances do not name.

    Parameters
    ----------
    owner
        The user id that all should belong to.
    """

    def __init__(self, intake: Intake, findings: Findings, *, quick: bool, owner: int) -> None:
        self._intake, self._findings, self._quick, self._owner = intake, findings, quick, owner
        self._root = str(intake.config.archive)

    def check(self) -> tuple[int, int]:
        """Do it; returns (files in the tree, files in quarantine)."""
        files = sum(self._folder(folder) for folder in self._folders())
        self._staging()
        self._drafts()
        quarantined = self._quarantine()
        self._ledger()
        return files, quarantined

    # -- every file has its row -------------------------------------------------------------------------

    def _folders(self) -> Iterator[str]:
        """Every folder of the tree, relative to the root."""
        pending = [""]
        while pending:
            folder = pending.pop()
            yield folder
            pending += reversed(self._inside)

    def _folder(self, folder: str) -> int:
        """Look at one folder; returns how many files it has. Its subfolders are left in ``_inside``."""
        self._inside: list[str] = []
        names, prefix = [], f"{folder}/" if folder else ""
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    if entry.is_dir(follow_symlinks=False):
                        if prefix or entry.name != META:
                            self._inside.append(f"{prefix}{entry.name}")
                            self._mode(f"{prefix}{entry.name}", entry)
                    elif _is_text(prefix + entry.name):
                        names.append(entry.name)
                    else:
                        self._findings.add(Finding(Wrong.NO_ROW, prefix + entry.name, found="no UTF-8 name"))
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._findings.add(Finding(Wrong.UNREADABLE, folder, "a readable folder", _words(error)))
            return 0
        if suspects := without_row(self._intake.index, folder, names) if _is_text(folder) else []:
            with self._intake.archive.turn():  # one that was being published has its row by now
                own = [path.rpartition("/")[2] for path in suspects]
                for path in without_row(self._intake.index, folder, own):
                    self._without_row(path)
        return len(names)

    def _without_row(self, path: str) -> None:
        try:
            facts = os.lstat(f"{self._root}/{path}")
        except FileNotFoundError:
            return
        if stat.S_ISREG(facts.st_mode):
            self._findings.add(
                Finding(Wrong.NO_ROW, path, "a row", f"{facts.st_size} bytes", Mend.ADOPT, size=facts.st_size)
            )
        else:
            what = "a symbolic link" if stat.S_ISLNK(facts.st_mode) else "something that is no file"
            self._findings.add(Finding(Wrong.NO_ROW, path, "a file", what))

    def _mode(self, folder: str, entry: os.DirEntry[str]) -> None:
        """A folder is its owner's to use, and not everybody's to write."""
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        mode = stat.S_IMODE(facts.st_mode)
        if mode & 0o700 != 0o700 or mode & 0o002:
            found = f"{mode:04o}"
            self._findings.add(
                Finding(Wrong.PERMISSIONS, folder, "0755 or the like", found, Mend.PERMISSIONS)
            )
        if facts.st_uid != self._owner:
            expected, found = f"user id {self._owner}", f"user id {facts.st_uid}"
            self._findings.add(Finding(Wrong.OWNER, folder, expected, found))

    # -- nothing of dead runs ---------------------------------------------------------------------------

    def _staging(self) -> None:
        staging = self._intake.config.archive / META / "staging"
        with self._intake.archive.turn():  # a run that is just beginning has its lease by then
            for folder in sorted(staging.iterdir()):
                if not folder.is_dir() or str(folder) == self._intake.archive.staging.folder:
                    continue
                with lease_if_dead(folder) as dead:
                    count = sum(one.name != ".lease" for one in folder.iterdir())
                    if dead and count:
                        path, found = f"{META}/staging/{folder.name}", f"{count} files of a run that died"
                        self._findings.add(Finding(Wrong.STRAY, path, "", found, Mend.SWEEP))

    def _drafts(self) -> None:
        if isinstance(self._intake.config.index_location, str):
            return  # not the archive's own
        for draft in leftovers(sqlite_file(self._intake.config.index_location)):
            path, found = os.path.relpath(draft, self._root), "part of an index that was never finished"
            self._findings.add(Finding(Wrong.STRAY, path, "", found, Mend.SWEEP))

    # -- quarantine -------------------------------------------------------------------------------------

    def _quarantine(self) -> int:
        """Every file has its note and its digest; a note may be alone, where nothing could be kept."""
        count = 0
        for folder in sorted((self._intake.config.archive / QUARANTINE).iterdir()):
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            present = set(names)
            for name in names:
                stem, _, kind = name.rpartition(".")
                path = f"{QUARANTINE}/{folder.name}/{name}"
                note = f"{stem[:_KEY]}.json"
                if kind == "dcm":
                    count += 1
                    if note not in present:
                        self._suspect(Finding(Wrong.NO_NOTE, path, "a note beside it", "none"))
                    else:
                        self._quarantined(path, f"{QUARANTINE}/{folder.name}/{note}")
                elif kind != "json":
                    self._suspect(Finding(Wrong.STRAY, path, "a file or a note", "something else"))
        return count

    def _quarantined(self, path: str, note: str) -> None:
        try:
            with open(f"{self._root}/{note}", encoding="utf-8") as file:  # noqa: PTH123 - a text path
                expected = str(json.load(file)["sha256"])
        except FileNotFoundError:
            return  # retried or discarded meanwhile
        except (OSError, ValueError, KeyError, TypeError):
            self._suspect(Finding(Wrong.NOTE_DAMAGED, note, "a readable note", "none"))
            return
        if self._quick or not expected:
            return
        digest = digest_of(f"{self._root}/{path}")
        if digest != expected:
            self._suspect(Finding(Wrong.QUARANTINED_DAMAGED, path, expected, digest or "cannot be read"))

    def _suspect(self, finding: Finding) -> None:
        """Report what still lies there, once nobody is at work on it."""
        with self._intake.archive.turn():
            still = os.path.lexists(f"{self._root}/{finding.path}")
            note = f"{finding.path.rpartition('/')[2][:_KEY]}.json"
            beside = os.path.join(self._root, os.path.dirname(finding.path), note)
            if still and not (finding.kind is Wrong.NO_NOTE and os.path.exists(beside)):
                self._findings.add(finding)

    def _ledger(self) -> None:
        """What the ledger says was put in quarantine is there."""
        with self._intake.index.reading() as connection:
            gone = [
                path
                for path in conservation.quarantined(connection)
                if not os.path.isfile(f"{self._root}/{path}")
            ]
        for path in gone:
            with self._intake.archive.turn(), self._intake.index.reading() as connection:
                if verification.is_quarantined(connection, path) and not os.path.isfile(
                    f"{self._root}/{path}"
                ):
                    self._findings.add(Finding(Wrong.QUARANTINED_MISSING, path, "a file", "nothing"))


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
