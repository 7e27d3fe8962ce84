"""What a file that is not DICOM is, by its content alone; names lie."""

from __future__ import annotations

import struct
from enum import StrEnum


class Format(StrEnum):
    """What can be converted, and what can be opened to see what is inside."""

    NIFTI1 = "nifti1"  # one file, or the header of a pair
    NIFTI2 = "nifti2"
    ANALYZE = "analyze"  # the header of a pair
    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    BMP = "bmp"
    GIF = "gif"
    ZIP = "zip"
    TAR = "tar"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"


_MARKS = (
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"\xff\xd8\xff", Format.JPEG),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0\x08\0\0\0", Format.TIFF),  # BigTIFF
    (b"MM\0+\0\x08\0\0", Format.TIFF),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"PK\x03\x04", Format.ZIP),
    (b"PK\x05\x06", Format.ZIP),  # one without members
    (b"PK\x07\x08PK\x03\x04", Format.ZIP),  # one that was split, and is whole
    (b"\x1f\x8b\x08", Format.GZIP),
    (b"\xfd7zXZ\0", Format.XZ),
)
_DIB_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # lengths of the versions there are
_NIFTI1_MAGIC = (b"n+1\0", b"ni1\0")
_NIFTI2_MAGIC = (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")
# Bits of a voxel by Analyze data type: dbh.h of Analyze 7.5.
_ANALYZE_BITS = {1: 1, 2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24}
# An Analyze header is 348 bytes; some programs append a little to it.
_ANALYZE_SIZE, _ANALYZE_MOST = 348, 4096
_TAR_BLOCK = 512
_TAR_CHECKSUM = slice(148, 156)


def recognise(head: bytes, size: int) -> Format | None:
    """What the file is; ``None`` for DICOM and for all that is not among :class:`Format`.

    Parameters
    ----------
    head
        Its first bytes; 540 are enough.
    size
        Of the whole file, in bytes.
    """
    if head[128:132] == b"DICM":
        return None  # also where its preamble makes it a TIFF too: PS3.10 7.1
    for mark, found in _MARKS:
        if head.startswith(mark):
            return found
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return Format.BZIP2
    if _is_bmp(head):
        return Format.BMP
    return _volume(head, size) or (Format.TAR if _is_tar(head) else None)


def _is_bmp(head: bytes) -> bool:
    return (
        head.startswith(b"BM") and len(head) >= 18 and struct.unpack_from("<L", head, 14)[0] in _DIB_HEADERS
    )


def _volume(head: bytes, size: int) -> Format | None:
    for order in "<>":
        if len(head) < _ANALYZE_SIZE:
            return None
        (length,) = struct.unpack_from(f"{order}l", head)
        if length == 540 and head[4:12] in _NIFTI2_MAGIC:
            return Format.NIFTI2
        if length == _ANALYZE_SIZE and head[344:348] in _NIFTI1_MAGIC:
            return Format.NIFTI1
        if length == _ANALYZE_SIZE and size <= _ANALYZE_MOST and _is_analyze(head, order):
            return Format.ANALYZE
    return None


def _is_analyze(head: bytes, order: str) -> bool:
    """It has no mark, so what it says must fit together."""
    dimensions, *extents = struct.unpack_from(f"{order}8h", head, 40)
    datatype, bits = struct.unpack_from(f"{order}2h", head, 70)
    return (
        1 <= dimensions <= 7
        and all(extent > 0 for extent in extents[:dimensions])
        and _ANALYZE_BITS.get(datatype) == bits
    )


def _is_tar(head: bytes) -> bool:
    """A first header whose checksum is right; older tar wrote no mark. POSIX.1-2017, pax, ustar."""
    block = head[:_TAR_BLOCK]
    if len(block) < _TAR_BLOCK or not block[0]:
        return False
    try:
        checksum = int(block[_TAR_CHECKSUM].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    rest = block[: _TAR_CHECKSUM.start] + b" " * 8 + block[_TAR_CHECKSUM.stop :]
    return checksum == sum(rest)
