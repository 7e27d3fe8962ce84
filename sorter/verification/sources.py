"""Where the bytes of an archived instance may still lie: in the drop folders, or in quarantine."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sorter.index import verification
from sorter.index.verification import Recorded
from sorter.intake import Intake
from sorter.model import Reason
from sorter.organizer.quarantine import QUARANTINE


def find_sources(intake: Intake, row: Recorded) -> Iterator[str]:
    """Absolute paths of files that may give this instance's bytes again; what they give is to be proved."""
    with intake.index.reading() as connection:
        paths = verification.sources_of(connection, row.id)
    own = f"{intake.config.archive}/"
    for path in paths:
        if not path.startswith(own) and os.path.isfile(path):
            yield path
    for digest in dict.fromkeys((row.sha256, row.source_sha256)):
        for reason in Reason:
            path = f"{own}{QUARANTINE}/{reason}/{digest[:24]}.dcm"
            if os.path.isfile(path):
                yield path
