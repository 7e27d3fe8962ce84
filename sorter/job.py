"""What a worker is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from sorter.model import Candidate
from sorter.organizer.staging import Staging
from sorter.unpack.wanted import NOTHING, Wanted


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to stage some candidates; small, so that it travels with each task.

    ``prefix`` starts the names of all files the job stages, so that the files of a crashed job can be found.
    ``sync`` asks for an fsync of each file; otherwise the archive syncs the whole file system later.
    ``decode=False`` keeps pixels as they came: the second try after a decoder crashed.
    ``share_above`` is the native size in bytes above which frames are to be shared out; ``None``: never.
    """

    candidates: tuple[Candidate, ...]
    staging: Staging
    prefix: str
    families: frozenset[str]
    keywords: frozenset[str] = frozenset()
    sync: bool = True
    decode: bool = True
    share_above: int | None = None
    wanted: Wanted = NOTHING
