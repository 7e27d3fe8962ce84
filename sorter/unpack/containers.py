"""The members of zip and tar archives, as streams; nothing is ever written under a name that they give.

What cannot be read safely is passed over (links, devices) or refused whole (encrypted, damaged, too much).
"""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from sorter.convert.recognise import Format
from sorter.model import Kind, Reason
from sorter.source import Refusal

MOST_MEMBERS = 100_000
CHUNK = 1 << 20
_BLOCK = 512
_ENCRYPTED = 1  # general purpose bit 0: APPNOTE 4.4.4
_STREAM = {Format.TAR: "r|", Format.BZIP2: "r|bz2", Format.XZ: "r|xz"}


class Member(NamedTuple):
    """One member: its name made safe, and its bytes; ``chunks`` is ``None`` for a link or a device."""

    name: str
    chunks: Iterator[bytes] | None


def members(path: Path, form: Format) -> Iterator[Member]:
    """The members of an archive in its order, folders left out; each must be read before the next.

    Raises
    ------
    Refusal
        It is encrypted, damaged, ends early, or has more than :data:`MOST_MEMBERS` entries.
    """
    found = _in_zip(path) if form is Format.ZIP else _in_tar(path, form)
    try:
        for number, member in enumerate(found):
            if number >= MOST_MEMBERS:
                raise Refusal(Kind.REJECTED, Reason.TOO_LARGE, f"more than {MOST_MEMBERS} members")
            yield member
    except (EOFError, tarfile.ReadError):
        raise Refusal(Kind.REJECTED, Reason.TRUNCATED, f"the {form} archive ends early") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, tarfile.TarError, OSError, ValueError) as error:
        detail = f"damaged {form} archive ({type(error).__name__})"
        raise Refusal(Kind.REJECTED, Reason.MALFORMED, detail) from None
    except (NotImplementedError, RuntimeError):
        detail = "the zip archive is packed in a way that is not understood here"
        raise Refusal(Kind.REJECTED, Reason.UNDECODABLE, detail) from None


def _in_zip(path: Path) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        # The directory stands at the end, so this is what one looks like that is still being written.
        raise Refusal(Kind.REJECTED, Reason.TRUNCATED, "a zip archive without its directory") from None
    with archive:
        entries = archive.infolist()
        if any(one.flag_bits & _ENCRYPTED for one in entries):
            detail = "the zip archive is encrypted: unpack it with its password, and drop what is inside"
            raise Refusal(Kind.REJECTED, Reason.UNDECODABLE, detail)
        for entry in entries:
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                yield Member(safe(entry.filename), None)
                continue
            with archive.open(entry) as stream:
                yield Member(safe(entry.filename), _chunks(stream))


def _in_tar(path: Path, form: Format) -> Iterator[Member]:
    if form is Format.TAR:
        _check_end(path)
    else:
        _check_is_tar(path, form)
    with tarfile.open(path, _STREAM[form], errors="surrogateescape") as archive:  # type: ignore[call-overload]
        for entry in archive:
            if entry.isdir():
                continue
            stream = archive.extractfile(entry) if entry.isreg() else None
            yield Member(safe(entry.name), _chunks(stream) if stream else None)


def _check_end(path: Path) -> None:
    """A tar ends with zeros; without them one that was cut between two members would look whole."""
    with path.open("rb") as file:
        file.seek(-_BLOCK, os.SEEK_END)
        if file.read().strip(b"\0"):
            raise tarfile.ReadError


def _check_is_tar(path: Path, form: Format) -> None:
    """What is compressed may be anything."""
    with (bz2 if form is Format.BZIP2 else lzma).open(path) as stream:
        block = stream.read(_BLOCK)
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        detail = f"a {form} file with no archive inside"
        raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, detail) from None


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def safe(name: str) -> str:
    """A member's name as a path below its archive: it only tells people and the ledger where it lay."""
    parts = name.replace("\\", "/").replace("\0", "").split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "unnamed"
