"""What makes two instances the same though they are encoded differently.

One digest of the header and one of the pixel values, both independent of the transfer syntax: byte order,
explicit or implicit VR, sequences of defined or undefined length, padding, compression. Where something
cannot be brought into one form (private sequences in implicit VR, pixels that no decoder takes) the digests
differ: a needless conflict keeps both files, a false "equivalent" would lose one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydicom.datadict import dictionary_VR

from sorter.parser.codecs import SYNTAXES
from sorter.parser.elements import Buffer, Dataset, Unparsable, tag_text, top_level, walk
from sorter.parser.frames import (
    ICON,
    PHOTOMETRIC,
    PIXEL_DATA,
    Encoded,
    Kept,
    find_places,
    native_arrays,
    read_module,
    undecodable,
)  # fmt: skip
from sorter.parser.grammar import BIG, LITTLE, Limits, Place, Stream, elements
from sorter.parser.icon import native_icon
from sorter.parser.pixelmodule import Pixel

_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI",
                   "UR", "UT"))  # fmt: skip
_WIDTHS = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
# What describes the encoding only: Derivation Description and Code Sequence, in which toolkits note lossless
# compression; Planar Configuration; the lossy attributes that transcoding adds; offset tables; the pixels
# themselves; and Data Set Trailing Padding.
_EXCLUDED = frozenset(
    (0x00082111, 0x00089215, 0x00280006, 0x00282110, 0x00282112, 0x00282114, 0x7FE00001, 0x7FE00002,
     0x7FE00003, 0x7FE00008, 0x7FE00009, PIXEL_DATA, 0xFFFCFFFC)
)  # fmt: skip
_ITEM, _UNDEFINED = 0xFFFEE000, 0xFFFFFFFF
_CHUNK = 1 << 20  # a multiple of every width
_MOST_LEVELS = 64


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests (lower-case hex SHA-256) that are equal for the same instance in any transfer syntax.

    ``elements`` maps a top-level element like ``(0010,0020)`` to a short digest of its value, so that a
    conflict can say which elements differ without saying their values.
    """

    header_sha256: str
    pixel_sha256: str
    elements: Mapping[str, str]


class _NotItemsError(Exception):
    """A value is not the items of a sequence."""


def fingerprint(data: Buffer) -> Fingerprint:
    """The fingerprint of one DICOM file; reads all of it and decodes its pixels, a frame at a time.

    Raises
    ------
    Unparsable
        It is not one whole DICOM stream.
    """
    dataset = walk(data, frozenset())
    pixel_sha256, photometric = _pixels(dataset)
    digests = dict(_top_level(dataset))
    if photometric and PHOTOMETRIC in digests:
        digests[PHOTOMETRIC] = hashlib.sha256(photometric.encode("ascii")).digest()
    header = hashlib.sha256()
    for tag, digest in sorted(digests.items()):
        header.update(struct.pack("<L", tag) + digest)
    shown = {tag_text(tag): digest.hex()[:16] for tag, digest in digests.items()}
    return Fingerprint(header.hexdigest(), pixel_sha256, shown)


# -- header -------------------------------------------------------------------------------------------------


def _top_level(dataset: Dataset) -> Iterator[tuple[int, bytes]]:
    stream = _stream(dataset.data, big_endian=dataset.big_endian)
    for place in top_level(dataset):
        tag = place[0]
        if tag in _EXCLUDED or not tag & 0xFFFF:
            continue
        if tag == ICON and dataset.icon:
            yield tag, _icon(dataset, stream, place)
        else:
            yield tag, _value(stream, place, dataset.implicit, 0)


def _stream(data: Buffer, *, big_endian: bool) -> Stream:
    return Stream(data, BIG if big_endian else LITTLE, Limits())


def _icon(dataset: Dataset, stream: Stream, place: Place) -> bytes:
    """An encapsulated icon counts as the native one that transcoding makes of it."""
    try:
        element = native_icon(dataset, SYNTAXES[dataset.transfer_syntax_uid])
    except (Kept, KeyError):
        return _value(stream, place, dataset.implicit, 0)
    native = _stream(element, big_endian=False)
    return _value(native, next(elements(native, 0, dataset.implicit)), dataset.implicit, 0)


def _value(stream: Stream, place: Place, implicit: bool, level: int) -> bytes:
    """The digest of one element's value in canonical form."""
    tag, vr, _, value, end = place
    known = _dictionary_vr(tag) or vr
    if "SQ" in (known, vr) or (vr in ("", "UN") and _looks_like_items(stream, value, end)):
        try:
            return _sequence(stream, value, end, implicit or vr == "UN", level + 1)
        except (_NotItemsError, Unparsable):
            pass  # not a sequence after all: then its bytes count
    digest = hashlib.sha256()
    if known in _TEXT:
        # Padding only; of a private element one file may not know the VR, so its bytes all count.
        while end > value and stream.data[end - 1] in b"\0 ":
            end -= 1
    width = _WIDTHS.get(vr, 1) if stream.order is BIG else 1
    for start in range(value, end, _CHUNK):
        digest.update(_swapped(stream.data[start : min(end, start + _CHUNK)], width))
    return digest.digest()


