"""What the head of a JPEG, JPEG-LS or JPEG 2000 codestream declares, read without decoding anything.

A decoder believes its codestream: 266 bytes that declare a huge image cost 5 GB. So size, components and
precision are read here first and compared with the dataset. Every loop advances, whatever the bytes are.

Sources: ITU-T T.81 Annex B (JPEG), T.87 Annex C (JPEG-LS), T.800 Annexes A and I (JPEG 2000 and JP2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


class Undecodable(Exception):  # noqa: N818 - a verdict about one source, not a program error
    """A codestream is not what its dataset says, or no decoder can take it; says why, without values."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """What one frame's codestream declares of itself.

    Parameters
    ----------
    rows, columns, components
        Of the decoded frame.
    precision
        Bits of every component.
    signed
        JPEG 2000 only; the others know no sign.
    lossy
        It cannot have been reversible: DCT, irreversible wavelet, or near-lossless with an error.
    transformed
        JPEG 2000: whether it has a multiple component transformation, which the decoder undoes. JPEG: what
        Adobe's APP14 marker says: YCbCr (``True``), RGB (``False``) or nothing (``None``).
    rgb_ids, jfif
        JPEG: component identifiers spell RGB; a JFIF marker makes three components YCbCr.
    scan
        JPEG: offset of the first Start of Scan marker.
    sequential
        JPEG: baseline or extended sequential DCT.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False
    lossy: bool = False
    transformed: bool | None = None
    rgb_ids: bool = False
    jfif: bool = False
    scan: int = 0
    sequential: bool = False


_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # C4 DHT, C8 JPG, CC DAC; F7 is JPEG-LS
_SOF_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF, 0xF7))
_SOF_SEQUENTIAL_DCT = frozenset((0xC0, 0xC1))
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_SOS, _EOI, _APP0, _APP14 = 0xDA, 0xD9, 0xE0, 0xEE
END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_RGB_IDS = (b"RGB", b"rgb")


def _u16(data: bytes, pos: int) -> int:
    return int(struct.unpack_from(">H", data, pos)[0])


def read_jpeg(data: bytes) -> Codestream:
    """Read the head of a JPEG or JPEG-LS codestream up to its first scan.

    Raises
    ------
    Undecodable
        It has no frame header or no scan, or is cut short.
    """
    try:
        return _read_jpeg(data)
    except (struct.error, IndexError):
        raise Undecodable("the JPEG codestream is cut short") from None


def _read_jpeg(data: bytes) -> Codestream:
    if data[:2] != b"\xff\xd8":
        raise Undecodable("the frame is not a JPEG codestream")
    frame, frame_marker, jfif, transformed, pos = b"", 0, False, None, 2
    while True:
        if data[pos] != 0xFF:
            raise Undecodable(f"no JPEG marker at offset {pos} of the frame")
        marker = data[pos + 1]
        if marker == 0xFF or marker in _STANDALONE:
            pos += 1 if marker == 0xFF else 2
            continue
        if marker == _EOI:
            raise Undecodable("the JPEG codestream has no scan")
        length = _u16(data, pos + 2)
        segment = data[pos + 4 : pos + 2 + length]
        if length < 2 or len(segment) != length - 2:
            raise Undecodable("the JPEG codestream is cut short")
        if marker in _SOF:
            if frame:
                raise Undecodable("the JPEG codestream is hierarchical")
            frame, frame_marker = segment, marker
        elif marker == _APP0 and segment.startswith(b"JFIF"):
            jfif = True
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            transformed = segment[11] != 0
        elif marker == _SOS:
            break
        pos += 2 + length
    if not frame:
        raise Undecodable("the JPEG codestream has a scan before its frame header")
    precision, rows, columns, components = struct.unpack_from(">BHHB", frame)
    near = segment[1 + 2 * segment[0]] if frame_marker == 0xF7 else 0
    return Codestream(
        rows=rows,
        columns=columns,
        components=components,
        precision=precision,
        lossy=frame_marker not in _SOF_LOSSLESS or near > 0,
        transformed=transformed,
        rgb_ids=frame[6::3][:components] in _RGB_IDS,
        jfif=jfif,
        scan=pos,
        sequential=frame_marker in _SOF_SEQUENTIAL_DCT,
    )


def repair_scan(data: bytes, stream: Codestream) -> bytes:
    """``data`` with the spectral selection that a sequential DCT scan must have: 0 to 63 (T.81 B.2.3).

    Some writers leave zeros there; other decoders ignore the field, libjpeg refuses the codestream.
    """
    if not stream.sequential:
        return data
    spectral = stream.scan + 5 + 2 * data[stream.scan + 4]
    if data[spectral : spectral + 3] == b"\0\x3f\0":
        return data
    return data[:spectral] + b"\0\x3f\0" + data[spectral + 3 :]


_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_MAX_TILES = 65535  # T.800 A.4.2: a tile's index has 16 bits


def read_jpeg2000(data: bytes) -> Codestream:
    """Read the main header of a JPEG 2000 or HTJ2K codestream, bare or in a JP2 file.

    Raises
    ------
    Undecodable
        It is none, is cut short, or its components differ in precision or sign.
    """
    try:
        return _read_jpeg2000(data, _jp2_codestream(data) if data.startswith(_JP2_SIGNATURE) else 0)
    except (struct.error, IndexError, OverflowError):
        raise Undecodable("the JPEG 2000 codestream is cut short") from None


def _jp2_codestream(data: bytes) -> int:
    """The offset of the contiguous codestream box's content (T.800 I.4)."""
    pos = 0
    while True:
        length, kind = struct.unpack_from(">L4s", data, pos)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, pos + 8)[0], 16
        if kind == b"jp2c":
            return pos + head
        if length < head:  # 0 is "to the end of the file", and then no codestream follows
            raise Undecodable("the JP2 file has no codestream")
        pos += length


def _read_jpeg2000(data: bytes, start: int) -> Codestream:
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise Undecodable("the frame is not a JPEG 2000 codestream")
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components = struct.unpack_from(">8LH", data, start + 8)
    parts = data[start + 42 : start + 42 + 3 * components]
    if not components or len(parts) != 3 * components:
        raise Undecodable("the JPEG 2000 codestream is cut short")
    if len(set(parts[::3])) != 1:
        raise Undecodable("the JPEG 2000 components differ in precision or sign")
    if x1 <= x0 or y1 <= y0 or not tile_x or not tile_y:
        raise Undecodable("the JPEG 2000 codestream declares no area")
    if -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y) > _MAX_TILES:
        raise Undecodable("the JPEG 2000 codestream declares too many tiles")
    transformed, reversible = _coding_style(data, start + 4 + _u16(data, start + 4))
    return Codestream(
        rows=y1 - y0,
        columns=x1 - x0,
        components=components,
        precision=(parts[0] & 0x7F) + 1,
        signed=bool(parts[0] & 0x80),
        lossy=not reversible,
        transformed=transformed,
    )


def _coding_style(data: bytes, pos: int) -> tuple[bool, bool]:
    """(has a multiple component transformation, has the reversible wavelet) of the COD segment."""
    while True:
        marker = _u16(data, pos)
        if marker == 0xFF52:
            return data[pos + 8] != 0, data[pos + 13] == 1
        length = _u16(data, pos + 2)
        if marker == 0xFF90 or marker < 0xFF00 or length < 2:
            raise Undecodable("the JPEG 2000 main header has no coding style")
        pos += 2 + length
