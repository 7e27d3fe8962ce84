"""The structural walk of a DICOM file (PS3.10 section 7), which proves it whole.

pydicom reads half a file without a word, takes any bytes for DICOM when forced, and inflates without bound.
So before anything is believed, :func:`walk` proves that every length lies within the stream, that every
delimiter is there, that the last element ends where the stream ends, and that what the SOP class must carry
is there. It keeps the few wanted elements as raw bytes; :mod:`sorter.parser.header` gives them meaning.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from sorter.model import Reason
from sorter.parser.grammar import (
    BIG,
    DEFAULTS,
    LITTLE,
    UNDEFINED,
    Buffer,
    Limits,
    Order,
    Place,
    Stream,
    Unparsable,
    elements,
    fragments,
    tag_text,
)
from sorter.parser.inflate import inflate
from sorter.parser.required import REQUIRED_TAGS, is_skeleton, missing

__all__ = [
    "Buffer",
    "Dataset",
    "Element",
    "Limits",
    "PixelData",
    "Unparsable",
    "tag_text",
    "top_level",
    "walk",
]

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

_MEDIA_STORAGE_SOP_CLASS = 0x00020002
_TRANSFER_SYNTAX = 0x00020010
_SOP_CLASS = 0x00080016
_IDENTITY = (_SOP_CLASS, 0x00080018, 0x0020000D, 0x0020000E)  # and SOP, Study and Series Instance UID
_PIXEL_TAGS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_SIGNATURE_TAGS = (0x4FFE0001, 0xFFFAFFFA)
_ICON = 0x00880200
_NOTED = REQUIRED_TAGS.union(_PIXEL_TAGS, _SIGNATURE_TAGS, (_ICON,))

_PREFIX_END = 132  # the preamble's 128 bytes and "DICM"
# (7FE0,0010), its VR and reserved bytes where there are any, undefined length. Encapsulated is little endian.
_ENCAPSULATED = re.compile(rb"\xe0\x7f\x10\0(?:[A-Z]{2}\0\0)?\xff\xff\xff\xff")


class Element(NamedTuple):
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
        The File Meta Information (group 0002), which is always little endian.
    start
        Offset of the first element after the File Meta Information.
    elements
        The wanted elements that are present, and always the SOP Class and the three Instance UIDs.
    pixel_data
        ``None`` where there are none at top level.
    signed
        Has MAC Parameters (4FFE,0001) or Digital Signatures (FFFA,FFFA) at top level.
    icon
        (start, end) of an Icon Image Sequence (0088,0200) that holds encapsulated pixel data.
    unusual
        It contradicts its transfer syntax, has an unknown VR, or elements out of order.
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


@dataclass(slots=True)
class _Found:
    """What the walk of the top level came upon: wanted elements, and where the noted ones are."""

    elements: dict[int, Element] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)

    @property
    def is_instance(self) -> bool:
        return all(tag in self.elements for tag in _IDENTITY)


def walk(data: Buffer, wanted: frozenset[int], *, limits: Limits = DEFAULTS) -> Dataset:
    """Prove that ``data`` is one whole DICOM stream and collect the wanted top-level elements.

    A file without the ``DICM`` prefix and without a transfer syntax must show all four UIDs of an instance
    in ascending order of tags, or it is not DICOM.

    Raises
    ------
    Unparsable
        NOT_DICOM, TRUNCATED, MALFORMED or TOO_LARGE. TRUNCATED also where the SOP class must carry an
        element that is not there (:mod:`sorter.parser.required`).
    """
    prefixed = data[128:_PREFIX_END] == b"DICM"
    try:
        meta, start = _meta(data, _PREFIX_END if prefixed else 0, limits)
    except Unparsable:
        if prefixed:
            raise
        raise Unparsable(Reason.NOT_DICOM, "neither a DICM prefix nor File Meta Information") from None
    declared = _uid(meta.get(_TRANSFER_SYNTAX))
    bare = not prefixed and not declared
    if bare and data[start : start + 2] not in (b"\x08\0", b"\0\x08"):
        raise Unparsable(Reason.NOT_DICOM, "no DICM prefix, and no group 0008 where the dataset begins")
    if declared == DEFLATED_LITTLE:
        data = inflate(data, start, limits)
    if len(data) < start + 8:
        raise Unparsable(Reason.TRUNCATED, "no element after the File Meta Information")
    order, implicit = _byte_order(data, start, declared), _is_implicit(data, start)
    stream, found = Stream(data, order, limits, ascending=bare), _Found()
    if not declared:
        declared = IMPLICIT_LITTLE if implicit else EXPLICIT_BIG if order is BIG else EXPLICIT_LITTLE
    elif implicit != (declared == IMPLICIT_LITTLE) or (order is BIG) != (declared == EXPLICIT_BIG):
        stream.unusual = True
    dataset = functools.partial(
        Dataset,
        data=data,
        transfer_syntax_uid=declared,
        implicit=implicit,
        big_endian=order is BIG,
        meta=MappingProxyType(meta),
        start=start,
        elements=MappingProxyType(found.elements),
    )
    try:
        _collect(stream, start, implicit, wanted, found)
        _check_content(stream, start, implicit, meta, found)
    except Unparsable as error:
        if not bare or found.is_instance:
            error.partial = dataset(pixel_data=None, signed=False, icon=None, unusual=True)
            raise
    if bare and not found.is_instance:
        raise Unparsable(Reason.NOT_DICOM, "no DICM prefix, and no UIDs of an instance")
    return dataset(
        pixel_data=_pixel_data(stream, found.places),
        signed=any(tag in found.places for tag in _SIGNATURE_TAGS),
        icon=_icon(data, found.places),
        unusual=stream.unusual,
    )


def _check_content(
    stream: Stream, start: int, implicit: bool, meta: Mapping[int, Element], found: _Found
) -> None:
    """An object must carry what its SOP class is for, unless it only identifies."""
    sop_class = _uid(found.elements.get(_SOP_CLASS)) or _uid(meta.get(_MEDIA_STORAGE_SOP_CLASS))
    lacking = missing(sop_class, found.places)
    if lacking and not is_skeleton(tag for tag, *_ in elements(stream, start, implicit)):
        raise Unparsable(Reason.TRUNCATED, lacking)


def top_level(dataset: Dataset) -> Iterator[Place]:
    """Yield (tag, VR, start, value, end) of every top-level element after the File Meta Information."""
    stream = Stream(dataset.data, BIG if dataset.big_endian else LITTLE, DEFAULTS)
    return elements(stream, dataset.start, dataset.implicit)


def _meta(data: Buffer, start: int, limits: Limits) -> tuple[dict[int, Element], int]:
    """The File Meta Information and its end. Its group length is often wrong, so group numbers decide."""
    meta: dict[int, Element] = {}
    if data[start : start + 2] == b"\2\0":
        for tag, vr, _, value, end in elements(Stream(data, LITTLE, limits), start, False):
            if end - value > limits.value:
                raise Unparsable(Reason.TOO_LARGE, f"{tag_text(tag)} has {end - value} bytes")
            meta[tag] = Element(tag, vr, data[value:end])
            start = end
            if data[end : end + 2] != b"\2\0":
                break
    return meta, start


def _byte_order(data: Buffer, start: int, declared: str) -> Order:
    """The declared byte order, unless only the other one makes sense of the first group (0004 to 0018)."""
    order, other = (BIG, LITTLE) if declared == EXPLICIT_BIG else (LITTLE, BIG)
    return other if order.group(data, start)[0] > 0xFF and other.group(data, start)[0] <= 0x18 else order


def _is_implicit(data: Buffer, start: int) -> bool:
    """Whether the first element has no VR: no first element is so long that its length reads as one."""
    vr = data[start + 4 : start + 6]
    return not (vr.isalpha() and vr.isupper())


def _uid(element: Element | None) -> str:
    return "" if element is None else element.value.rstrip(b"\0 ").decode("ascii", "replace")


@functools.lru_cache(maxsize=16)
def _sought(wanted: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
    """The tags whose values are kept, and those that the walk yields."""
    kept = wanted.union(_IDENTITY)
    return kept, kept | _NOTED


def _collect(stream: Stream, start: int, implicit: bool, wanted: frozenset[int], found: _Found) -> None:
    """Walk the top level to its end; what was found before an exception stays in ``found``."""
    data, most = stream.data, stream.limits.value
    kept, sought = _sought(wanted)
    for place in elements(stream, start, implicit, only=sought):
        tag, vr, _, value, end = place
        if tag in kept:
            if end - value > most:
                raise Unparsable(Reason.TOO_LARGE, f"{tag_text(tag)} has {end - value} bytes")
            found.elements[tag] = Element(tag, vr, data[value:end])
        if tag in _NOTED:
            found.places[tag] = place
    if not stream.last:
        raise Unparsable(Reason.TRUNCATED, "no element after the File Meta Information")


def _pixel_data(stream: Stream, places: Mapping[int, Place]) -> PixelData | None:
    for tag in _PIXEL_TAGS:
        if tag in places:
            _, vr, start, value, end = places[tag]
            encapsulated = stream.order.length(stream.data, value - 4)[0] == UNDEFINED
            items = fragments(stream, value, end) if encapsulated else ()
            return PixelData(tag, vr, start, value, end, encapsulated, items)
    return None


def _icon(data: Buffer, places: Mapping[int, Place]) -> tuple[int, int] | None:
    if _ICON not in places:
        return None
    start, end = places[_ICON][2], places[_ICON][4]
    return (start, end) if _ENCAPSULATED.search(data, start, end) else None
