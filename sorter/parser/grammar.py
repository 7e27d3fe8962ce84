"""The grammar of a DICOM stream (PS3.5 section 7): element after element, each within the stream's bounds.

Only structure is read, never a value. Sequences of defined length are stepped over by their length; those of
undefined length are followed to their delimiters, to a limited depth.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sorter.model import Reason

Buffer = bytes | mmap.mmap
Place = tuple[int, str, int, int, int]  # tag, VR, start of the element, start of its value, its end

UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_NOT_ZERO = re.compile(rb"[^\0]")

# PS3.5 7.1.2: these have a 32-bit length after two reserved bytes, the others a 16-bit length.
_LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_SHORT_VRS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS",
              "ST", "TM", "UI", "UL", "US")  # fmt: skip


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
        # The Dataset of what was found before the trouble, for people who look for the file's owner.
        self.partial: object = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stream may demand.

    Parameters
    ----------
    depth
        Levels of nested sequences of undefined length.
    inflated, ratio, free
        A deflated stream may inflate to ``inflated`` bytes, but beyond ``free`` bytes only to ``ratio``
        times its size: an empty mask deflates 1,000 to 1 as well as any bomb, but is not large.
    value
        Bytes of one wanted element.
    """

    depth: int = 64
    inflated: int = 1 << 30
    ratio: int = 100
    free: int = 1 << 26
    value: int = 1 << 20


DEFAULTS = Limits()


class Order:
    """The precompiled readers of one byte order, ``<`` or ``>``."""

    def __init__(self, order: str) -> None:
        self.explicit = struct.Struct(order + "HHHH").unpack_from  # group, element, VR, 16-bit length
        self.implicit = struct.Struct(order + "HHL").unpack_from  # group, element, 32-bit length
        self.length = struct.Struct(order + "L").unpack_from
        self.group = struct.Struct(order + "H").unpack_from
        # VR bytes as the number that ``explicit`` reads -> the VR, and whether its length has 32 bits
        vrs = [(vr, True) for vr in _LONG_VRS] + [(vr, False) for vr in _SHORT_VRS]
        self.codes = {struct.unpack(order + "H", vr.encode())[0]: (vr, long) for vr, long in vrs}


LITTLE, BIG = Order("<"), Order(">")


@dataclass(slots=True)
class Stream:
    """A stream under the walk, and what was met on the way.

    Parameters
    ----------
    ascending
        Elements of the top level that are out of order make it malformed, not just unusual.
    unusual
        Anything odd was met.
    last
        Tag of the last element of the top level.
    """

    data: Buffer
    order: Order
    limits: Limits
    ascending: bool = False
    unusual: bool = False
    last: int = 0


