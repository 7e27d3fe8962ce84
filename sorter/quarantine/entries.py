"""What lies in quarantine: bytes named by the beginning of their SHA-256, and notes that say why."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sorter.errors import ConfigError
from sorter.organizer.quarantine import FILL_IN, QUARANTINE

SHORTEST_ID = 6
_NAME = re.compile(r"([0-9a-f]{24})(?:-[0-9]+)?\.(dcm|json)")
_ID = re.compile(r"[0-9a-f]{6,24}")
_MOST_NOTE = 1 << 20  # bytes; ours have a few hundred
# What may be wrong with one entry.
NO_COPY = "no copy was kept"
NO_FILE = "the file is gone"
NO_NOTE = "the note is gone"
BAD_NOTE = "the note cannot be read"


@dataclass(frozen=True, slots=True)
class Entry:
    """The bytes of one refused file, and the note about them; either may be missing.

    Parameters
    ----------
    reason
        The folder that it lies in.
    id
        24 hex digits: the beginning of the SHA-256 of the bytes.
    files
        Paths of the bytes, relative to the archive root; more than one where an earlier copy was damaged.
    note_path
        Of the note; empty where there is none.
    size
        Of all the files, in bytes.
    time
        When it was refused, ISO 8601 in UTC; without a note, when the file was put there.
    trouble
        What is missing; empty where all is there.
    """

    reason: str
    id: str
    files: tuple[str, ...]
    note_path: str
    note: Mapping[str, Any]
    size: int
    time: str
    trouble: str = ""

    def text(self, key: str) -> str:
        """A text of the note; empty where it has none."""
        value = self.note.get(key)
        return value if isinstance(value, str) else ""

    def header(self, keyword: str) -> str:
        """A header value of the note; empty where it has none."""
        values = self.note.get("header")
        return str(values.get(keyword, "")) if isinstance(values, dict) else ""

    @property
    def sha256(self) -> str:
        """Of the bytes, as the note says; of a file without a note only its beginning is known."""
        return self.text("sha256") or (self.id if self.files else "")

    @property
    def source(self) -> str:
        """Where the file came from, bytes that are no UTF-8 escaped."""
        return self.text("source")

    @property
    def paths(self) -> tuple[str, ...]:
        """Whatever the ledger may call it by, also where it is gone."""
        name = f"{QUARANTINE}/{self.reason}/{self.id}"
        return tuple(dict.fromkeys((*self.files, f"{name}.dcm", f"{name}.json")))

    def summary(self) -> dict[str, Any]:
        """One line of ``sorter quarantine list --json``."""
        return {
            "id": self.id,
            "reason": self.reason,
            "time": self.time,
            "size": self.size,
            "detail": self.text("detail"),
            "source": self.source,
            "sha256": self.text("sha256"),
            "files": list(self.files),
            "note": self.note_path,
            "header": self.note.get("header", {}),
            "retried": self.note.get("retried"),
            "trouble": self.trouble or None,
            "fill_in": self.note.get(FILL_IN),
        }


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which entries a command is about: all criteria that are given must be met, one value of each."""

    ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    since: str = ""
    before: str = ""

    @property
    def everything(self) -> bool:
        """Whether no criterion is given."""
        return self == Chosen()

    def names(self, reason: str, number: str) -> bool:
        """Whether reason and id alone do not rule it out."""
        if self.reasons and reason not in self.reasons:
            return False
        return not self.ids or number.startswith(self.ids)

    def takes(self, entry: Entry) -> bool:
        """Whether the entry meets the criteria about its note."""
        for wanted, keyword in (
            (self.studies, "StudyInstanceUID"),
            (self.series, "SeriesInstanceUID"),
            (self.patients, "PatientID"),
        ):
            if wanted and entry.header(keyword) not in wanted:
                return False
        return entry.time >= self.since and not (self.before and entry.time >= self.before)


@dataclass(slots=True)
class _Names:
    """What lies under one id."""

    files: list[str] = field(default_factory=list)
    note: str = ""
    came: float = 0.0  # seconds since the epoch
    size: int = 0


def entries(root: Path, chosen: Chosen) -> Iterator[Entry]:
    """The chosen entries, by reason, in the order in which they came; one note is read at a time.

    What vanishes meanwhile is left out.

    Raises
    ------
    ConfigError
        An id is none, or stands for none or several of those that are there.
    """
    check_ids(root, chosen.ids)
    for reason in reasons(root):
        if chosen.reasons and reason not in chosen.reasons:
            continue
        found = _listed(root, reason)
        for number in sorted(found, key=lambda one: (found[one].came, one)):
            if not chosen.names(reason, number):
                continue
            entry = _entry(root, reason, number, found[number])
            if entry is not None and chosen.takes(entry):
                yield entry


def reasons(root: Path) -> list[str]:
    """The folders of the quarantine."""
    try:
        with os.scandir(root / QUARANTINE) as found:
            return sorted(one.name for one in found if one.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def check_ids(root: Path, ids: Sequence[str]) -> None:
    """Raise ConfigError where a beginning of an id is none, is too short, or does not stand for one id."""
    if not ids:
        return
    known = {number for reason in reasons(root) for number in _listed(root, reason)}
    for one in ids:
        if not _ID.fullmatch(one):
            raise ConfigError(f"{one!r} is no id: write its first {SHORTEST_ID} to 24 digits (0-9, a-f)")
        meant = sorted(number for number in known if number.startswith(one))
        if not meant:
            raise ConfigError(f"nothing in quarantine has an id that begins with {one}")
        if len(meant) > 1:
            raise ConfigError(f"{len(meant)} ids begin with {one}, such as {meant[0]} and {meant[1]}")


def _listed(root: Path, reason: str) -> dict[str, _Names]:
    found: dict[str, _Names] = defaultdict(_Names)
    with os.scandir(root / QUARANTINE / reason) as files:
        for one in files:
            named = _NAME.fullmatch(one.name)
            if named is None or not one.is_file(follow_symlinks=False):
                continue
            try:
                facts = one.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            names = found[named[1]]
            path = f"{QUARANTINE}/{reason}/{one.name}"
            if named[2] == "json":
                names.note = path
                names.came = names.came or facts.st_ctime
            else:
                names.files.append(path)
                names.size += facts.st_size
                names.came = facts.st_ctime  # a retry puts another note there; the bytes stay the same file
    return found


def _entry(root: Path, reason: str, number: str, names: _Names) -> Entry | None:
    note, trouble = read_note(root, names.note)
    if trouble == NO_NOTE and not any((root / path).exists() for path in names.files):
        return None  # both are gone by now
    if not names.files and not trouble:
        trouble = NO_FILE if note.get("sha256") else NO_COPY
    came = datetime.datetime.fromtimestamp(names.came, datetime.UTC).isoformat(timespec="seconds")
    said = note.get("time")
    return Entry(
        reason=reason,
        id=number,
        files=tuple(sorted(names.files)),
        note_path=names.note,
        note=note,
        size=names.size,
        time=said if isinstance(said, str) else came,
        trouble=trouble,
    )


def read_note(root: Path, path: str) -> tuple[dict[str, Any], str]:
    """(the note under a path relative to the archive root, what is wrong with it)."""
    if not path:
        return {}, NO_NOTE
    try:
        with (root / path).open("rb") as file:
            note = json.loads(file.read(_MOST_NOTE))
    except FileNotFoundError:
        return {}, NO_NOTE
    except (OSError, ValueError, RecursionError):
        return {}, BAD_NOTE
    return (note, "") if isinstance(note, dict) else ({}, BAD_NOTE)
