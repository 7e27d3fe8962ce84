"""A JPEG that DICOM takes as it is: its entropy-coded bytes stay, what else it tells goes.

Application segments hold EXIF, XMP, thumbnails, and with them names, places and times; comments hold
anything. Of these just Adobe's APP14 stays, because it says what the components are.
ITU-T T.81 Annex B; PS3.5 8.2.1, A.4.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sorter.convert.errors import ConversionError
from sorter.parser.codestream import Undecodable, read_jpeg

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF0, _DHT, _DAC, _SOS, _COM, _APP14 = 0xC0, 0xC4, 0xCC, 0xDA, 0xFE, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_APPLICATION = range(0xE0, 0xF0)
_ADOBE_LENGTH = 12
# In entropy-coded data FF is followed by 00 or is a restart marker; any other ends them. T.81 B.1.1.5.
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A baseline codestream to be encapsulated.

    Parameters
    ----------
    stream
        The codestream without what it tells beside.
    photometric
        ``MONOCHROME2``, ``YBR_FULL_422`` (however its chrominance is sampled) or ``RGB``.
    """

    stream: bytes
    rows: int
    columns: int
    components: int
    photometric: str

    @property
    def ratio(self) -> float:
        """Bytes of its pixels, native, to those of the stream. PS3.3 C.7.6.1.1.5.1."""
        return self.rows * self.columns * self.components / len(self.stream)


def baseline(content: bytes) -> Jpeg | None:
    """The picture as DICOM takes it; ``None`` where it must be decoded.

    Baseline (SOF0), 8 bits, one or three components, and no two opinions about what these are: after JFIF's
    segment is gone, the rest must still say the same.

    Raises
    ------
    ConversionError
        It is cut short or not a JPEG.
    """
    try:
        head = read_jpeg(content)
    except Undecodable as error:
        raise ConversionError(str(error)) from None
    segments = list(_segments(content))
    frames = [marker for marker, _, _ in segments if marker in _FRAMES]
    if frames != [_SOF0] or head.precision != 8 or head.components not in (1, 3) or not head.rows:
        return None
    photometric = "MONOCHROME2"
    if head.components == 3:
        opinions = {head.transformed} - {None} | ({True} if head.jfif else set())
        opinions |= {False} if head.rgb_ids else set()
        if len(opinions) > 1:
            return None
        photometric = "RGB" if opinions == {False} else "YBR_FULL_422"
    parts = [_SOI, *(_kept(content[start:end], marker) for marker, start, end in segments), _EOI]
    return Jpeg(b"".join(parts), head.rows, head.columns, head.components, photometric)


def _kept(segment: bytes, marker: int) -> bytes:
    if marker == _APP14 and segment[4:9] == b"Adobe" and len(segment) >= 4 + _ADOBE_LENGTH:
        return b"\xff\xee\0\x0e" + segment[4 : 4 + _ADOBE_LENGTH]
    return b"" if marker in _APPLICATION or marker == _COM else segment


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to EOI, a scan with its entropy-coded data."""
    at = len(_SOI)
    while data[at : at + 1] == b"\xff" and at + 2 <= len(data):
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _EOI[1]:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(data):
            break
        if marker == _SOS:
            found = _END_OF_SCAN.search(data, end)
            if found is None:
                break
            end = found.start()
        yield marker, at, end
        at = end
    raise ConversionError(f"the JPEG is cut short or damaged at offset {at}")
