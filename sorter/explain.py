"""Why one file gets, or got, the place and the outcome that it has; nothing is stored.

The file takes the way of a dry run (:mod:`sorter.rehearsal`): read, proved, decoded, looked up, judged and
placed by the code that does it for good. What that decided on the way is told here.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from sorter.config import Config
from sorter.errors import ConfigError
from sorter.index import Index
from sorter.index.quarantine import versions
from sorter.index.still import StillIndex
from sorter.model import Candidate, Header, Kind, Outcome, Pixels, Reason, Refused, Staged, is_safe
from sorter.observer.listing import look
from sorter.observer.retire import SORTED
from sorter.observer.settle import quiet_by_clock
from sorter.organizer.explanation import Explanation
from sorter.organizer.explanation import explain as explain_place
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import path_key
from sorter.organizer.place import place
from sorter.rehearsal import Rehearsal
from sorter.source import map_path

_SHOWN = (
    "PatientID", "IssuerOfPatientID", "PatientName", "StudyInstanceUID", "StudyDate", "StudyDescription",
    "SeriesInstanceUID", "Modality", "SeriesDescription", "SeriesNumber", "SOPInstanceUID", "SOPClassUID",
    "InstanceNumber", "NumberOfFrames", "Rows", "Columns",
)  # fmt: skip
_PIXELS: Mapping[Pixels, str] = {
    Pixels.NONE: "this kind of object has no pixel data; copied byte for byte",
    Pixels.NATIVE: "native; copied byte for byte",
    Pixels.TRANSCODED: "compressed; decoded, and verified by reading back",
    Pixels.KEPT_CONFIG: "compressed; kept as they came, since `decompress` does not name their family",
    Pixels.KEPT_VIDEO: "video; kept as they came",
    Pixels.KEPT_SIGNED: "compressed; kept as they came, since decoding would break a digital signature",
    Pixels.KEPT_TOO_LARGE: "compressed; kept as they came, since native they would exceed 4 GiB",
    Pixels.KEPT_UNDECODABLE: "compressed; kept as they came, since they cannot be decoded without doubt",
    Pixels.KEPT_DECODER_CRASHED: "compressed; kept as they came, since the decoder died over them",
}


@dataclasses.dataclass(slots=True)
class Explained:
    """What is told of one file. ``outcome`` is the one that a run would give it now."""

    file: str
    size: int
    drop_folder: str
    outcome: str = ""
    reason: str = ""
    detail: str = ""
    path: str = ""
    judged: dict[str, str] = dataclasses.field(default_factory=dict)  # by its bytes, whatever else holds
    taking: dict[str, Any] = dataclasses.field(default_factory=dict)
    read: dict[str, Any] = dataclasses.field(default_factory=dict)
    identity: dict[str, Any] = dataclasses.field(default_factory=dict)
    place: dict[str, Any] = dataclasses.field(default_factory=dict)
    ledger: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    other_versions: int = 0
    retire: str = ""

    @property
    def safe(self) -> bool:
        """Whether it is, or would be, in the archive."""
        return is_safe(self.outcome, self.reason)

    def decide(self, kind: Kind, reason: Reason | None, detail: str, path: str = "") -> None:
        """Set the outcome."""
        self.outcome, self.reason = str(kind), str(reason or "")
        self.detail, self.path = detail, path

    def summary(self) -> dict[str, Any]:
        """The ``--json`` object."""
        return dataclasses.asdict(self)


def explain(config: Config, path: Path) -> Explained:
    """Tell what is known of one file, anywhere. Writes nothing below the archive and the drop folders.

    Raises
    ------
    ConfigError
        There is no such file. (It is not named: people write patients' names into file names.)
    IndexUnusableError
        The index cannot be read.
    """
    name = os.path.abspath(path)
    root = next((str(one) for one in config.incoming if name.startswith(f"{one}/")), "")
    found = look(name, root)
    if found is None:
        raise ConfigError("there is no such file")
    if os.path.isdir(name) and not os.path.islink(name):
        raise ConfigError("this is a folder: name one file")
    candidate = found if isinstance(found, Candidate) else found.candidate
    told = Explained(name, candidate.size, root)
    if isinstance(found, Refused):
        told.decide(found.kind, found.reason, found.detail)
        told.retire = _retire(config, told)
        return told
    intake = _Looking(config)
    with intake:
        _read(intake, candidate, told)
        _ask_ledger(intake.index, candidate, told)
    _taking(config, candidate, told)
    told.retire = _retire(config, told)
    return told


class _Looking(Rehearsal):
    """A dry run of one file, which asks the index itself and not a copy."""

    def _open_index(self) -> Index:
        found = StillIndex.look_at(self.config.index_location)
        return found or StillIndex.open(self._scratch / "index.sqlite")


# -- what the line does with it -----------------------------------------------------------------------------


def _read(intake: _Looking, candidate: Candidate, told: Explained) -> None:
    """Let it take the way of a dry run; tell what was decided."""
    outcomes = [one for some in intake.take([[candidate]]) for one in some]
    (outcome,) = (one for one in outcomes if one.candidate == candidate)
    if len(outcomes) > 1:  # of what is opened, the members have the places
        words = Counter(str(one.kind) for one in outcomes if one is not outcome)
        said = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
        told.decide(outcome.kind, outcome.reason, f"{outcome.detail}; of what is inside: {said}")
        told.judged = {"outcome": told.outcome, "reason": told.reason, "detail": told.detail}
        return
    for refused in intake.stage.refused:
        told.read = {"whole": False, "values": _values(refused.header)}
    for verdict in intake.stage.verdicts:
        _instance(verdict.staged, told)
        _identity(verdict, told)
        _placed(intake, verdict, outcome, told)
    if not told.outcome:
        told.decide(outcome.kind, outcome.reason, outcome.detail, outcome.path)
    told.judged = {"outcome": told.outcome, "reason": told.reason, "detail": told.detail}


def _values(header: Header) -> dict[str, str]:
    return {keyword: header.text(keyword) for keyword in _SHOWN if header.text(keyword)}


def _instance(staged: Staged, told: Explained) -> None:
    one = staged.instance
    told.read = {
        "whole": True,
        "values": _values(one.header),
        "transfer_syntax": _syntax(one.source_transfer_syntax_uid),
        "archived_transfer_syntax": _syntax(one.transfer_syntax_uid),
        "archived_size": one.size,
        "pixels": str(one.pixels),
        "pixels_in_words": _PIXELS[one.pixels],
        "note": one.note,
        "sha256": staged.source_sha256,
        "archived_sha256": one.sha256,
    }


def _syntax(uid: str) -> str:
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def _identity(verdict: Verdict, told: Explained) -> None:
    told.identity = {
        "verdict": str(verdict.kind),
        "existing": verdict.existing.path if verdict.existing else "",
        "differs_in": verdict.detail,
    }


def _placed(intake: _Looking, verdict: Verdict, outcome: Outcome, told: Explained) -> None:
    """Explain its place; of one that is known already, the place that it would get as a new one."""
    header, index = verdict.staged.instance.header, intake.index
    own = {path_key(verdict.existing.path)} if verdict.existing else set()
    new = verdict._replace(kind=Kind.STORED, existing=None)
    facts = index.lookup([header])
    places = place(
        [new],
        facts,
        intake.layout,
        owners=index.folder_owners,
        taken=lambda keys: index.taken(list(keys)) - own,
    )
    found = explain_place(header, places[header.text("SOPInstanceUID")], facts, intake.layout)
    told.place = _told_place(found) | {"template": intake.layout.template}
    if verdict.kind is not Kind.STORED:
        return
    _check_name(intake, verdict.staged, outcome, places[header.text("SOPInstanceUID")].spare, told)


def _told_place(found: Explanation) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"path": found.path}


def _check_name(intake: _Looking, staged: Staged, outcome: Outcome, spare: str, told: Explained) -> None:
    """A file without a row may hold the name: a crash left it, or somebody put it there."""
    folder, _, leaf = outcome.path.rpartition("/")
    for name in dict.fromkeys((leaf, spare)):
        path = f"{folder}/{name}" if folder else name
        there = intake.config.archive / path
        if not os.path.lexists(there):
            said = "" if name == leaf else "a file without a row holds the name, so it carries the UID"
            return told.decide(Kind.STORED, None, said, path)
        if _digest(there) == staged.instance.sha256:
            return told.decide(Kind.STORED, None, "its bytes lie there without a row, and are adopted", path)
    return told.decide(
        Kind.CONFLICT, Reason.CONFLICT, "a file without a row holds other bytes under its name"
    )


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(map_path(str(path))).hexdigest()
    except (OSError, ValueError):  # a link, not readable, or empty
        return None


# -- whether it is taken at all -----------------------------------------------------------------------------


def _ask_ledger(index: Index, candidate: Candidate, told: Explained) -> None:
    """A version with a final outcome is not read again, whatever would become of it now."""
    with index.reading() as connection:
        told.ledger, told.other_versions = versions(connection, candidate)
    known = index.seen([candidate]).get(candidate)
    if known is not None:
        kind = Kind.DUPLICATE if known.kind is Kind.STORED else known.kind
        said = "the ledger has the last word about this version: it is not read again"
        told.decide(kind, known.reason, said, known.path)


def _taking(config: Config, candidate: Candidate, told: Explained) -> None:
    """Rules about names and places, and whether it is quiet."""
    pattern = _pattern(config, candidate, told.drop_folder)
    excluded = _excluded(config, candidate)
    age = (time.time_ns() - candidate.ctime_ns) / 1e9
    quiet = quiet_by_clock(candidate, time.time_ns(), config.settle_seconds)
    told.taking = {
        "matches_ignore": pattern or None,
        "lies_in": excluded or None,
        "touched_seconds_ago": round(age, 1),
        "settle_seconds": config.settle_seconds,
        "settled": quiet,
        "may_still_grow": _may_grow(config, told, age),
    }
    if told.drop_folder and (pattern or excluded):
        said = f"matches the ignore pattern `{pattern}`" if pattern else f"lies in {excluded}"
        told.decide(Kind.IGNORED, Reason.PATTERN, said)
    elif not quiet and not told.ledger:
        said = f"touched {age:.0f} s ago: settling until untouched for {config.settle_seconds:g} s"
        told.decide(Kind.DEFERRED, Reason.SETTLING, said)


def _may_grow(config: Config, told: Explained, age: float) -> bool:
    """Whether a daemon would wait for the rest of it."""
    unfinished = told.judged["reason"] in (Reason.TRUNCATED, Reason.MALFORMED)
    return bool(told.drop_folder) and unfinished and age < config.incomplete_seconds


def _pattern(config: Config, candidate: Candidate, root: str) -> str:
    """The pattern of ``ignore`` that the name, or a folder on the way from the drop folder, matches."""
    below = candidate.path.removeprefix(f"{root}/").split("/") if root else [candidate.name]
    found = (one for name in below for one in config.ignore if fnmatch.fnmatchcase(name, one))
    return next(found, "")


def _excluded(config: Config, candidate: Candidate) -> str:
    """A folder that is never walked, and that it lies in."""
    folders = [("the archive", config.archive), ("the folder of retired sources", config.retire_to)]
    folders += [("the folder of retired sources", root / SORTED) for root in config.incoming]
    return next((name for name, one in folders if one and candidate.path.startswith(f"{one}/")), "")


def _retire(config: Config, told: Explained) -> str:
    """What becomes of the source."""
    if not told.drop_folder:
        return "does not lie in a drop folder: never retired"
    if config.retire == "keep":
        return "retire = keep: the source stays"
    if not told.safe:
        return "stays: only a source that is in the archive is retired"
    where = config.retire_to or Path(told.drop_folder) / SORTED
    what = "deleted" if config.retire == "delete" else f"moved to {where}"
    return f"retire = {config.retire}: {what}, once the archived file was recorded and read again"
