"""A file as a list of elements that can be changed one by one, and written with whatever lies were put in."""

import struct
import zlib
from dataclasses import dataclass, field, replace

from sorter.parser.elements import DEFLATED_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE, top_level, walk

LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
UNDEFINED = 0xFFFFFFFF
TRANSFER_SYNTAX, PIXEL_DATA, SOP_INSTANCE = 0x00020010, 0x7FE00010, 0x00080018
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"


@dataclass
class Element:
    """One element; ``length`` is what its head says, where that is not the length of the value."""

    tag: int
    vr: bytes
    value: bytes
    length: int | None = None

    def encode(self, *, implicit=False, big=False):
        order = ">" if big else "<"
        head = struct.pack(f"{order}HH", self.tag >> 16, self.tag & 0xFFFF)
        length = len(self.value) if self.length is None else self.length
        if implicit or not self.vr:
            return head + struct.pack(f"{order}L", length & UNDEFINED) + self.value
        if self.vr in LONG_VRS:
            return head + self.vr + b"\0\0" + struct.pack(f"{order}L", length & UNDEFINED) + self.value
        return head + self.vr + struct.pack(f"{order}H", length & 0xFFFF) + self.value


@dataclass
class Parsed:
    """A whole file, taken apart."""

    prefix: bytes  # preamble and DICM, or nothing
    meta: list[Element]
    body: list[Element]
    implicit: bool = False
    big: bool = False
    deflated: bool = False
    tail: bytes = b""
    notes: list[str] = field(default_factory=list)

    def copy(self):
        """One that can be changed on its own."""
        return replace(
            self,
            meta=[replace(one) for one in self.meta],
            body=[replace(one) for one in self.body],
            notes=[],
        )

    def find(self, tag):
        """The first element of a tag, or None."""
        return next((one for one in self.meta + self.body if one.tag == tag), None)

    def put(self, tag, vr, value):
        """Set an element, in its order of tags where it is new."""
        group = self.meta if tag >> 16 == 2 else self.body
        if one := self.find(tag):
            one.value, one.length = value, None
            if one.vr:
                one.vr = vr
            return
        at = next((n for n, one in enumerate(group) if one.tag > tag), len(group))
        group.insert(at, Element(tag, vr, value))

    def text(self, tag, vr, text):
        """Set an element of text, padded to even length."""
        value = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        self.put(tag, vr, value + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2))

    def number(self, tag, value):
        """Set an element of VR US."""
        self.put(tag, b"US", struct.pack(">H" if self.big else "<H", value & 0xFFFF))

    @property
    def fragments(self):
        """The values of the items of encapsulated pixel data, the offset table first; None without any."""
        pixels = self.find(PIXEL_DATA)
        if pixels is None or pixels.length != UNDEFINED:
            return None
        found, at = [], 0
        while pixels.value[at : at + 4] == ITEM:
            (length,) = struct.unpack_from("<L", pixels.value, at + 4)
            found.append(pixels.value[at + 8 : at + 8 + length])
            at += 8 + length
        return found or None

    @fragments.setter
    def fragments(self, values):
        value = b"".join(ITEM + struct.pack("<L", len(one)) + one for one in values)
        pixels = self.find(PIXEL_DATA)
        pixels.value, pixels.length = value + SEQUENCE_END + bytes(4), UNDEFINED

    def encode(self):
        """The bytes of the file."""
        meta = b"".join(one.encode() for one in self.meta)
        body = b"".join(one.encode(implicit=self.implicit, big=self.big) for one in self.body) + self.tail
        return self.prefix + meta + (deflate(body) if self.deflated else body)


def deflate(data):
    """A raw deflate stream."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


def parse(data):
    """Take a whole file apart.

    Raises
    ------
    Unparsable
        It is not whole.
    """
    dataset = walk(data, frozenset())
    stream, order = dataset.data, ">" if dataset.big_endian else "<"
    body, end = [], dataset.start
    for tag, vr, _start, value, end in top_level(dataset):
        (said,) = struct.unpack_from(f"{order}L", stream, value - 4)
        length = UNDEFINED if said == UNDEFINED and end - value != UNDEFINED else None
        body.append(Element(tag, vr.encode(), stream[value:end], length))
    prefix = data[:132] if data[128:132] == b"DICM" else b""
    meta = [Element(tag, one.vr.encode(), one.value) for tag, one in dataset.meta.items()]
    declared = dataset.transfer_syntax_uid
    implicit, big = dataset.implicit, dataset.big_endian
    assert implicit == (declared == IMPLICIT_LITTLE) or dataset.unusual
    assert big == (declared == EXPLICIT_BIG) or dataset.unusual
    return Parsed(prefix, meta, body, implicit, big, declared == DEFLATED_LITTLE, stream[end:])
