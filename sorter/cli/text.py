"""Text for terminals."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text on one line, whatever characters it has: none can forge a line or move the cursor."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def counted(count: int, what: str) -> str:
    """``1 file``, ``1,204 files``."""
    return f"{count:,} {what}" + "s" * (count != 1)
