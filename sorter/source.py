"""What is read of one source; why one cannot be taken; and how much may come out of one that was packed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sorter.model import Header, Kind, Reason
from sorter.organizer.staging import Staging
from sorter.organizer.tree import trouble
from sorter.parser.elements import Buffer

GZIP_LIMIT = 8 << 30
GZIP_FREE = 64 << 20
GZIP_RATIO = 100
_PIECE = 1 << 20


@dataclass(slots=True)
class Source:
    """The bytes of one source: in memory, or streamed into a staged file ``name`` and mapped from there."""

    data: Buffer
    sha256: str  # of the DICOM stream
    outer_sha256: str  # of the file as it lies in the drop folder
    name: str = ""


class Refusal(Exception):  # noqa: N818 - a verdict about one source
    """One source cannot be staged now, and why; becomes a Refused.

    ``source`` holds its bytes where they were staged for quarantine before it could become a Source.
    """

    def __init__(self, kind: Kind, reason: Reason, detail: str = "", header: Header | None = None) -> None:
        super().__init__(detail)
        self.kind, self.reason, self.detail, self.header = kind, reason, detail, header or Header()
        self.source: Source | None = None
        self.missing: tuple[str, ...] = ()  # keywords to fill in


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many bytes may come out of a file: ``most`` for its size, and half the ``room`` there is."""

    most: int
    room: int

    @classmethod
    def of(cls, size: int, staging: Staging, limit: int = 0) -> Bounds:
        """Of a file of ``size`` bytes.

        A mask of zeros deflates 1,000 to 1 as well as any bomb does, but is not large.
        """
        with trouble("look for room"):
            facts = os.statvfs(staging.folder)
        room = facts.f_bavail * facts.f_frsize // 2
        return cls(min(limit or GZIP_LIMIT, max(GZIP_FREE, GZIP_RATIO * size)), room)

    def check(self, given: int, what: str) -> None:
        """Raise Refusal where so many bytes are too many, for ever or for the room that is left now."""
        if given > self.most:
            detail = f"{what} to more than {self.most} bytes, the most for its size"
            raise Refusal(Kind.REJECTED, Reason.TOO_LARGE, detail)
        if given > self.room:
            detail = f"{what} to more than {self.room} bytes, half the room that is left"
            raise Refusal(Kind.DEFERRED, Reason.NO_SPACE, detail)


def inflated(chunks: Iterator[bytes], bounds: Bounds) -> Iterator[bytes]:
    """The inflated stream in bounded pieces; stops a bomb (trap 21)."""
    inflater = zlib.decompressobj(wbits=31)
    given = 0
    try:
        for data in chunks:
            ended = inflater.eof
            rest = data
            # Beyond its end the inflater gives back as unconsumed whatever it is given.
            while rest and not inflater.eof:
                piece = inflater.decompress(rest, _PIECE)
                rest = inflater.unconsumed_tail
                given += len(piece)
                bounds.check(given, "inflates")
                if piece:
                    yield piece
            # What follows the stream may be zeros (padding), not another stream: it would be lost unseen.
            behind = data if ended else inflater.unused_data
            if behind.strip(b"\0"):
                raise Refusal(Kind.REJECTED, Reason.MALFORMED, "the gzip file holds more than one stream")
    except zlib.error:
        raise Refusal(Kind.REJECTED, Reason.MALFORMED, "damaged gzip stream") from None
    if not inflater.eof:
        raise Refusal(Kind.REJECTED, Reason.TRUNCATED, "the gzip stream ends early")
