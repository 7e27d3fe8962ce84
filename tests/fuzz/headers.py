"""Mutations of a header, element by element: each takes a random generator and a Parsed, which it changes."""

import struct

from fuzz.dataset import (
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    TRANSFER_SYNTAX,
    UNDEFINED,
    Element,
)
from fuzz.seeds import ROOT
from fuzz.values import (
    CHARSETS,
    DATE_TAGS,
    DATES,
    INTEGER_TAGS,
    INTEGERS,
    LENGTHS,
    ODD_VRS,
    PHOTOMETRICS,
    SHORTS,
    SYNTAXES,
    TAGS,
    TEXT_TAGS,
    TEXTS,
    UID_TAGS,
    UIDS,
    VR_OF,
    VRS,
)


def _any(rng, parsed):
    return rng.choice(rng.choice([parsed.body] * 4 + [parsed.meta or parsed.body]) or [Element(0, b"", b"")])


def vr(rng, parsed):
    _any(rng, parsed).vr = rng.choice(VRS + ODD_VRS * 2)


def length(rng, parsed):
    one = _any(rng, parsed)
    near = [len(one.value) + step for step in (-2, -1, 1, 2, 8, 64)]
    one.length = max(0, rng.choice(LENGTHS + near * 2))


def tag(rng, parsed):
    one = _any(rng, parsed)
    one.tag = (
        rng.choice([*TAGS, one.tag + 1, one.tag ^ 1 << rng.randrange(32), rng.getrandbits(32)]) & UNDEFINED
    )


def odd_value(rng, parsed):
    """One byte more or less, as writers do that forget the padding."""
    one = _any(rng, parsed)
    one.value = one.value[:-1] if rng.random() < 0.5 else one.value + b"x"


def drop(rng, parsed):
    group = rng.choice([parsed.body] * 4 + [parsed.meta])
    for _ in range(rng.choice((1, 1, 1, 5))):
        if group:
            group.pop(rng.randrange(len(group)))


def repeat(rng, parsed):
    """An element twice: with the same value, or another."""
    group = rng.choice([parsed.body] * 4 + [parsed.meta or parsed.body])
    if group:
        one = rng.choice(group)
        value = one.value if rng.random() < 0.5 else rng.randbytes(len(one.value))
        group.insert(rng.randrange(len(group) + 1), Element(one.tag, one.vr, value, one.length))


def move(rng, parsed):
    if len(parsed.body) > 1:
        one = parsed.body.pop(rng.randrange(len(parsed.body)))
        parsed.body.insert(rng.randrange(len(parsed.body) + 1), one)


def group_length(rng, parsed):
    """A (gggg,0000) that lies, where one was or not; of the File Meta Information too."""
    group = rng.choice([2, 2, 8, 0x10, 0x28, 0x7FE0])
    number = rng.choice([*LENGTHS, rng.randrange(4000)])
    little = not parsed.big or group == 2
    parsed.put(group << 16, b"UL", struct.pack("<L" if little else ">L", number))


def character_set(rng, parsed):
    parsed.text(0x00080005, b"CS", rng.choice(CHARSETS))
    for tag_, vr_ in rng.sample(TEXT_TAGS[:5], 2):
        parsed.text(tag_, vr_, rng.choice(TEXTS) + rng.randbytes(rng.choice((0, 6, 60))))


def text(rng, parsed):
    parsed.text(*rng.choice(TEXT_TAGS), rng.choice(TEXTS))


def huge_text(rng, parsed):
    parsed.text(*rng.choice(TEXT_TAGS), b"huge " * rng.choice((12_000, 230_000)))


def photometric(rng, parsed):
    parsed.text(0x00280004, b"CS", rng.choice(PHOTOMETRICS))


def integer(rng, parsed):
    parsed.text(rng.choice(INTEGER_TAGS), b"IS", rng.choice(INTEGERS))


def frames(rng, parsed):
    parsed.text(0x00280008, b"IS", str(rng.choice([0, 1, 2, 3, 4, 5, 15, 16, 1000, 65535, 1 << 31])))


