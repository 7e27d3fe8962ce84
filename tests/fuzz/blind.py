"""Mutations of bytes, whatever they mean: each takes a random generator, bytes and another Seed; gives bytes."""

import gzip
import struct

from fuzz.dataset import PIXEL_DATA, UNDEFINED, Element, deflate
from fuzz.values import LENGTHS

from sorter.parser.elements import DEFLATED_LITTLE

BOMB = 80 << 20  # beyond what may be inflated whatever it comes from (docs/outcomes.md)


def bits(rng, data, _other):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(data)


def values(rng, data, _other):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data[_place(rng, data)] = rng.choice((0, 1, 0x20, 0x41, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(data)


def _place(rng, data):
    """A place in the header, mostly."""
    first = min(128, len(data) - 1)
    return (
        rng.randrange(len(data)) if rng.random() < 0.3 else rng.randrange(first, min(len(data), first + 1500))
    )


def numbers(rng, data, _other):
    """A length that was met somewhere, or a tag, written over whatever is there."""
    at = _place(rng, data)
    tags = (
        b"\xfe\xff\x00\xe0",
        b"\xfe\xff\x0d\xe0",
        b"\xfe\xff\xdd\xe0",
        b"\xe0\x7f\x10\0",
        b"\2\0\x10\0",
        b"DICM",
    )
    what = (
        rng.choice(tags) if rng.random() < 0.4 else struct.pack(rng.choice("<>") + "L", rng.choice(LENGTHS))
    )
    return data[:at] + what + data[at + 4 :]


def remove(rng, data, _other):
    at, size = _place(rng, data), rng.choice((1, 2, 4, 8, 64, 1000))
    return data[:at] + data[at + size :]


def insert(rng, data, _other):
    at, size = _place(rng, data), rng.choice((1, 2, 4, 8, 64))
    return (
        data[:at]
        + rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size), data[at : at + size]))
        + data[at:]
    )


def splice(rng, data, other):
    """The beginning of one file and the rest of another."""
    at = _place(rng, data)
    to = at if rng.random() < 0.5 else rng.randrange(len(other.data))
    return data[:at] + other.data[to:]


def cut(rng, data, _other):
    return data[: rng.randrange(len(data))]


def append(rng, data, other):
    """Something behind the end: zeros, noise, the file once more, or another."""
    return data + rng.choice((bytes(1), bytes(2000), rng.randbytes(9), data, other.data))


def pack(rng, data, other):
    """A gzip: good, cut, damaged, of two files, of a gzip, with padding or noise behind it."""
    packed = gzip.compress(data, mtime=0)
    kind = rng.randrange(9)
    if kind == 0:
        return packed[: rng.randrange(2, len(packed))]
    if kind == 1:
        at = rng.randrange(2, len(packed))
        return packed[:at] + bytes([packed[at] ^ 1 << rng.randrange(8)]) + packed[at + 1 :]
    if kind == 2:
        return packed + gzip.compress(other.data, mtime=0)
    if kind == 3:
        return gzip.compress(packed, mtime=0)
    if kind == 4:
        return packed + rng.choice((bytes(512), rng.randbytes(5)))
    if kind == 5:
        return gzip.compress(other.data[:200] * 3, mtime=0)
    return packed


def bomb(rng, data, _other):
    """A thousandth of what it inflates to: as a gzip, or in the deflated transfer syntax."""
    if rng.random() < 0.5:
        return gzip.compress(data + bytes(BOMB), mtime=0)
    meta = Element(0x00020010, b"UI", DEFLATED_LITTLE.encode()).encode()
    uid = Element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0").encode()
    pixels = Element(PIXEL_DATA, b"OW", bytes(BOMB), rng.choice((None, UNDEFINED, 8))).encode()
    return bytes(128) + b"DICM" + meta + deflate(uid + pixels)


MUTATIONS = (bits, bits, bits, values, values, numbers, numbers, remove, insert, splice, cut, cut, append)
