"""Files that appear whole or not at all, and never take the place of another."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class ExportError(Exception):
    """One thing cannot be exported, and why; without patient data, and without paths."""


def why(error: Exception) -> str:
    """What is wrong, without a path, and without what a library says."""
    if isinstance(error, OSError):  # libraries raise it without a number too, where data end
        return os.strerror(error.errno) if error.errno else f"cannot be read ({type(error).__name__})"
    return "there is not enough memory for it" if isinstance(error, MemoryError) else str(error)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that gets its name when it is complete.

    Raises
    ------
    ExportError
        A file of that name is there already, or none can be made there.
    OSError
        It cannot be written to its end.
    """
    check_free(path)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = part.open("xb")
    except OSError as error:
        raise ExportError(f"DEST cannot be written: {why(error)}") from None
    try:
        with opened as out:
            yield out
        _name(part, path)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, path: Path) -> None:
    """Give a complete file its name; a link cannot replace another, where the file system has links."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise ExportError("a file of that name is there already") from None
    except OSError:  # FAT has no links
        check_free(path)
        part.rename(path)


def check_free(*paths: Path) -> None:
    """Refuse to write files of which one is there already.

    Raises
    ------
    ExportError
        See :func:`new_file`.
    """
    if any(map(os.path.lexists, paths)):
        raise ExportError("a file of that name is there already")