def short(rng, parsed):
    """Rows, Columns, Samples, Planar Configuration, Bits, Pixel Representation: near the truth and far from it."""
    tag_ = rng.choice(SHORTS)
    one = parsed.find(tag_)
    was = struct.unpack(">H" if parsed.big else "<H", one.value)[0] if one and len(one.value) == 2 else 0
    parsed.number(
        tag_,
        rng.choice([0, 1, 2, 3, 4, 7, 8, 12, 16, 17, 32, 64, 65535, was - 1, was + 1, was * 2, was // 2]),
    )


def date(rng, parsed):
    parsed.text(rng.choice(DATE_TAGS), b"DA", rng.choice(DATES))


def uid(rng, parsed):
    parsed.text(rng.choice(UID_TAGS), b"UI", rng.choice(UIDS))


def transfer_syntax(rng, parsed):
    parsed.text(TRANSFER_SYNTAX, b"UI", rng.choice(SYNTAXES))


def encoding(rng, parsed):
    """The dataset is in another byte order, VR encoding or compression than it declares."""
    kind = rng.choice(("implicit", "big", "deflated"))
    setattr(parsed, kind, not getattr(parsed, kind))


def recode(rng, parsed):
    """The same dataset, written by somebody else: other VR encoding, group lengths, padding, File Meta."""
    if parsed.find(TRANSFER_SYNTAX) and not (parsed.big or parsed.deflated or parsed.fragments):
        parsed.implicit = not parsed.implicit
        parsed.text(TRANSFER_SYNTAX, b"UI", ROOT if parsed.implicit else f"{ROOT}.1")
        for one in parsed.body:
            one.vr = one.vr or VR_OF.get(one.tag, b"UN")
    if rng.random() < 0.5:
        parsed.put(0x00280000, b"UL", struct.pack(">L" if parsed.big else "<L", 4711))
    if rng.random() < 0.5:
        parsed.text(0x00020013, b"SH", "OTHER")
    if rng.random() < 0.5:
        parsed.tail += bytes(rng.choice((2, 130)))


def file_meta(rng, parsed):
    """No preamble, no prefix, none of the meta, or the meta of somebody else."""
    kind = rng.randrange(6)
    if kind == 0:
        parsed.prefix = rng.choice((b"", b"DICM", bytes(128), b"\xff" * 128 + b"DICM", bytes(127) + b"DICM"))
    elif kind == 1:
        parsed.meta = []
    elif kind == 2:
        parsed.prefix, parsed.meta = b"", []
    elif kind == 3:
        parsed.meta, parsed.body = parsed.meta + parsed.body[:3], parsed.body[3:]
    elif kind == 4:
        parsed.text(0x00020002, b"UI", rng.choice(("1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.7", "")))
    else:
        # The private information by which a file says that sorter itself made it.
        parsed.text(0x00020100, b"UI", "2.25.30156928807379570477534724917532794226")
        values = [
            b"{}",
            b"[]",
            b"null",
            b'{"source_sha256":1}',
            b"\xff",
            b"[" * 5000,
            b'{"source_sha256":"' + b"0" * 64,
        ]
        parsed.put(0x00020102, b"OB", rng.choice(values))


def private(rng, parsed):
    """Private creators and elements: missing, twice, of every VR, with sequences of unknown VR."""
    group = rng.choice((0x0009, 0x0029, 0x7FE1, 0x0001, 0xFFFF))
    for _ in range(rng.randrange(1, 8)):
        number = rng.choice((0x10, 0x11, 0xFF, 0x1001, 0x10FF, 0x1100, 0x0001))
        value = rng.choice(
            (b"SORTER FUZZ ", rng.randbytes(rng.randrange(40)), _sequence(rng, 2, little=not parsed.big))
        )
        parsed.body.append(Element(group << 16 | number, rng.choice([*VRS, b"UN", b"UN"]), value))
    parsed.body.sort(key=lambda one: one.tag)


def sequence(rng, parsed):
    """A sequence whose items, lengths and delimiters are right, or not quite."""
    value = _sequence(rng, rng.randrange(1, 5), little=not parsed.big)
    length_ = rng.choice((None, UNDEFINED, UNDEFINED, len(value) + rng.choice((-8, -1, 1, 8))))
    end = b"" if rng.random() < 0.3 or length_ != UNDEFINED else SEQUENCE_END + bytes(4)
    one = Element(
        rng.choice((0x00081140, 0x00400275, 0x00081032)),
        rng.choice((b"SQ", b"SQ", b"UN")),
        value + end,
        length_,
    )
    at = next((n for n, other in enumerate(parsed.body) if other.tag > one.tag), len(parsed.body))
    parsed.body.insert(at, one)


def _sequence(rng, depth, *, little=True):
    items = b""
    for _ in range(rng.randrange(3)):
        inner = Element(0x00080060, b"CS", b"OT").encode() + Element(0x00100010, b"PN", b"A^B ").encode()
        if depth:
            deeper = _sequence(rng, depth - 1)
            inner += Element(0x00081140, b"SQ", deeper, None if rng.random() < 0.5 else UNDEFINED).encode()
            inner += (SEQUENCE_END + bytes(4)) * (rng.random() < 0.5)
        kind = rng.randrange(5)
        said = len(inner) if kind < 2 else UNDEFINED if kind < 4 else rng.choice(LENGTHS)
        end = ITEM_END + rng.choice((bytes(4), bytes(4), b"\1\0\0\0"))
        items += ITEM + struct.pack("<L", said) + inner + end * (said == UNDEFINED and rng.random() < 0.8)
    return items if little else items[::-1]


def nesting(rng, parsed):
    """Sequences within sequences, to a depth that ends a recursive reader."""
    depth = rng.choice((10, 63, 64, 65, 200, 1500, 20_000))
    undefined = rng.random() < 0.7
    vr_ = rng.choice((b"SQ", b"SQ", b"UN"))
    if undefined:
        head = Element(0x00081140, vr_, b"", UNDEFINED).encode(implicit=parsed.implicit) + ITEM + b"\xff" * 4
        value = head * depth + (ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)) * (
            depth if rng.random() < 0.7 else 1
        )
        one = Element(
            0x00081140,
            vr_,
            ITEM + b"\xff" * 4 + value + ITEM_END + bytes(4) + SEQUENCE_END + bytes(4),
            UNDEFINED,
        )
    else:
        value = b""
        for _ in range(min(depth, 1500)):
            value = Element(0x00081140, vr_, ITEM + struct.pack("<L", len(value)) + value).encode(
                implicit=parsed.implicit
            )
        one = Element(0x00081140, vr_, ITEM + struct.pack("<L", len(value)) + value)
    parsed.body.insert(min(len(parsed.body), rng.randrange(1, 9)), one)


def undefined_length(rng, parsed):
    """Undefined length where no sequence is, with or without an end."""
    one = _any(rng, parsed)
    one.length = UNDEFINED
    if rng.random() < 0.7:
        one.value = ITEM + struct.pack("<L", len(one.value)) + one.value + SEQUENCE_END + bytes(4)


def icon(rng, parsed):
    """An Icon Image Sequence with encapsulated pixel data, good or bad."""
    inner = b"".join(
        Element(tag_, b"US", struct.pack("<H", number)).encode(implicit=parsed.implicit)
        for tag_, number in (
            (0x00280002, 1),
            (0x00280010, rng.choice((2, 64, 65535))),
            (0x00280011, 2),
            (0x00280100, 8),
        )
    )
    pixels = ITEM + bytes(4) + ITEM + b"\x08\0\0\0" + rng.randbytes(8) + SEQUENCE_END + bytes(4)
    inner += Element(PIXEL_DATA, b"OB", pixels, UNDEFINED).encode(implicit=parsed.implicit)
    parsed.put(0x00880200, b"SQ", ITEM + struct.pack("<L", len(inner)) + inner)


def signature(rng, parsed):
    parsed.put(rng.choice((0x4FFE0001, 0xFFFAFFFA)), b"SQ", _sequence(rng, 1, little=not parsed.big))


def floating(rng, parsed):
    """Float Pixel Data in place of Pixel Data, or beside it."""
    if pixels := parsed.find(PIXEL_DATA):
        if rng.random() < 0.5:
            pixels.tag, pixels.vr = rng.choice(((0x7FE00008, b"OF"), (0x7FE00009, b"OD")))
        else:
            parsed.put(0x7FE00008, b"OF", rng.randbytes(64))


def padding(rng, parsed):
    """What stands behind the last element: padding, zeros, or something else."""
    if rng.random() < 0.4:
        parsed.put(0xFFFCFFFC, b"OB", bytes(rng.choice((0, 2, 100))))
    parsed.tail += rng.choice(
        (bytes(1), bytes(7), bytes(8), bytes(600), b"\1", bytes(20) + b"x", rng.randbytes(12))
    )


MUTATIONS = (
    vr, length, length, tag, tag, odd_value, drop, repeat, move, group_length, character_set, text, huge_text,
    photometric, integer, frames, short, short, date, uid, transfer_syntax, encoding, file_meta, private, sequence,
    sequence, nesting, undefined_length, icon, signature, floating, padding,
)  # fmt: skip
