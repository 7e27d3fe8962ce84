"""The structural walk of a DICOM stream (PS3.5 section 7, PS3.10 section 7), which proves it whole.

pydicom reads half a file without a word, takes any bytes for DICOM when forced, and inflates without bound.
So before anything is believed, :func:`walk` proves that every length lies within the stream, that every
delimiter is there and that the last element ends where the stream ends. It keeps the few wanted elements as
raw bytes; :mod:`sorter.parser.header` gives them meaning.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sorter.model import Reason
from sorter.parser.required import REQUIRED_TAGS, missing

Buffer = bytes | mmap.mmap
Place = tuple[int, str, int, int, int]  # tag, VR, start of the element, start of its value, its end

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

SOP_CLASS = 0x00080016
PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
SIGNATURE_TAGS = frozenset((0x4FFE0001, 0xFFFAFFFA))
ICON = 0x00880200
_MEDIA_STORAGE_SOP_CLASS = 0x00020002
_TRANSFER_SYNTAX = 0x00020010
_IDENTITY = (SOP_CLASS, 0x00080018, 0x0020000D, 0x0020000E)
_SPECIAL = PIXEL_TAGS | SIGNATURE_TAGS | REQUIRED_TAGS | {ICON}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_PREAMBLE = 132  # 128 bytes and "DICM"
_INFLATE_STEP = 1 << 20
# Nothing encapsulated is big endian or implicit, but files that claim a wrong transfer syntax exist.
_ENCAPSULATED = re.compile(rb"\xe0\x7f\x10\x00(?:[A-Z]{2}\0\0)?\xff\xff\xff\xff")

# PS3.5 table 7.1-1: these have a 32-bit length after two reserved bytes; all others a 16-bit length.
_LONG_VRS = "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
_SHORT_VRS = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()


class Unparsable(Exception):  # noqa: N818 - a verdict about one source, not a program error
    """One source cannot be taken; its caller turns this into a ``Refused``.

    Parameters
    ----------
    reason
        NOT_DICOM, TRUNCATED, MALFORMED or TOO_LARGE.
    detail
        Words, tags, offsets and lengths. Never values.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stream may demand: nesting, bytes after inflation, inflation ratio, bytes of a wanted value."""

    depth: int = 64
    inflated: int = 1 << 30
    ratio: int = 200
    value: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Element:
    """A wanted top-level element; ``vr`` is empty in implicit VR, ``value`` is in the file's byte order."""

    tag: int
    vr: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the pixel data lie in ``Dataset.data``: (7FE0,0010), (7FE0,0008) or (7FE0,0009) at top level.

    Parameters
    ----------
    start, value, end
        Offsets of the element's tag, of the first byte of its value, and just past the element (past the
        Sequence Delimitation Item).
    encapsulated
        Whether its length is undefined.
    items
        Encapsulated only: (offset, length) of every item's value; the Basic Offset Table is the first.
    """

    tag: int
    vr: str
    start: int
    value: int
    end: int
    encapsulated: bool
    items: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """What the walk proved.

    Parameters
    ----------
    data
        The stream, inflated where it was deflated; all offsets refer to it.
    transfer_syntax_uid
        As declared, or what the stream itself shows where none is declared.
    implicit, big_endian
        What the stream is, whatever it declares.
    meta
        Elements of group 0002, always little endian.
    start
        Offset of the first element after the File Meta Information.
    elements
        The wanted elements that are present, and always the SOP Class UID.
    signed
        Has MAC Parameters (4FFE,0001) or Digital Signatures (FFFA,FFFA) at top level.
    icon
        (start, end) of an Icon Image Sequence (0088,0200) that holds encapsulated pixel data.
    unusual
        Contradicts its transfer syntax or has an unknown VR: values need pydicom's experience.
    """

    data: Buffer
    transfer_syntax_uid: str
    implicit: bool
    big_endian: bool
    meta: Mapping[int, Element]
    start: int
    elements: Mapping[int, Element]
    pixel_data: PixelData | None
    signed: bool
    icon: tuple[int, int] | None
    unusual: bool


def tag_text(tag: int) -> str:
    """The tag as PS3 writes it: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _codes(order: str) -> dict[int, tuple[str, bool]]:
    """VR bytes, read as one number in ``order``, to the VR and whether its length has 32 bits."""
    vrs = [(vr, True) for vr in _LONG_VRS] + [(vr, False) for vr in _SHORT_VRS]
    return {struct.unpack(order + "H", vr.encode())[0]: (vr, long) for vr, long in vrs}


