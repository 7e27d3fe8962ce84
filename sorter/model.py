"""The data that flows through sorter. Imports nothing of the package.

One source file is a :class:`Candidate`; a worker turns it into an :class:`Instance` whose bytes are
:class:`Staged`; the organizer gives it a place; and each candidate ends in exactly one :class:`Outcome`.
What there is one of for each file is a tuple, which costs a third of a dataclass to make and to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

Value = str | int | float | None


class Kind(StrEnum):
    """What became of one source version. ``seen`` is always the sum of these."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    EQUIVALENT = "equivalent"
    EXPANDED = "expanded"  # its members were brought in, each a source of its own
    CONFLICT = "conflict"
    REJECTED = "rejected"
    IGNORED = "ignored"
    DEFERRED = "deferred"


# What the archive has an instance of.
SAFE = frozenset((Kind.STORED, Kind.DUPLICATE, Kind.EQUIVALENT))


def is_safe(kind: str, reason: str | None) -> bool:
    """Whether the archive has all of a source that ended so."""
    return kind in SAFE or (kind == Kind.EXPANDED and not reason)


class Reason(StrEnum):
    """Why a source was rejected, ignored or deferred; also the name of its quarantine folder."""

    # Rejected: the bytes go to quarantine.
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    MISSING_UID = "missing_uid"
    INVALID_UID = "invalid_uid"
    UNDECODABLE = "undecodable"
    DECODER_CRASHED = "decoder_crashed"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    CONFLICT = "conflict"
    NEEDS_INFO = "needs_info"
    # Ignored: by rule, nothing is kept.
    PATTERN = "pattern"
    NOT_REGULAR = "not_regular"
    SYMLINK = "symlink"
    DICOMDIR = "dicomdir"
    VANISHED = "vanished"
    SIDECAR = "sidecar"  # says something about a file beside it
    WITHDRAWN = "withdrawn"  # taken back out of the archive by `sorter undo`
    # Expanded, and not all of it is safe in the archive: the source stays.
    PARTLY = "partly"
    # Deferred: looked at again.
    SETTLING = "settling"  # not yet untouched for the quiet period
    CHANGING = "changing"
    INCOMPLETE = "incomplete"
    NO_SPACE = "no_space"  # larger than the room that is left
    BLOCKED = "blocked"  # something in the archive stands where its folder must be


class BatchKind(StrEnum):
    """What wrote a batch of the ledger (index column ``batches.kind``)."""

    INGEST = "ingest"
    ADOPT = "adopt"  # published files that had no row
    RETRY = "retry"  # `sorter quarantine retry`
    DISCARD = "discard"  # `sorter quarantine discard`
    RELAYOUT = "relayout"
    WITHDRAW = "withdraw"  # `sorter undo`
    MIGRATED = "migrated"  # all that was recorded before the ledger had batches


class Problem(StrEnum):
    """What verification found wrong with an archived file (index column ``instances.problem``)."""

    MISSING = "missing"
    DAMAGED = "damaged"


class Pixels(StrEnum):
    """The state of an archived instance's pixel data (index column ``pixels``)."""

    NONE = "none"  # no pixel data in this kind of object
    NATIVE = "native"  # came native, copied byte for byte
    TRANSCODED = "transcoded"  # came encapsulated, now native, verified
    # Encapsulated as it came, and why:
    KEPT_CONFIG = "kept_config"  # its family is not in ``decompress``
    KEPT_VIDEO = "kept_video"
    KEPT_SIGNED = "kept_signed"  # transcoding would break its digital signature
    KEPT_TOO_LARGE = "kept_too_large"  # native would exceed 4 GiB
    KEPT_UNDECODABLE = "kept_undecodable"
    KEPT_DECODER_CRASHED = "kept_decoder_crashed"  # crashed, hung or outgrew its memory


class Candidate(NamedTuple):
    """One version of one source file, as ``lstat`` saw it. There may be millions: a tuple costs the least.

    Parameters
    ----------
    folder, name
        Absolute folder and file name; undecodable bytes as surrogate escapes.
    device, inode, size, mtime_ns, ctime_ns
        From ``lstat``. Together with the path they are the version: any write changes ctime.
    root
        The drop folder it was found in, or ``""`` for a path given by hand, which is never retired.
    held, depth
        Of a member of what was expanded: the staged file with its bytes, and in how many others it lies.
        Its path goes on from the path of the file around it, whose version it has but for the size.
    """

    folder: str
    name: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    root: str = ""
    held: str = ""
    depth: int = 0

    @property
    def path(self) -> str:
        """The absolute path."""
        return f"{self.folder}/{self.name}"

    @property
    def version(self) -> tuple[int, int, int, int, int]:
        """What must stay the same while the file settles and while it is read."""
        return self[2:7]


