"""Values that a database cannot hold as they are, made storable and back; pure.

File names on Linux are bytes. Python shows an undecodable byte as a lone surrogate U+DC80..U+DCFF (PEP 383),
which no database takes as text. It is kept as U+EF80..U+EFFF instead (private use, the convention of MirBSD's
OPTU encodings). A name that really holds such a character is kept as the three bytes of its UTF-8 form, so
that no two names become equal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ODD = re.compile("[\udc80-\udcff\uef80-\uefff]")
_KEPT = re.compile("[\uef80-\uefff]")
_SHIFT = 0xEF80 - 0xDC80
_HALF, _WHOLE = 1 << 63, 1 << 64


def storable(name: str) -> str:
    """A path or file name as it is kept in the index; :func:`original` reverses it."""
    return name if name.isascii() else _ODD.sub(_keep, name)


def original(name: str) -> str:
    """The path or file name that :func:`storable` was given."""
    if name.isascii():
        return name
    escaped = _KEPT.sub(lambda odd: chr(ord(odd[0]) - _SHIFT), name)
    return escaped.encode(errors="surrogateescape").decode(errors="surrogateescape")


def _keep(odd: re.Match[str]) -> str:
    return "".join(chr(0xEF00 + byte) for byte in odd[0].encode(errors="surrogateescape"))


def signed(number: int) -> int:
    """A number as a signed 64-bit integer, modulo 2**64.

    Inode numbers of some file systems have 64 bits, and times beyond the year 2262 have more than 63.
    """
    return number if -_HALF <= number < _HALF else (number + _HALF) % _WHOLE - _HALF


def all_signed(numbers: Sequence[int]) -> bool:
    """Whether none of them needs :func:`signed`."""
    return min(numbers) >= -_HALF and max(numbers) < _HALF