class _Order:
    """The precompiled readers of one byte order."""

    def __init__(self, order: str) -> None:
        self.explicit = struct.Struct(order + "HHHH").unpack_from
        self.implicit = struct.Struct(order + "HHL").unpack_from
        self.length = struct.Struct(order + "L").unpack_from
        self.group = struct.Struct(order + "H").unpack_from
        self.codes = _codes(order)


_LITTLE, _BIG = _Order("<"), _Order(">")


@dataclass(slots=True)
class _Stream:
    """A stream under the walk: its bytes, how to read them, and what was noticed."""

    data: Buffer
    order: _Order
    implicit: bool
    limits: Limits
    unusual: bool = False


def _beyond(tag: int, start: int, wanted: int, there: int) -> Unparsable:
    detail = f"{tag_text(tag)} at offset {start} ends at {wanted}, the data end at {there}"
    return Unparsable(Reason.TRUNCATED, detail)


def _cut(start: int) -> Unparsable:
    return Unparsable(Reason.TRUNCATED, f"the data end within an element at offset {start}")


def _elements(stream: _Stream, pos: int, implicit: bool, depth: int = 0) -> Iterator[Place]:
    """Yield every element from ``pos``; an item's content ends with (and includes) its delimiter."""
    data = stream.data
    explicit_head, implicit_head, length_at = (
        stream.order.explicit,
        stream.order.implicit,
        stream.order.length,
    )
    codes, size = stream.order.codes, len(data)
    while pos + 8 <= size:
        vr = ""
        if implicit:
            group, number, length = implicit_head(data, pos)
            value = pos + 8
        else:
            group, number, code, length = explicit_head(data, pos)
            value = pos + 8
            if code in codes:
                vr, long = codes[code]
                if long:
                    if pos + 12 > size:
                        raise _cut(pos)
                    length = length_at(data, value)[0]
                    value += 4
            elif group != 0xFFFE and (group or number):
                vr, value, length = _odd_head(stream, pos)
            else:
                length = length_at(data, pos + 4)[0]
        tag = group << 16 | number
        if length == _UNDEFINED:
            end = _items_end(stream, value, implicit, depth + 1, vr == "UN")
        else:
            end = value + length
            if end > size:
                raise _beyond(tag, pos, end, size)
        if tag == 0 and not depth:
            break
        yield tag, vr, pos, value, end
        if tag == _ITEM_END:
            return
        pos = end
    if depth:
        raise _cut(pos)
    _only_padding(data, pos)


def _odd_head(stream: _Stream, pos: int) -> tuple[str, int, int]:
    """VR, offset of the value and length of an element whose VR is none of PS3.5's.

    Two capitals are a VR of the future: long form (PS3.5 7.1.2) where the two bytes after it are reserved
    zeros and a length that fits follows, else short form. Anything else is a writer that switched to
    implicit VR.
    """
    stream.unusual = True
    data, order = stream.data, stream.order
    vr = data[pos + 4 : pos + 6]
    if not vr.isalpha() or not vr.isupper():
        return "", pos + 8, order.length(data, pos + 4)[0]
    short = order.explicit(data, pos)[3]
    if short or pos + 12 > len(data):
        return vr.decode("ascii"), pos + 8, short
    length = order.length(data, pos + 8)[0]
    if length == _UNDEFINED or pos + 12 + length <= len(data):
        return vr.decode("ascii"), pos + 12, length
    return vr.decode("ascii"), pos + 8, 0


def _items_end(stream: _Stream, pos: int, implicit: bool, depth: int, unknown: bool = False) -> int:
    """The offset past the Sequence Delimitation Item of the items that begin at ``pos``.

    Items of UN are in implicit VR (PS3.5 6.2.2), but writers that left them explicit exist.
    """
    if unknown and not implicit:
        try:
            return _items_end(stream, pos, True, depth)
        except Unparsable:
            stream.unusual = True
    data, head, size = stream.data, stream.order.implicit, len(stream.data)
    if depth > stream.limits.depth:
        raise Unparsable(Reason.MALFORMED, f"sequences nested deeper than {stream.limits.depth}")
    while pos + 8 <= size:
        group, number, length = head(data, pos)
        tag = group << 16 | number
        if tag == _SEQUENCE_END:
            return pos + 8
        if tag != _ITEM:
            raise Unparsable(Reason.MALFORMED, f"{tag_text(tag)} at offset {pos} where an item belongs")
        pos += 8
        if length == _UNDEFINED:
            for place in _elements(stream, pos, implicit, depth):
                pos = place[4]
        else:
            pos += length
    raise _cut(min(pos, size))


