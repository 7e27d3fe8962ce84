"""Whether a file is taken at all, whatever the line would make of it; and what becomes of it then."""

from __future__ import annotations

import fnmatch
import time
from pathlib import Path

from sorter.config import Config
from sorter.explain.explained import Explained
from sorter.index import Index
from sorter.index.quarantine import versions
from sorter.model import Candidate, Kind, Reason
from sorter.observer.retire import SORTED
from sorter.observer.settle import quiet_by_clock


def ask_ledger(index: Index, candidate: Candidate, told: Explained) -> None:
    """A version with a final outcome is not read again, whatever would become of it now."""
    with index.reading() as connection:
        told.ledger, told.other_versions = versions(connection, candidate)
    known = index.seen([candidate]).get(candidate)
    if known is not None:
        kind = Kind.DUPLICATE if known.kind is Kind.STORED else known.kind
        said = "the ledger has the last word about this version: it is not read again"
        told.decide(kind, known.reason, said, known.path)


def ask_rules(config: Config, candidate: Candidate, told: Explained) -> None:
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


def retirement(config: Config, told: Explained) -> str:
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
