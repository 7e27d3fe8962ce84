"""Adopt published files that have no row: what a crash between publishing and recording leaves behind.

A new index is built the same way, of all files. They are taken in the order in which they came (see
``Archive._stamp``), because the first instance speaks for its patient, study and series.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence

from sorter import log
from sorter.index import Index, Known, verification
from sorter.intake import Intake
from sorter.model import BatchKind, Candidate, Header, Instance, Kind, Outcome, Place, Staged
from sorter.observer.listing import look
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import Layout, path_key
from sorter.organizer.lease import META
from sorter.organizer.place import place

Progress = Callable[[int, int], None]  # files done, files in all

_FILES, _BYTES = 64, 256 << 20  # of one task, which has a deadline
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


def adopt(intake: Intake, *, rebuild: bool = False, progress: Progress = lambda _done, _all: None) -> int:
    """Give rows to the instances in the tree that have none; returns how many.

    A file that is no instance, or one whose SOP Instance UID is recorded elsewhere, is left as it is and
    counted in the log.

    Parameters
    ----------
    rebuild
        Everything is adopted: instances count as stored when they came, not now.
    """
    adopted = done = 0
    root = intake.archive.locate("")
    with contextlib.closing(_Orphans(intake)) as orphans:
        parts = ([intake.archive.locate(path) for path in chunk] for chunk in orphans.chunks())
        for located, found in intake.workers.examine_all(parts, intake.layout.keywords, intake.recipe):
            paths = [path.removeprefix(root) for path in located]
            instances = {path: one for path, one in zip(paths, found, strict=True) if one is not None}
            with intake.archive.turn():
                adopted += _record(intake, instances, rebuild=rebuild)
            done += len(paths)
            progress(done, orphans.count)
    if done > adopted:
        log.get().warning("files_without_row_left", count=done - adopted)
    return adopted


class _Orphans:
    """Files in the tree that no row names, in the order of their coming; kept in a temporary database."""

    def __init__(self, intake: Intake) -> None:
        self._kept = sqlite3.connect("")  # has no name, grows on disk, and is gone when it is closed
        self._kept.execute("CREATE TABLE orphans (came INTEGER, path TEXT, size INTEGER)")
        root = str(intake.config.archive)
        for folder, subfolders, files in os.walk(root):
            if folder == root:
                subfolders[:] = [name for name in subfolders if name != META]
            if files:
                relative = os.path.relpath(folder, root).removeprefix(".").lstrip("/")
                rows = _facts(root, without_row(intake.index, relative, [n for n in files if _is_text(n)]))
                self._kept.executemany("INSERT INTO orphans VALUES (?, ?, ?)", rows)
            if odd := sum(not _is_text(name) for name in (*files, *subfolders)):
                reason = "their names are not UTF-8, so they are none of ours"
                log.get().warning("files_left", count=odd, reason=reason)
                subfolders[:] = [name for name in subfolders if _is_text(name)]
        (self.count,) = self._kept.execute("SELECT count(*) FROM orphans").fetchone()

    def chunks(self) -> Iterator[list[str]]:
        """Paths, relative to the root, of as many as make one task."""
        chunk: list[str] = []
        total = 0
        for path, size in self._kept.execute("SELECT path, size FROM orphans ORDER BY came, path"):
            if chunk and (len(chunk) == _FILES or total + size > _BYTES):
                yield chunk
                chunk, total = [], 0
            chunk.append(path)
            total += size
        if chunk:
            yield chunk

    def close(self) -> None:
        """Forget them."""
        self._kept.close()


def without_row(index: Index, folder: str, names: Sequence[str]) -> list[str]:
    """Paths of those files of one folder, relative to the archive root, that no instance's row names."""
    known = index.paths_under(folder)
    paths = [f"{folder}/{name}" if folder else name for name in names]
    unknown = [path for path in paths if path not in known]
    if not unknown:
        return []
    with index.reading() as connection:  # some may lie outside the folders of their series
        recorded = verification.paths_with_keys(connection, [path_key(path) for path in unknown])
    return [path for path in unknown if path not in recorded]


def _facts(root: str, paths: Sequence[str]) -> Iterator[tuple[int, str, int]]:
    for path in paths:
        try:
            facts = os.lstat(f"{root}/{path}")
        except FileNotFoundError:
            continue
        size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
        yield facts.st_mtime_ns, path, size


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _record(intake: Intake, instances: dict[str, Instance], *, rebuild: bool) -> int:
    known = intake.index.lookup([one.header for one in instances.values()])
    fresh: dict[str, tuple[str, Instance]] = {}
    for path, one in instances.items():
        uid = one.header.text("SOPInstanceUID")
        if uid not in known.instances:
            fresh.setdefault(uid, (path, one))
    durable = set(intake.archive.adopt([path for path, _ in fresh.values()]))
    outcomes = []
    for path, one in fresh.values():
        file = look(intake.archive.locate(path))
        if path in durable and isinstance(file, Candidate):  # for the ledger it is its own source
            outcomes.append(Outcome(file, Kind.STORED, None, "adopted", path, one.sha256, one))
    taken = intake.index.taken([path_key(one.path) for one in outcomes])
    outcomes = [one for one in outcomes if path_key(one.path) not in taken]
    keys = {_uid(one): path_key(one.path) for one in outcomes}
    intake.index.record(outcomes, _places(outcomes, known, intake), keys, kind=BatchKind.ADOPT)
    if rebuild and outcomes:
        with intake.index.writing() as connection:
            verification.date(connection, {_uid(one): _came(one.candidate) for one in outcomes})
    return len(outcomes)


def _uid(outcome: Outcome) -> str:
    assert outcome.instance is not None
    return outcome.instance.header.text("SOPInstanceUID")


def _came(file: Candidate) -> str:
    came = datetime.datetime.fromtimestamp(file.mtime_ns // 10**9, datetime.UTC)
    return min(came, datetime.datetime.now(datetime.UTC)).isoformat(timespec="seconds")


def _places(outcomes: Sequence[Outcome], known: Known, intake: Intake) -> dict[str, Place]:
    """Where ingest would have put them, where that is where they are; else what the path itself says."""
    verdicts = [
        Verdict(Staged(one.candidate, one.instance, "", one.source_sha256), Kind.STORED)
        for one in outcomes
        if one.instance
    ]
    index = intake.index
    places = place(verdicts, known, intake.layout, owners=index.folder_owners, taken=index.taken)
    for one in outcomes:
        assert one.instance is not None
        if places[_uid(one)].folder != one.path.rpartition("/")[0]:
            places[_uid(one)] = _place(one.instance.header, one.path, intake.layout)
    return places


def _place(header: Header, path: str, layout: Layout) -> Place:
    """The place that a path says the instance has; a folder that names no patient belongs to nobody."""
    folder, _, leaf = path.rpartition("/")
    parts = folder.split("/")
    names = (layout.patient_folder(header), layout.patient_folder(header, distinct=True))
    patient = next((name for name in names if name and name in parts), "")
    date = _study_date(header, [part for part in parts if part != patient])
    return Place(patient, path_key(patient) if patient else None, date, folder, leaf, leaf)


def _study_date(header: Header, parts: list[str]) -> str:
    """The date that fixed the study's folder: the first instance's, which need not be this one's."""
    own = header.study_date
    if own in parts:
        return own
    return next((part for part in parts if _DATE.fullmatch(part)), own)
