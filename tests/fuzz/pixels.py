"""Mutations of encapsulated pixel data: of the codestreams, and of the items and tables around them.

Each takes a random generator, a Parsed, which it changes, and another Seed to take pieces from.
"""

import struct

from fuzz.dataset import ITEM, PIXEL_DATA, SEQUENCE_END

NUMBERS = [0, 1, 2, 7, 255, 256, 0x7FFF, 0xFFFF]


def _change(rng, parsed, how):
    """Let ``how`` change the bytes of one fragment that is no offset table."""
    fragments = parsed.fragments
    if not fragments or len(fragments) < 2:
        return
    at = rng.randrange(1, len(fragments))
    fragment = bytearray(fragments[at])
    if len(fragment) > 4:
        changed = how(fragment)
        fragments[at] = bytes(fragment if changed is None else changed)
        parsed.fragments = fragments


def bits(rng, parsed, _other):
    def how(data):
        for _ in range(rng.choice((1, 1, 2, 8, 40))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)

    _change(rng, parsed, how)


def head_bits(rng, parsed, _other):
    """Where the codestream declares itself."""

    def how(data):
        for _ in range(rng.choice((1, 1, 2, 4))):
            data[rng.randrange(min(len(data), 160))] = rng.choice(
                (0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256))
            )

    _change(rng, parsed, how)


def splice(rng, parsed, other):
    """A piece of it, or of another file, in another place: instead of what was there, or between."""

    def how(data):
        source = other.data if rng.random() < 0.3 else bytes(data)
        size = rng.choice((1, 2, 4, 16, 64, 500))
        start, to = rng.randrange(len(source)), rng.randrange(len(data))
        data[to : to + size * rng.randrange(2)] = source[start : start + size]

    _change(rng, parsed, how)


def cut(rng, parsed, _other):
    """Shorter at its end, with or without the end marker."""

    def how(data):
        return data[: rng.randrange(1, len(data))] + rng.choice((b"", b"\xff\xd9", b"\0"))

    _change(rng, parsed, how)


def marker(rng, parsed, _other):
    """A JPEG or JPEG 2000 marker becomes another, vanishes, comes twice, or has another length."""

    def how(data):
        places = [
            n for n in range(len(data) - 3) if data[n] == 0xFF and data[n + 1] >= 0x4F and data[n + 1] != 0xFF
        ]
        if not places:
            return
        at = rng.choice(places[:24])
        kind = rng.randrange(4)
        if kind == 0:
            data[at + 1] = rng.choice(
                (0x4F, 0x51, 0x52, 0x90, 0x93, 0xC0, 0xC3, 0xC4, 0xD8, 0xD9, 0xDA, 0xF7, 0xF8, 0xFE)
            )
        elif kind == 1:
            del data[at : at + rng.choice((1, 2, 4))]
        elif kind == 2:
            data[at:at] = data[at : at + rng.choice((2, 4, 20))]
        else:
            data[at + 2 : at + 4] = struct.pack(">H", rng.choice([*NUMBERS, 3, 8, 17]))

    _change(rng, parsed, how)


def dimensions(rng, parsed, _other):
    """Size, components, precision, tiles or segments that the codestream declares; often the dataset's as well."""
    rows = rng.choice([0, 1, 8, 64, 4096, 20_000, 65535])
    if rng.random() < 0.5:
        parsed.number(0x00280010, rows)
        parsed.number(0x00280011, columns := rng.choice((1, 64, rows)))
    else:
        columns = rng.choice((None, 1, 65535))

    def how(data):
        if data[:4] == b"\xff\x4f\xff\x51":
            _siz(rng, data, rows, columns)
        elif data[:2] == b"\xff\xd8":
            _sof(rng, data, rows, columns)
        elif len(data) > 64:
            at = rng.randrange(16) * 4
            data[at : at + 4] = struct.pack(
                "<L", rng.choice([*NUMBERS, 63, 64, 65, len(data), 0x7FFFFFFF, 0xFFFFFFFF])
            )

    _change(rng, parsed, how)


