"""Which findings explain each other: missing files that lie elsewhere, or that a source can restore."""

from __future__ import annotations

import contextlib
import os

from sorter.index import verification
from sorter.intake import Intake
from sorter.verification.findings import Findings, Mend, Wrong
from sorter.verification.reading import digest_of
from sorter.verification.sources import find_sources


def match(intake: Intake, findings: Findings) -> None:
    """Say of each finding what can be done about it."""
    _match_moved(intake, findings)
    _match_second_names(intake, findings)
    _match_sources(intake, findings)


def _match_moved(intake: Intake, findings: Findings) -> None:
    """A file without a row that has the bytes of a missing one was moved by hand."""
    for number, stray in findings.same_size():
        digest = digest_of(intake.archive.locate(stray.path))
        lost = findings.lost(digest) if digest else []
        if lost:
            findings.can(lost[0][0], Mend.PUT_BACK, stray.path)
            findings.forget(number)


def _match_second_names(intake: Intake, findings: Findings) -> None:
    """A repair that was interrupted, or a person, may have left a file with two names."""
    linked: dict[str, tuple[int, str]] = {}
    for number, finding in findings.numbered(kind=Wrong.NO_ROW):
        path = intake.archive.locate(finding.path)
        with contextlib.suppress(OSError):
            if os.lstat(path).st_nlink > 1 and (digest := digest_of(path)):
                linked[digest] = (number, path)
    if not linked:
        return
    with intake.index.reading() as connection:
        recorded = verification.paths_of(connection, linked)
    for digest, home in recorded.items():
        number, path = linked[digest]
        with contextlib.suppress(OSError):
            if os.path.samefile(path, intake.archive.locate(home)):
                findings.is_second_name(number, home)


def _match_sources(intake: Intake, findings: Findings) -> None:
    for kind in (Wrong.MISSING, Wrong.DAMAGED):
        for number, finding in findings.numbered(kind=kind, mend=Mend.NOTHING):
            with intake.index.reading() as connection:
                row = verification.row(connection, finding.instance)
            if row and (source := next(find_sources(intake, row), "")):
                findings.can(number, Mend.RESTORE, source)