# A default; nobody may change it.
_NO_VALUES: Mapping[str, str | int] = {}


class Header(NamedTuple):
    """The normalised values of one dataset, by DICOM keyword.

    Text is stripped, NFC, without control characters; multi-valued text is joined with a backslash; dates
    are ``YYYYMMDD``; those in :data:`sorter.keywords.INTEGER_KEYWORDS` are ``int``. What is missing, empty
    or unusable is absent.
    """

    values: Mapping[str, str | int] = _NO_VALUES

    def text(self, keyword: str) -> str:
        """The value as text; empty where there is none."""
        value = self.values.get(keyword)
        return "" if value is None else str(value)

    def number(self, keyword: str) -> int | None:
        """The value as a whole number; ``None`` where it is missing or not one."""
        value = self.values.get(keyword)
        return value if isinstance(value, int) else None

    @property
    def patient(self) -> tuple[str, str]:
        """The patient's key: (IssuerOfPatientID, PatientID)."""
        value = self.values.get
        return (str(value("IssuerOfPatientID", "")), str(value("PatientID", "")))

    @property
    def study_date(self) -> str:
        """``YYYYMMDD`` of the study, from the nearest date there is; empty where there is none."""
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            if value := self.text(keyword):
                return value
        return ""


NO_HEADER = Header()


class Instance(NamedTuple):
    """One DICOM instance, read and proved whole; digests are lower-case hex SHA-256.

    Parameters
    ----------
    source_sha256
        Of the DICOM stream as it came (inside gzip: of the inflated stream).
    sha256, size
        Of the bytes that go into the archive.
    pixel_sha256
        Of all frames as native little-endian bytes, in order; ``None`` where nothing was transcoded.
    """

    header: Header
    source_sha256: str
    sha256: str
    size: int
    source_transfer_syntax_uid: str
    transfer_syntax_uid: str
    pixels: Pixels
    pixel_sha256: str | None = None
    note: str = ""  # why pixels were kept, without patient data


class Staged(NamedTuple):
    """A candidate whose bytes lie in staging under ``name``, durable before anything is published."""

    candidate: Candidate
    instance: Instance
    name: str
    source_sha256: str  # of the file as it lies in the drop folder


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that will not be archived now: rejected, ignored or deferred.

    ``name`` is the staged copy for quarantine, or ``""`` where none is kept or none could be made.
    ``detail`` says what is wrong in words without patient data. ``header`` holds what could be read.
    ``missing`` names the keywords that may be filled in, where it needs to be told more.
    """

    candidate: Candidate
    kind: Kind
    reason: Reason
    detail: str = ""
    name: str = ""
    source_sha256: str = ""
    header: Header = NO_HEADER
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expanded:
    """A candidate that holds or becomes others; they are staged next.

    ``left`` counts what stays in it: links, and files that are nothing for the archive.
    """

    candidate: Candidate
    source_sha256: str
    members: tuple[Candidate, ...]
    left: int = 0
    name: str = ""  # nothing of it is staged under its own name


class Outcome(NamedTuple):
    """The one final word about one candidate.

    ``path`` is relative to the archive root: the instance's place for stored, duplicate and equivalent;
    the quarantined file (or its JSON) for rejected and conflict; empty otherwise. ``members`` are the places
    of all that an expanded candidate held.
    """

    candidate: Candidate
    kind: Kind
    reason: Reason | None = None
    detail: str = ""
    path: str = ""
    source_sha256: str = ""
    instance: Instance | None = None  # set where a row is to be made (stored) or was matched
    members: tuple[str, ...] = ()

    @property
    def archived(self) -> tuple[str, ...]:
        """The places of all that it is or held; none where the archive lacks some of it."""
        if not is_safe(self.kind, self.reason):
            return ()
        return self.members if self.kind is Kind.EXPANDED else (self.path,)


class Place(NamedTuple):
    """Where an instance goes, and what the index must know of it.

    ``folder`` is relative to the archive root; ``leaf`` is the name it should get, ``spare`` the one with its
    SOP Instance UID that it gets where ``leaf`` is taken.
    """

    patient_folder: str
    patient_folder_key: int | None
    study_date: str
    folder: str
    leaf: str
    spare: str