def _fragments(stream: _Stream, start: int, value: int, end: int) -> tuple[tuple[int, int], ...]:
    """(offset, length) of every item's value of encapsulated pixel data (PS3.5 A.4)."""
    head, data, items = stream.order.implicit, stream.data, []
    pos = value
    while pos + 8 < end:
        length = head(data, pos)[2]
        if length == _UNDEFINED:
            raise Unparsable(
                Reason.MALFORMED, f"fragment of undefined length in pixel data at offset {start}"
            )
        items.append((pos + 8, length))
        pos += 8 + length
    return tuple(items)


def _only_padding(data: Buffer, pos: int) -> None:
    """Raise unless the rest of the data is zeros, as media and block devices pad."""
    if rest := data[pos:].strip(b"\0"):
        detail = f"{len(rest)} bytes after offset {pos} are no element"
        raise Unparsable(Reason.TRUNCATED if len(data) - pos < 8 else Reason.MALFORMED, detail)


def _meta(data: Buffer, start: int, limits: Limits) -> tuple[dict[int, Element], int]:
    """The File Meta Information from ``start`` and its end; its own group length is not believed."""
    stream = _Stream(data, _LITTLE, False, limits)
    meta: dict[int, Element] = {}
    if data[start : start + 2] == b"\2\0":
        for tag, vr, _, value, end in _elements(stream, start, False):
            if tag >> 16 == 2:
                meta[tag] = Element(tag, vr, data[value : min(end, value + limits.value)])
                start = end
            if data[end : end + 2] != b"\2\0":
                break
    return meta, start


def _inflate(data: Buffer, start: int, limits: Limits) -> bytes:
    """The bytes before ``start`` and the inflated rest (PS3.5 A.5), bounded in size and ratio."""
    most = min(limits.inflated, max(_INFLATE_STEP, (len(data) - start) * limits.ratio))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    parts, total, rest = [], 0, data[start:]
    try:
        while not inflater.eof:
            part = inflater.decompress(rest, _INFLATE_STEP)
            rest = inflater.unconsumed_tail
            total += len(part)
            if total > most:
                raise Unparsable(Reason.TOO_LARGE, f"inflates to more than {most} bytes")
            if not part and not rest and not inflater.eof:
                raise Unparsable(Reason.TRUNCATED, "the deflated stream has no end")
            parts.append(part)
    except zlib.error:
        raise Unparsable(Reason.MALFORMED, "the deflated stream is corrupt") from None
    inflated = b"".join(parts)
    trailer = struct.pack(
        "<LL", zlib.crc32(inflated), len(inflated) & 0xFFFFFFFF
    )  # some writers leave gzip's
    _only_padding(inflater.unused_data.removeprefix(trailer), 0)
    return data[:start] + inflated


def _byte_order(data: Buffer, start: int, declared: str) -> _Order:
    """The declared byte order, unless only the other one makes sense of the first group (0004 to 0018)."""
    order, other = (_BIG, _LITTLE) if declared == EXPLICIT_BIG else (_LITTLE, _BIG)
    return other if order.group(data, start)[0] > 0xFF and other.group(data, start)[0] <= 0x18 else order


def _is_implicit(data: Buffer, start: int) -> bool:
    """Whether the first element has no VR; no first element is so long that its length reads as one."""
    vr = data[start + 4 : start + 6]
    return not (vr.isalpha() and vr.isupper())


def _uid(element: Element | None) -> str:
    return "" if element is None else element.value.rstrip(b"\0 ").decode("ascii", "replace")