def tag_text(tag: int) -> str:
    """The tag as PS3 writes it: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _cut(start: int) -> Unparsable:
    return Unparsable(Reason.TRUNCATED, f"the data end within or before an element at offset {start}")


def _misplaced(tag: int, start: int) -> Unparsable:
    return Unparsable(Reason.MALFORMED, f"{tag_text(tag)} at offset {start} does not belong there")


def elements(  # noqa: PLR0912 - one tight loop: calls would double its cost
    stream: Stream, pos: int, implicit: bool, depth: int = 0, only: frozenset[int] | None = None
) -> Iterator[Place]:
    """Yield every element from ``pos`` to the end of the stream, or of the item when ``depth`` is not zero.

    An item's last element is its delimiter. After the top level's last element only zeros may follow. With
    ``only`` all are proved, and those with these tags yielded, which takes half the time.

    Raises
    ------
    Unparsable
        TRUNCATED where a length leads beyond the stream or the stream ends too early; MALFORMED where
        delimiters stand in the wrong place, nesting is too deep, or what follows is no element.
    """
    data, size = stream.data, len(stream.data)
    explicit_head, implicit_head, length_at = (
        stream.order.explicit,
        stream.order.implicit,
        stream.order.length,
    )
    known_vr = stream.order.codes.get
    vr, last = "", 0
    while pos + 8 <= size:
        value = pos + 8
        if implicit:
            group, number, length = implicit_head(data, pos)
        else:
            group, number, code, length = explicit_head(data, pos)
            known = known_vr(code)
            if known is not None:
                vr, long = known
                if long:
                    if pos + 12 > size:
                        raise _cut(pos)
                    length = length_at(data, value)[0]
                    value += 4
            elif group == 0xFFFE or not (group or number):  # a delimiter or padding, which have no VR
                vr, length = "", length_at(data, pos + 4)[0]
            else:
                vr, value, length = _odd_head(stream, pos)
        tag = group << 16 | number
        if tag <= last and not depth:
            if not tag:
                break
            _out_of_order(stream, tag, pos)
        last = tag
        if length == UNDEFINED:
            end = _items_end(stream, value, implicit, depth + 1, unknown=vr == "UN")
        else:
            end = value + length
            if end > size:
                detail = f"{tag_text(tag)} at offset {pos} ends at {end}, the data end at {size}"
                raise Unparsable(Reason.TRUNCATED, detail)
        if group == 0xFFFE:
            if tag != _ITEM_END or not depth or length:
                raise _misplaced(tag, pos)
            yield tag, vr, pos, value, end
            return
        if only is None or tag in only:
            yield tag, vr, pos, value, end
        pos = end
    if depth:
        raise _cut(pos)
    stream.last = last
    only_padding(data, pos)


def _out_of_order(stream: Stream, tag: int, pos: int) -> None:
    stream.unusual = True
    if stream.ascending:
        raise Unparsable(Reason.MALFORMED, f"{tag_text(tag)} at offset {pos} is out of order")


def _odd_head(stream: Stream, pos: int) -> tuple[str, int, int]:
    """VR, offset of the value and length of an element whose VR is none of PS3.5's.

    Two capitals are a VR of the future: in the long form (PS3.5 7.1.2) where its two reserved bytes are zero
    and the length fits, else in the short one. Anything else comes of a writer that switched to implicit VR.
    """
    stream.unusual = True
    data, order = stream.data, stream.order
    vr = data[pos + 4 : pos + 6]
    if not (vr.isalpha() and vr.isupper()):
        return "", pos + 8, order.length(data, pos + 4)[0]
    short = order.explicit(data, pos)[3]
    if not short and pos + 12 <= len(data):
        length = order.length(data, pos + 8)[0]
        if length == UNDEFINED or pos + 12 + length <= len(data):
            return vr.decode("ascii"), pos + 12, length
    return vr.decode("ascii"), pos + 8, short


def _items_end(stream: Stream, pos: int, implicit: bool, depth: int, *, unknown: bool = False) -> int:
    """The offset past the Sequence Delimitation Item of the items that begin at ``pos``.

    The items of UN are in implicit VR (PS3.5 6.2.2), but writers that left them explicit exist.
    """
    if depth > stream.limits.depth:
        raise Unparsable(Reason.MALFORMED, f"sequences are nested deeper than {stream.limits.depth} levels")
    if unknown and not implicit:
        try:
            return _items_end(stream, pos, True, depth)
        except Unparsable:
            stream.unusual = True
    data, head, size = stream.data, stream.order.implicit, len(stream.data)
    while pos + 8 <= size:
        group, number, length = head(data, pos)
        tag = group << 16 | number
        if tag == _SEQUENCE_END:
            return pos + 8
        if tag != _ITEM:
            raise _misplaced(tag, pos)
        pos += 8
        if length == UNDEFINED:
            for place in elements(stream, pos, implicit, depth):
                pos = place[4]
        else:
            pos += length
    raise _cut(min(pos, size))


def fragments(stream: Stream, value: int, end: int) -> tuple[tuple[int, int], ...]:
    """(offset, length) of the value of every item of encapsulated pixel data (PS3.5 A.4).

    ``value`` and ``end`` are as :func:`elements` found them, so every item is known to lie within.
    """
    head, data = stream.order.implicit, stream.data
    items = []
    while value + 8 < end:
        length = head(data, value)[2]
        if length == UNDEFINED:
            raise Unparsable(Reason.MALFORMED, f"pixel data item of undefined length at offset {value}")
        items.append((value + 8, length))
        value += 8 + length
    return tuple(items)


def only_padding(data: Buffer, pos: int) -> None:
    """Raise unless the rest of the data is zeros, as media and block devices pad."""
    if found := _NOT_ZERO.search(data, pos):
        short = len(data) - pos < 8
        detail = f"what stands at offset {found.start()} of {len(data)} is no element"
        raise Unparsable(Reason.TRUNCATED if short else Reason.MALFORMED, detail)
