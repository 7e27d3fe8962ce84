"""What the line does with a file: it is read, proved, decoded, looked up, judged and placed.

It takes the way of a dry run (:mod:`sorter.rehearsal`), so the code that does it for good decides. What that
decided on the way is told here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from sorter.explain.explained import Explained
from sorter.model import Candidate, Header, Kind, Outcome, Pixels, Reason, Staged
from sorter.organizer.explanation import Explanation
from sorter.organizer.explanation import explain as explain_place
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import path_key
from sorter.organizer.place import place
from sorter.reading import map_path
from sorter.rehearsal import Rehearsal

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


def rehearse(intake: Rehearsal, candidate: Candidate, told: Explained) -> None:
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


def _placed(intake: Rehearsal, verdict: Verdict, outcome: Outcome, told: Explained) -> None:
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


def _check_name(intake: Rehearsal, staged: Staged, outcome: Outcome, spare: str, told: Explained) -> None:
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
