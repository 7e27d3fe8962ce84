"""The bytes that producers drop: whole instances in several encodings, and what is none.

Pixel data are the last element, so that no part of a file from its start is a whole instance.
"""

import gzip
import hashlib
import io
import random
from dataclasses import dataclass, field

import pydicom
from pydicom.uid import JPEG2000Lossless, RLELossless
from support import UID, dicom

SIZE = 32  # rows and columns
LARGE = 4_200  # 35 MB: more than a worker reads into memory at once
_PIXELS = SIZE * SIZE * 2
_FIRST = 1_000_000
_A_SERIES = 25


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Content:
    """What a whole instance is, without its bytes.

    ``identity`` is equal for all encodings of one instance; ``stream`` is the SHA-256 of this encoding, and
    ``pixels`` that of the native pixel data.
    """

    uid: str
    identity: str
    stream: str
    pixels: str


@dataclass(frozen=True, slots=True)
class Made:
    """The bytes of one file; ``content`` is None where they are no whole instance."""

    data: bytes = field(repr=False)
    content: Content | None = None

    @property
    def sha256(self):
        """Of the file."""
        return sha256(self.data)


def whole(data, uid):
    """A native instance as :func:`support.dicom` makes it."""
    digest = sha256(data)
    size = int.from_bytes(data[data.rindex(b"\xe0\x7f\x10\x00OW\0\0") + 8 :][:4], "little")
    return Made(data, Content(uid, digest, digest, sha256(data[-size:])))


class Maker:
    """Makes unique instances, 25 a series, 4 series a study, 3 studies a patient."""

    def __init__(self, number, rng):
        self._number, self._rng, self._count = number, rng, 0
        self._template = b""
        self._first_study = 2_000_000 + 10_000 * number

    def fresh(self):
        """A native instance that nobody has seen."""
        number, self._count = self._count, self._count + 1
        series, study = number // _A_SERIES, number // (4 * _A_SERIES)
        names = {"study": self._first_study + study, "series": series + 1}
        if number % _A_SERIES == 0:
            patient = f"P{self._number:03d}{study // 3:05d}"
            self._template = dicom(_FIRST, **names, patient=patient, size=SIZE)
        data = self._template.replace(b"%d" % _FIRST, b"%d" % (_FIRST + number))
        data = data[:-_PIXELS] + self._rng.randbytes(_PIXELS)
        return whole(data, f"{UID}.{names['study']}.{names['series']}.{_FIRST + number}")

    def large(self):
        """An instance that is streamed into staging, not read into memory."""
        number, self._count = self._count, self._count + _A_SERIES - self._count % _A_SERIES
        names = {"study": self._first_study + 9_999, "series": 1}
        data = dicom(_FIRST + number, **names, patient=f"L{self._number}", size=LARGE, pixels=number)
        return whole(data, f"{UID}.{names['study']}.1.{_FIRST + number}")

    def conflicting(self, made):
        """Another instance under the same SOP Instance UID: other pixels, another header, another patient."""
        data, content = made.data, made.content
        way = self._rng.randrange(3)
        if way == 0:
            data = data[:-_PIXELS] + self._rng.randbytes(_PIXELS)
        elif way == 1:
            data = data.replace(b"Head", b"Neck")
        else:
            start = data.index(b"\x10\x00\x20\x00LO") + 8
            data = data[:start] + b"Q" + data[start + 1 :]
        return whole(data, content.uid)

    def junk(self):
        """What is no DICOM."""
        start = self._rng.choice(
            [b"", b"\x89PNG\r\n\x1a\n", b"\x7fELF", b"%PDF-1.7\n", b"<html>", b"PK\x03\x04"]
        )
        return Made(start + self._rng.randbytes(self._rng.choice([0, 1, 131, 4096, 70_000])))

    def cut(self, made):
        """The first part of a whole instance."""
        return Made(made.data[: self._rng.randrange(140, len(made.data) - 1)])


def encapsulated(made, syntax):
    """The same instance in another transfer syntax."""
    dataset = pydicom.dcmread(io.BytesIO(made.data))
    dataset.compress(syntax, generate_instance_uid=False)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    content = made.content
    return Made(
        out.getvalue(), Content(content.uid, content.identity, sha256(out.getvalue()), content.pixels)
    )


def gzipped(made):
    """The same file within gzip."""
    return Made(gzip.compress(made.data, 1, mtime=0), made.content)


ENCODINGS = (
    lambda made: encapsulated(made, RLELossless),
    lambda made: encapsulated(made, JPEG2000Lossless),
    gzipped,
)


def other_encoding(made, rng: random.Random):
    """One of the ways in which an instance may come."""
    return rng.choice(ENCODINGS)(made)
