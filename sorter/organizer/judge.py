"""Is an instance new, the same once more, the same in other bytes, or another one under a used UID? Pure.

The key is the SOP Instance UID, unique by PS3.5 section 9 and yet reused in the field. The first that came
stays whatever comes later; nothing is ever replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sorter.model import Instance, Kind, Staged

# A detail is for people: the first differences tell what happened, all of them would fill a screen.
_TAGS_NAMED = 20


class KnownInstance(NamedTuple):
    """The first instance under its SOP Instance UID, recorded or earlier in the same batch.

    Parameters
    ----------
    sha256, source_sha256
        Of the bytes in the archive, and of the DICOM stream they came as.
    path
        Relative to the archive root; empty while it is only in the same batch.
    patient
        (IssuerOfPatientID, PatientID).
    """

    sop_instance_uid: str
    sha256: str
    source_sha256: str
    path: str
    patient: tuple[str, str]


class Print(Protocol):
    """What two encodings of one instance have in common; made by :mod:`sorter.parser.fingerprint`."""

    @property
    def header_sha256(self) -> str:
        """Of all elements but pixels and encoding, in canonical form."""
        ...

    @property
    def pixel_sha256(self) -> str:
        """Of the native pixel values, in canonical form."""
        ...

    @property
    def elements(self) -> Mapping[str, str]:
        """Tag, such as ``(0010,0020)``, to the digest of its value."""
        ...


class Verdict(NamedTuple):
    """What becomes of a staged instance: stored, duplicate, equivalent or conflict.

    Parameters
    ----------
    existing
        The instance that came first; ``None`` only for stored.
    detail
        Of a conflict: what differs, by tags, never by values.
    """

    staged: Staged
    kind: Kind
    existing: KnownInstance | None = None
    detail: str = ""


def collides(instance: Instance, known: KnownInstance | None) -> bool:
    """Whether other bytes came under a known SOP Instance UID, so that fingerprints must decide."""
    return known is not None and not _digests(known).intersection((instance.sha256, instance.source_sha256))


def judge(staged: Staged, known: KnownInstance | None, prints: tuple[Print, Print] | None) -> Verdict:
    """Decide about one staged instance.

    Parameters
    ----------
    known
        The first instance under the same SOP Instance UID, if any.
    prints
        The fingerprints of the known instance and of the staged one; ``None`` only where they do not collide.

    Raises
    ------
    ValueError
        If ``known`` is another SOP Instance UID, or if fingerprints are needed and missing.
    """
    if known is None:
        return Verdict(staged, Kind.STORED)
    if known.sop_instance_uid != staged.instance.header.text("SOPInstanceUID"):
        raise ValueError("judged against an instance with another SOP Instance UID")
    if not collides(staged.instance, known) or staged.source_sha256 in _digests(known):
        return Verdict(staged, Kind.DUPLICATE, known)
    if prints is None:
        raise ValueError("other bytes under a known SOP Instance UID cannot be judged without fingerprints")
    if differences := _differences(known, staged, *prints):
        return Verdict(staged, Kind.CONFLICT, known, "; ".join(differences))
    return Verdict(staged, Kind.EQUIVALENT, known)


def _digests(known: KnownInstance) -> set[str]:
    # A digest that was never made is no evidence that two files are the same.
    return {digest for digest in (known.sha256, known.source_sha256) if digest}


def _differences(known: KnownInstance, staged: Staged, first: Print, second: Print) -> list[str]:
    """What differs, in words; empty where the two are equivalent."""
    differences = []
    if known.patient != staged.instance.header.patient:
        differences.append("patient differs")
    if first.header_sha256 != second.header_sha256:
        differences.append(_elements_differ(first.elements, second.elements))
    if first.pixel_sha256 != second.pixel_sha256:
        differences.append("pixels differ")
    return differences


def _elements_differ(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    tags = sorted(tag for tag in first.keys() | second.keys() if first.get(tag) != second.get(tag))
    if not tags:
        return "header differs"
    named = " ".join(tags[:_TAGS_NAMED])
    more = f" and {len(tags) - _TAGS_NAMED} more" if len(tags) > _TAGS_NAMED else ""
    return f"{len(tags)} element{'s differ' if len(tags) > 1 else ' differs'}: {named}{more}"
