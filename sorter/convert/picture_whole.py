"""Whether a picture is all there, by its structure: Pillow gives the pages that it finds, and says nothing.

Sources: PNG (W3C) 5.3; GIF89a; TIFF 6.0 section 2 and BigTIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from sorter.convert.errors import ConversionError
from sorter.convert.recognise import Format

_PNG_HEADER, _GIF_HEADER = 8, 13
# TIFF: offsets and lengths of strips, and of tiles.
_OFFSETS, _LENGTHS = (273, 324), (279, 325)
_UNSIGNED = {3: "u2", 4: "u4", 16: "u8"}


def check_whole(content: bytes, form: Format) -> None:
    """Follow the file's structure to its end.

    JPEG and BMP are not looked at: of these the decoder misses what is not there.

    Raises
    ------
    ConversionError
        It points beyond the end of the file, ends before its structure does, or leaves something out.
    """
    whole = {Format.PNG: _png, Format.GIF: _gif, Format.TIFF: _tiff}.get(form)
    try:
        if whole is None or whole(content):
            return
    except (struct.error, IndexError, ValueError):
        pass  # it points beyond the end
    raise ConversionError("the picture is cut short or damaged")


def _png(data: bytes) -> bool:
    at = _PNG_HEADER
    while True:
        length, name = struct.unpack_from(">L4s", data, at)
        at += 12 + length
        if name == b"IEND":
            return bool(at <= len(data))


def _gif(data: bytes) -> bool:
    at = _GIF_HEADER + _gif_colours(data[10])
    while True:
        block = data[at]
        if block == 0x3B:
            return True
        if block == 0x21:  # an extension, of some kind
            at += 2
        elif block == 0x2C:  # a frame: its place, its colours, the size of its codes
            at += 11 + _gif_colours(data[at + 9])
        else:
            return False
        while data[at]:
            at += 1 + data[at]
        at += 1


def _gif_colours(flags: int) -> int:
    """Bytes of the colour table that follows."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(data: bytes) -> bool:
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    seen = set()
    at = _number(data, order, 8 if big else 4, big=big)
    while at:
        if at in seen:
            return False  # it runs in a circle
        seen.add(at)
        count = _number(data, order, at, big=big) if big else struct.unpack_from(f"{order}H", data, at)[0]
        first, size = (at + 8, 20) if big else (at + 2, 12)
        values = dict(_pixel_places(data, order, range(first, first + size * count, size), big=big))
        for offsets, lengths in zip(_OFFSETS, _LENGTHS, strict=True):
            if offsets not in values or lengths not in values:
                continue
            if not values[lengths].all():
                raise ConversionError("the TIFF leaves out some of its strips or tiles")
            ends = values[offsets].astype(float) + values[lengths]
            if ends.size and ends.max() > len(data):
                return False
        at = _number(data, order, first + size * count, big=big)
    return bool(seen)


def _number(data: bytes, order: str, at: int, *, big: bool) -> int:
    return int(struct.unpack_from(f"{order}{'Q' if big else 'L'}", data, at)[0])


def _pixel_places(
    data: bytes, order: str, entries: range, *, big: bool
) -> Iterator[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger]]]]:
    """(tag, its values) of the entries that say where the pixels are."""
    inline = 8 if big else 4
    for at in entries:
        tag, kind = struct.unpack_from(f"{order}2H", data, at)
        if tag not in _OFFSETS + _LENGTHS or kind not in _UNSIGNED:
            continue
        count = _number(data, order, at + 4, big=big)
        dtype = np.dtype(order + _UNSIGNED[kind])
        start = at + 4 + inline
        if dtype.itemsize * count > inline:
            start = _number(data, order, start, big=big)
        yield tag, np.frombuffer(data, dtype, count, start)