def _dictionary_vr(tag: int) -> str:
    if tag >> 16 & 1:
        return ""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _swapped(data: bytes, width: int) -> bytes:
    if width == 1 or len(data) % width:
        return data
    out = bytearray(len(data))
    for byte in range(width):
        out[byte::width] = data[width - 1 - byte :: width]
    return bytes(out)


def _looks_like_items(stream: Stream, value: int, end: int) -> bool:
    return end - value >= 8 and stream.order.implicit(stream.data, value)[:2] == (0xFFFE, 0xE000)


def _sequence(stream: Stream, value: int, end: int, implicit: bool, level: int) -> bytes:
    """The digest of a sequence's items; the same whether lengths are defined or not."""
    if level > _MOST_LEVELS:
        raise _NotItemsError
    digest = hashlib.sha256()
    while value < end:
        if end - value < 8:
            raise _NotItemsError
        group, number, length = stream.order.implicit(stream.data, value)
        value += 8
        if (group << 16 | number) != _ITEM:
            if number == 0xE0DD and value == end:
                break
            raise _NotItemsError
        digest.update(b"\xfe\xff\x00\xe0")
        if length == _UNDEFINED:
            for place in elements(stream, value, implicit, 1):
                value = place[4]
                _add(digest, stream, place, implicit, level)
        else:
            if value + length > end:
                raise _NotItemsError
            item = Stream(stream.data[value : value + length], stream.order, stream.limits)
            for place in elements(item, 0, implicit):
                _add(digest, item, place, implicit, level)
            value += length
    return digest.digest()


def _add(digest: hashlib._Hash, stream: Stream, place: Place, implicit: bool, level: int) -> None:
    tag = place[0]
    if tag & 0xFFFF and tag != 0xFFFEE00D:  # group lengths and the item's end are encoding
        digest.update(struct.pack("<L", tag) + _value(stream, place, implicit, level))


# -- pixels -------------------------------------------------------------------------------------------------


def _pixels(dataset: Dataset) -> tuple[str, str]:
    """(digest of the pixel values, their Photometric Interpretation once decoded)."""
    if dataset.pixel_data is None:
        return hashlib.sha256().hexdigest(), ""
    try:
        if dataset.pixel_data.encapsulated:
            return _decoded(dataset)
        return _native(dataset)
    except Kept:
        return _as_stored(dataset), ""


def _decoded(dataset: Dataset) -> tuple[str, str]:
    if dataset.transfer_syntax_uid not in SYNTAXES:
        raise undecodable("no decoder for this transfer syntax")
    encoded = Encoded(dataset)
    photometric, _ = encoded.survey()
    return _values(encoded.pixels()), photometric


def _native(dataset: Dataset) -> tuple[str, str]:
    pixel_data = dataset.pixel_data
    assert pixel_data is not None
    module = read_module(dataset, find_places(dataset))
    padding = pixel_data.end - pixel_data.value - module.length
    if pixel_data.tag != PIXEL_DATA or padding not in (0, module.length % 2):
        raise undecodable("pixel data of another length than declared")
    value = memoryview(dataset.data)[pixel_data.value : pixel_data.end]
    try:
        arrays = native_arrays(value, module, dataset.transfer_syntax_uid, pixel_data.vr or "OW")
        return _values(arrays), module.photometric
    except Exception as error:  # noqa: BLE001 - pydicom documents none
        raise undecodable(f"pydicom raised {type(error).__name__}") from None


def _values(arrays: Iterator[Pixel]) -> str:
    """Samples interleaved, little endian; cells of one bit as a byte each."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(little.reshape(-1).view("u1").data)
    return digest.hexdigest()


def _as_stored(dataset: Dataset) -> str:
    """The digest of what cannot be decoded: native bytes, or the transfer syntax and the fragments."""
    pixel_data = dataset.pixel_data
    assert pixel_data is not None
    if not pixel_data.encapsulated:
        stream = _stream(dataset.data, big_endian=dataset.big_endian)
        place = (pixel_data.tag, pixel_data.vr, pixel_data.start, pixel_data.value, pixel_data.end)
        return _value(stream, place, dataset.implicit, 0).hex()
    digest = hashlib.sha256(dataset.transfer_syntax_uid.encode("ascii", "replace"))
    for offset, length in pixel_data.items[1:]:
        digest.update(struct.pack("<L", length))
        for start in range(offset, offset + length, _CHUNK):
            digest.update(dataset.data[start : min(offset + length, start + _CHUNK)])
    return digest.hexdigest()
