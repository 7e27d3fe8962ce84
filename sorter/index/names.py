"""File names as text that every database stores.

A name may hold bytes that are no UTF-8; Python shows them as lone surrogates U+DC80 to U+DCFF, which cannot
be encoded. They are moved to the private use area, U+F780 to U+F7FF, and back.
"""

from __future__ import annotations

_OUT = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
_BACK = {private: surrogate for surrogate, private in _OUT.items()}


def storable(name: str) -> str:
    """The name without lone surrogates."""
    return name.translate(_OUT)


def original(name: str) -> str:
    """The name as the file system has it."""
    return name.translate(_BACK)


def signed(number: int) -> int:
    """A number as the signed 64 bits of a database column; inode and device numbers use all 64."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    return number - (1 << 64) if number >> 63 else number