def _siz(rng, data, rows, columns):
    """SIZ (T.800 A.5.1): width, height, offsets, tile size and offsets, number of components."""
    if rng.random() < 0.5 and columns is not None:
        data[8:16] = struct.pack(">LL", columns, rows)
        if rng.random() < 0.5:
            data[24:32] = struct.pack(">LL", rng.choice((1, 8, columns or 1)), rng.choice((1, 8, rows or 1)))
        return
    at = rng.choice((8, 12, 16, 20, 24, 28, 32, 36))
    data[at : at + 4] = struct.pack(">L", rng.choice([*NUMBERS, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
    if rng.random() < 0.3:
        data[40:42] = struct.pack(">H", rng.choice((0, 1, 2, 3, 4, 16384, 65535)))
    if rng.random() < 0.2 and len(data) > 44:
        data[42] = rng.randrange(256)


def _sof(rng, data, rows, columns):
    """SOFn (T.81 B.2.2): precision, lines, samples a line, components and their sampling."""
    for at in range(2, len(data) - 12):
        if (
            data[at] == 0xFF
            and (0xC0 <= data[at + 1] <= 0xCF or data[at + 1] == 0xF7)
            and data[at + 1] != 0xC4
        ):
            kind = rng.randrange(4)
            if kind == 0:
                data[at + 5 : at + 7] = struct.pack(">H", rows)
                if columns is not None:
                    data[at + 7 : at + 9] = struct.pack(">H", columns)
            elif kind == 1:
                data[at + 4] = rng.choice((0, 1, 2, 7, 8, 12, 16, 17, 255))
            elif kind == 2:
                data[at + 9] = rng.choice((0, 1, 2, 3, 4, 255))
            else:
                data[at + 11] = rng.choice((0, 0x11, 0x21, 0x44, 0xFF))
            return


def box(rng, parsed, _other):
    """A JP2 file around the codestream, with boxes that are good, empty, endless or of 64 bits."""
    signature = b"\0\0\0\x0cjP  \r\n\x87\n"
    heads = (struct.pack(">L", 0), struct.pack(">L", 8), struct.pack(">L", 1), struct.pack(">L", 0xFFFFFFFF))
    odd = (
        rng.choice(heads)
        + rng.choice((b"ftyp", b"jp2h", b"free"))
        + rng.choice((b"", bytes(8), b"\0" * 7 + b"\x10"))
    )

    def how(data):
        if data[:2] == b"\xff\x4f":
            length = rng.choice((0, len(data) + 8, 9))
            return signature + odd * rng.randrange(3) + struct.pack(">L", length) + b"jp2c" + data
        return None

    _change(rng, parsed, how)


def foreign(rng, parsed, other):
    """Frames of another file, often of another codec."""
    mine, theirs = parsed.fragments, other.parsed.fragments
    if mine and theirs and len(theirs) > 1:
        mine[rng.randrange(len(mine))] = rng.choice(theirs)
        parsed.fragments = mine


def fragments(rng, parsed, _other):
    """Frames in several fragments, several frames in one, empty ones, one less, one more, another order."""
    found = parsed.fragments
    if not found or len(found) < 2:
        return
    table, frames = found[0], found[1:]
    at = rng.randrange(len(frames))
    kind = rng.randrange(6)
    if kind == 0:
        half = rng.randrange(len(frames[at]) + 1) & ~1
        frames[at : at + 1] = [frames[at][:half], frames[at][half:]]
    elif kind == 1:
        frames = [b"".join(frames)]
    elif kind == 2:
        frames.insert(at, b"")
    elif kind == 3:
        frames.pop(at)
    elif kind == 4:
        frames.insert(at, frames[-1])
    else:
        rng.shuffle(frames)
    parsed.fragments = [table, *frames]


def tables(rng, parsed, _other):
    """A Basic or an Extended Offset Table that is right, or lies."""
    found = parsed.fragments
    if not found or len(found) < 2:
        return
    offsets = [0]
    for one in found[1:-1]:
        offsets.append(offsets[-1] + len(one) + 8)
    if rng.random() < 0.7:
        at = rng.randrange(len(offsets))
        offsets[at] = rng.choice((0, offsets[at] + 2, offsets[at] - 8, 1 << 31, (1 << 32) - 1)) & 0xFFFFFFFF
    if rng.random() < 0.2:
        offsets *= rng.choice((2, 400))
    if rng.random() < 0.5:
        found[0] = struct.pack(f"<{len(offsets)}L", *offsets) + b"\0" * (rng.random() < 0.1)
        parsed.fragments = found
    else:
        lengths = [len(one) for one in found[1:]]
        parsed.put(0x7FE00001, b"OV", struct.pack(f"<{len(offsets)}Q", *offsets))
        parsed.put(0x7FE00002, b"OV", struct.pack(f"<{len(lengths)}Q", *lengths))


def items(rng, parsed, _other):
    """The items themselves: a length that lies, another tag, no delimiter, something after it."""
    pixels = parsed.find(PIXEL_DATA)
    if not parsed.fragments:
        return
    value = bytearray(pixels.value)
    kind = rng.randrange(5)
    if kind == 0:
        at = rng.choice([n for n in range(len(value) - 7) if value[n : n + 4] == ITEM])
        value[at + 4 : at + 8] = struct.pack("<L", rng.choice([*NUMBERS, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]))
    elif kind == 1:
        value[:4] = rng.choice((SEQUENCE_END, b"\xfe\xff\x0d\xe0", b"\0\0\0\0"))
    elif kind == 2:
        del value[-8:]
    elif kind == 3:
        value[-4:] = rng.randbytes(4)
    else:
        value[-8:-8] = rng.randbytes(rng.choice((1, 2, 8)))
    pixels.value = bytes(value)


MUTATIONS = (
    bits, bits, head_bits, head_bits, splice, splice, cut, marker, marker, dimensions, dimensions, box, foreign,
    fragments, tables, items,
)  # fmt: skip
