"""The members of zip and tar archives, as streams.

What cannot be read safely is passed over (links, devices) or refused whole (encrypted, damaged, too much).
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from sorter.convert.recognise import Format
from sorter.model import Kind, Reason
from sorter.source import Bounds, Refusal

MOST_MEMBERS = 100_000
_HEAD = 64 << 10  # the first piece of a member, by which it is told whether it is wanted
_CHUNK = 1 << 20
_BLOCK = 512
_ENCRYPTED = 1  # general purpose bit 0: APPNOTE 4.4.4
_OPEN: dict[Format, Callable[[Path], IO[bytes]]] = {
    Format.TAR: lambda path: path.open("rb"),
    Format.BZIP2: bz2.BZ2File,
    Format.XZ: lzma.LZMAFile,
}


class Member(NamedTuple):
    """One member: its name, as it says it, and its bytes; ``chunks`` is ``None`` for links and devices."""

    name: str
    chunks: Iterator[bytes] | None


@dataclass(slots=True)
class _Stream:
    """A stream whose bytes are counted: to pass over what nobody wants takes its time as well."""

    stream: IO[bytes]
    bounds: Bounds
    given: int = 0

    def read(self, size: int) -> bytes:
        chunk = self.stream.read(size)
        self.given += len(chunk)
        self.bounds.check(self.given, "unpacks")
        return chunk


def members(path: Path, form: Format, bounds: Bounds) -> Iterator[Member]:
    """The members of an archive in its order, folders left out; each must be read before the next.

    Parameters
    ----------
    bounds
        How many bytes of a compressed tar may be unpacked, those included that are only passed over. What is
        passed over in a zip is never unpacked.

    Raises
    ------
    Refusal
        It is encrypted, damaged, ends early, unpacks to too much, or has more than :data:`MOST_MEMBERS`
        entries.
    """
    found = _in_zip(path) if form is Format.ZIP else _in_tar(path, form, bounds)
    with _sound(form):
        for number, member in enumerate(found):
            if number >= MOST_MEMBERS:
                raise Refusal(Kind.REJECTED, Reason.TOO_LARGE, f"more than {MOST_MEMBERS} members")
            yield member


@contextlib.contextmanager
def _sound(form: Format) -> Iterator[None]:
    """What the reader of an archive raises is a verdict about the archive, wherever it is read from."""
    try:
        yield
    except (EOFError, tarfile.ReadError):
        raise Refusal(Kind.REJECTED, Reason.TRUNCATED, f"the {form} archive ends early") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise Refusal(Kind.REJECTED, Reason.UNREADABLE, os.strerror(error.errno)) from None
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
                yield Member(entry.filename, None)
                continue
            with archive.open(entry) as stream:
                yield Member(entry.filename, _chunks(stream, Format.ZIP))


def _in_tar(path: Path, form: Format, bounds: Bounds) -> Iterator[Member]:
    if form is Format.TAR:
        _check_end(path)
    else:
        _check_is_tar(path, form)
    with _OPEN[form](path) as stream, _tar(_Stream(stream, bounds)) as archive:
        for entry in archive:
            if entry.isdir():
                continue
            content = archive.extractfile(entry) if entry.isreg() else None
            yield Member(entry.name, _chunks(content, form) if content else None)


def _tar(stream: _Stream) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape")  # type: ignore[call-overload,no-any-return]


def _check_end(path: Path) -> None:
    """A tar ends with zeros; without them one that was cut between two members would look whole."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _BLOCK))
        if file.read().strip(b"\0"):
            raise tarfile.ReadError


def _check_is_tar(path: Path, form: Format) -> None:
    """What is compressed may be anything."""
    with _OPEN[form](path) as stream:
        block = stream.read(_BLOCK)
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        detail = f"a {form} file with no archive inside"
        raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, detail) from None


def _chunks(stream: IO[bytes], form: Format) -> Iterator[bytes]:
    """The bytes of a member; who writes them elsewhere does not meet the errors of the archive."""
    with _sound(form):
        size = _HEAD
        while chunk := stream.read(size):
            yield chunk
            size = _CHUNK
