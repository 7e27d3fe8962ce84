"""What became of one thing that was to be exported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sorter.volume import Flag


class State(StrEnum):
    """Whether it was exported."""

    EXPORTED = "exported"
    LEFT_OUT = "left_out"  # it has nothing that this form could hold, as a report has no volume
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Exported:
    """One series, volume or file.

    Parameters
    ----------
    name
        Number and description of the series, or the name of the file.
    uid
        Series Instance UID; empty for a file that is not DICOM.
    files
        What was written; with ``--dry-run`` what would be.
    count
        Of instances or pictures.
    shape
        Of a volume.
    flags
        What is odd about it.
    detail
        Why it was not exported; without patient data.
    source
        The one file that is the reason, where it is one.
    """

    name: str
    uid: str
    state: State
    files: tuple[Path, ...] = ()
    count: int = 0
    shape: tuple[int, ...] = ()
    flags: tuple[Flag, ...] = ()
    detail: str = ""
    source: Path | None = None