def walk(data: Buffer, wanted: frozenset[int], *, limits: Limits = Limits()) -> Dataset:
    """Prove that ``data`` is one whole DICOM stream and collect the wanted top-level elements.

    Raises
    ------
    Unparsable
        NOT_DICOM, TRUNCATED, MALFORMED or TOO_LARGE. Also TRUNCATED where the SOP class must carry an
        element that is not there: a file cut between two elements looks whole otherwise.
    """
    prefixed = data[128:_PREAMBLE] == b"DICM"
    meta, start = _meta(data, _PREAMBLE if prefixed else 0, limits)
    declared = _uid(meta.get(_TRANSFER_SYNTAX))
    if declared == DEFLATED_LITTLE:
        data = _inflate(data, start, limits)
    bare = not prefixed and not meta
    if bare and data[0:2] not in (b"\x08\0", b"\0\x08"):
        raise Unparsable(Reason.NOT_DICOM, "neither a DICM prefix nor group 0002 or 0008 at its start")
    if len(data) < start + 8:
        raise Unparsable(Reason.TRUNCATED, "no element after the File Meta Information")
    order, implicit = _byte_order(data, start, declared), _is_implicit(data, start)
    big = order is _BIG
    stream = _Stream(data, order, implicit, limits)
    if not declared:
        declared = IMPLICIT_LITTLE if implicit else EXPLICIT_BIG if big else EXPLICIT_LITTLE
    elif implicit != (declared == IMPLICIT_LITTLE) or big != (declared == EXPLICIT_BIG):
        stream.unusual = True
    found = _Found({}, {})
    try:
        _collect(stream, start, wanted, found, ascending=bare)
    except Unparsable:
        if bare and not all(tag in found.elements for tag in _IDENTITY):
            raise Unparsable(Reason.NOT_DICOM, "no DICM prefix and no readable SOP Instance") from None
        raise
    if bare and not all(tag in found.elements for tag in _IDENTITY):
        raise Unparsable(Reason.NOT_DICOM, "no DICM prefix and no UIDs of a SOP Instance")
    sop_class = _uid(found.elements.get(SOP_CLASS)) or _uid(meta.get(_MEDIA_STORAGE_SOP_CLASS))
    if lacking := missing(sop_class, found.places):
        raise Unparsable(Reason.TRUNCATED, lacking)
    return Dataset(
        data=data,
        transfer_syntax_uid=declared,
        implicit=implicit,
        big_endian=big,
        meta=MappingProxyType(meta),
        start=start,
        elements=MappingProxyType(
            {tag: e for tag, e in found.elements.items() if tag in wanted or tag == SOP_CLASS}
        ),
        pixel_data=_pixel_data(stream, found.places),
        signed=any(tag in found.places for tag in SIGNATURE_TAGS),
        icon=_icon(data, found.places),
        unusual=stream.unusual,
    )


@dataclass(slots=True)
class _Found:
    """What the walk of the top level came upon."""

    elements: dict[int, Element]
    places: dict[int, Place]


def _collect(stream: _Stream, start: int, wanted: frozenset[int], found: _Found, *, ascending: bool) -> None:
    """Walk the top level to its end."""
    data, most = stream.data, stream.limits.value
    special, elements, places = _SPECIAL, found.elements, found.places
    wanted = wanted.union(_IDENTITY)
    last = 0
    for place in _elements(stream, start, stream.implicit):
        tag, vr, at, value, end = place
        if tag <= last:
            stream.unusual = True
            if ascending:
                raise Unparsable(Reason.MALFORMED, f"{tag_text(tag)} at offset {at} is out of order")
        last = tag
        if tag in wanted:
            if end - value > most:
                raise Unparsable(Reason.TOO_LARGE, f"{tag_text(tag)} has {end - value} bytes")
            elements[tag] = Element(tag, vr, data[value:end])
        if tag in special:
            places[tag] = place


def _pixel_data(stream: _Stream, places: Mapping[int, Place]) -> PixelData | None:
    for tag in PIXEL_TAGS:
        if tag in places:
            _, vr, start, value, end = places[tag]
            encapsulated = stream.order.length(stream.data, value - 4)[0] == _UNDEFINED
            items = _fragments(stream, start, value, end) if encapsulated else ()
            return PixelData(tag, vr, start, value, end, encapsulated, items)
    return None


def _icon(data: Buffer, places: Mapping[int, Place]) -> tuple[int, int] | None:
    if ICON not in places:
        return None
    start, end = places[ICON][2], places[ICON][4]
    return (start, end) if _ENCAPSULATED.search(data[start:end]) else None


def top_level(dataset: Dataset) -> Iterator[Place]:
    """Yield (tag, VR, start, value, end) of every top-level element after the File Meta Information."""
    order = _BIG if dataset.big_endian else _LITTLE
    return _elements(
        _Stream(dataset.data, order, dataset.implicit, Limits()), dataset.start, dataset.implicit
    )
