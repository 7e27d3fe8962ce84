"""UIDs that are the same whenever the same file is converted the same way.

Each is ``2.25.`` and a name-based UUID as decimal number (PS3.5 B.2), so converting twice gives identical
bytes, and a second ingest stores nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sorter.convert.facts import Facts
from sorter.convert.options import CONVERTER_VERSION, Options

# What tells one study of a patient from another; without any of these, each file is a study of its own.
_STUDY = ("StudyID", "AccessionNumber", "StudyDate", "StudyTime")


def uid(namespace: UUID, words: Sequence[Any]) -> str:
    """The UID of what these words name: the same words, the same UID."""
    text = json.dumps(words, ensure_ascii=True, separators=(",", ":"))
    return f"2.25.{uuid5(namespace, text).int}"


@dataclass(frozen=True, slots=True)
class Uids:
    """The UIDs of what one file becomes.

    Parameters
    ----------
    facts, options
        What is known of it, and how it is converted. All of both goes into the UIDs of series and
        instances: other bytes never carry the UID of these.
    content_sha256
        Lower-case hex digest of the file (of both files, one behind the other, for a pair).
    """

    facts: Facts
    options: Options
    content_sha256: str

    def study(self) -> str:
        """Study Instance UID: the one that is known, else made of patient and study."""
        if known := self.facts.text("StudyInstanceUID"):
            return known
        named = [self.facts.text(keyword) for keyword in _STUDY]
        return self._uid("study", named if any(named) else [self.content_sha256])

    def series(self, part: int = 0) -> str:
        """Series Instance UID of the ``part``-th series that the file becomes."""
        return self._uid("series", [*self._content(), part])

    def instance(self, series_part: int, number: int) -> str:
        """SOP Instance UID of the instance with this number in that series."""
        return self._uid("instance", [*self._content(), series_part, number])

    def frame_of_reference(self) -> str:
        """Frame of Reference UID: the one that is known, else one for the whole file."""
        return self.facts.text("FrameOfReferenceUID") or self._uid("frame of reference", self._content())

    def dimension_organization(self) -> str:
        """Dimension Organization UID of a multi-frame instance."""
        return self._uid("dimension organization", self._content())

    def _content(self) -> list[Any]:
        known = sorted((keyword, value) for keyword, value in self.facts.values.items())
        return [self.study(), self.content_sha256, known, self.options.identity(), CONVERTER_VERSION]

    def _uid(self, what: str, words: Sequence[Any]) -> str:
        patient = [self.facts.text("IssuerOfPatientID"), self.facts.text("PatientID")]
        return uid(self.options.namespace, [what, patient, *words])
