"""Adopt published files that have no row: what a crash between publishing and recording leaves behind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from sorter import log
from sorter.intake import Intake
from sorter.model import BatchKind, Candidate, Header, Instance, Kind, Outcome, Place
from sorter.observer.walk import look
from sorter.organizer.layout import Layout, path_key
from sorter.organizer.lease import META

_CHUNK = 64
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


def adopt(intake: Intake) -> int:
    """Give rows to the instances in the tree that have none; returns how many.

    A file that is no instance, or one whose SOP Instance UID is recorded elsewhere, is left as it is and
    counted in the log.
    """
    adopted = left = 0
    for paths in _orphans(intake):
        found = intake.workers.examine([intake.archive.locate(p) for p in paths], intake.layout.keywords)
        instances = {path: one for path, one in zip(paths, found, strict=True) if one is not None}
        with intake.archive.turn():
            recorded = _record(intake, instances)
        adopted += recorded
        left += len(paths) - recorded
    if left:
        log.get().warning("files_without_row_left", count=left)
    return adopted


def _orphans(intake: Intake) -> Iterator[list[str]]:
    """Paths, relative to the root, of files in the tree that no row names; in chunks."""
    chunk: list[str] = []
    root = str(intake.config.archive)
    for folder, subfolders, files in os.walk(root):
        if folder == root:
            subfolders[:] = [name for name in subfolders if name != META]
        if not files:
            continue
        relative = os.path.relpath(folder, root).removeprefix(".").lstrip("/")
        known = intake.index.paths_under(relative) if _is_text(relative) else set()
        for name in files:
            path = f"{relative}/{name}" if relative else name
            if not _is_text(path):
                log.get().warning("file_left", reason="its name is not UTF-8, so it is none of ours")
                continue
            if path not in known:
                chunk.append(path)
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _record(intake: Intake, instances: dict[str, Instance]) -> int:
    known = intake.index.lookup([one.header for one in instances.values()]).instances
    fresh: dict[str, tuple[str, Instance]] = {}
    for path, one in instances.items():
        uid = one.header.text("SOPInstanceUID")
        if uid not in known:
            fresh.setdefault(uid, (path, one))
    durable = set(intake.archive.adopt([path for path, _ in fresh.values()]))
    outcomes, places, keys = [], {}, {}
    for uid, (path, one) in fresh.items():
        file = look(intake.archive.locate(path))
        if path in durable and isinstance(file, Candidate):  # for the ledger it is its own source
            outcomes.append(Outcome(file, Kind.STORED, None, "adopted", path, one.sha256, one))
            places[uid], keys[uid] = _place(one.header, path, intake.layout), path_key(path)
    taken = intake.index.taken(list(keys.values()))
    outcomes = [one for one in outcomes if path_key(one.path) not in taken]
    intake.index.record(outcomes, places, keys, kind=BatchKind.ADOPT)
    return len(outcomes)


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
