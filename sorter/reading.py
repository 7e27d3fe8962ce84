"""Reading one source: once, from one descriptor, and only while it stays the version that settled."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator

from sorter.model import Candidate, Kind, Reason
from sorter.organizer.staging import Staging
from sorter.organizer.tree import trouble
from sorter.parser.elements import Buffer, Unparsable, walk
from sorter.source import Bounds, Refusal, Source, inflated

# Up to this size a file is read into memory and written from there; larger ones are streamed into staging.
IN_MEMORY = 32 << 20
# From this size on a file is cloned where the file system can (XFS, Btrfs); below, writing it costs no more.
CLONED_FROM = 64 << 10
# Larger files that are clearly not DICOM are noted, not copied: their source stays where it is anyway.
JUNK_COPIED_UP_TO = 64 << 20
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


Opens = Callable[[bytes], bool]


def _nothing(_head: bytes) -> bool:
    return False


def read(candidate: Candidate, name: str, staging: Staging, *, sync: bool, opens: Opens = _nothing) -> Source:
    """Read a candidate: small files into memory, large ones and gzips into staging, mapped from there.

    Parameters
    ----------
    name
        Starts the name of the staged file, if one is made.
    sync
        Whether to fsync it.
    opens
        Whether content that is not DICOM, by its first bytes, is wanted all the same.

    Raises
    ------
    Refusal
        It is gone, unreadable, not a regular file, another version now, or a bomb.
    ArchiveError
        Staging does not take it.
    """
    fd = _open(candidate, staging)
    try:
        if candidate.size < min(CLONED_FROM, IN_MEMORY):
            data = _read_all(fd, candidate)
            if data[:2] != _GZIP:
                digest = hashlib.sha256(data).hexdigest()
                return Source(data, digest, digest)
        elif _head(fd, 2) != _GZIP:
            return _read_large(fd, candidate, name, staging, sync=sync, opens=opens)
        os.lseek(fd, 0, os.SEEK_SET)
        return _read_gzip(fd, candidate, name, staging, sync=sync, opens=opens)
    finally:
        os.close(fd)


def _head(fd: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, 0)
    except OSError as error:
        raise unreadable(error) from None


def _open(candidate: Candidate, staging: Staging) -> int:
    if candidate.held:
        with trouble("open a staged file"):
            return os.open(staging.path(candidate.held), _OPEN)
    try:
        fd = os.open(candidate.path, _OPEN)
    except OSError as error:
        raise unreadable(error) from None
    try:
        _check_version(fd, candidate)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_version(fd: int, candidate: Candidate) -> None:
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        raise Refusal(Kind.IGNORED, Reason.NOT_REGULAR)
    if _version(facts) != candidate.version:
        raise Refusal(Kind.DEFERRED, Reason.CHANGING, "changed since it was looked at")


def unreadable(error: OSError) -> Refusal:
    """What trouble of the system with a source says of it: nothing for good, but that it is gone."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return Refusal(Kind.IGNORED, Reason.VANISHED)
    if error.errno == errno.ELOOP:
        return Refusal(Kind.IGNORED, Reason.SYMLINK)
    name = errno.errorcode.get(error.errno or 0, "error")
    return Refusal(Kind.REJECTED, Reason.UNREADABLE, f"{name}: {os.strerror(error.errno or 0)}")


def _version(facts: os.stat_result) -> tuple[int, int, int, int, int]:
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def check_unchanged(candidate: Candidate) -> None:
    """After reading: the path must still show the version that was settled, and so the descriptor (trap 7).

    The version names the inode, which is the one that was opened: what holds of the path holds of it.

    Raises
    ------
    Refusal
        It does not. Of a member the bytes are our own copy.
    """
    if candidate.held:
        return
    try:
        same = _version(os.lstat(candidate.path)) == candidate.version
    except FileNotFoundError:
        same = False  # moved: it is looked for again
    except OSError as error:
        raise unreadable(error) from None
    if not same:
        raise Refusal(Kind.DEFERRED, Reason.CHANGING, "changed while it was read")


def _chunks(fd: int, candidate: Candidate, done: int = 0) -> Iterator[bytes]:
    left = candidate.size - done
    while left:
        try:
            chunk = os.read(fd, min(_CHUNK, left))
        except OSError as error:
            raise unreadable(error) from None
        if not chunk:
            raise Refusal(Kind.DEFERRED, Reason.CHANGING, "became shorter while it was read")
        left -= len(chunk)
        yield chunk
    check_unchanged(candidate)


def _read_all(fd: int, candidate: Candidate) -> bytes:
    try:
        data = os.read(fd, candidate.size)
    except OSError as error:
        raise unreadable(error) from None
    if len(data) == candidate.size:
        check_unchanged(candidate)
        return data
    return data + b"".join(_chunks(fd, candidate, len(data)))  # network file systems may read less at once


def _read_large(
    fd: int, candidate: Candidate, name: str, staging: Staging, *, sync: bool, opens: Opens
) -> Source:
    if candidate.size > JUNK_COPIED_UP_TO:
        _refuse_junk(_head(fd, _CHUNK), opens)
    raw = f"{name}.raw"
    clone = staging.clone(raw, fd, sync=sync)
    if clone is not None:
        # The clone is read, not the source: what is hashed is what will be archived, whatever happens there.
        try:
            return _read_clone(clone, candidate, raw, staging)
        finally:
            os.close(clone)
    if candidate.size <= IN_MEMORY:
        data = _read_all(fd, candidate)
        digest = hashlib.sha256(data).hexdigest()
        return Source(data, digest, digest)
    found = hashlib.sha256()
    staging.write(raw, _hashed(_chunks(fd, candidate), found), sync=sync)
    return Source(map_staged(staging, raw), found.hexdigest(), found.hexdigest(), raw)


def _refuse_junk(head: bytes, opens: Opens) -> None:
    try:
        walk(head, frozenset())
    except Unparsable as error:
        if error.reason is Reason.NOT_DICOM and not opens(head):
            raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, f"{error.detail}; too large to copy") from None


def _read_clone(clone: int, candidate: Candidate, raw: str, staging: Staging) -> Source:
    if os.fstat(clone).st_size != candidate.size:
        raise Refusal(Kind.DEFERRED, Reason.CHANGING, "changed since it was looked at")
    if candidate.size <= IN_MEMORY:
        data = _read_all(clone, candidate)
        digest = hashlib.sha256(data).hexdigest()
        return Source(data, digest, digest, raw)
    found = hashlib.sha256()
    for chunk in _chunks(clone, candidate):
        found.update(chunk)
    return Source(map_staged(staging, raw), found.hexdigest(), found.hexdigest(), raw)


def _read_gzip(
    fd: int, candidate: Candidate, name: str, staging: Staging, *, sync: bool, opens: Opens
) -> Source:
    """A gzip (``.dcm.gz``, ``.tar.gz``) is taken as the stream inside; others are refused as they came."""
    raw = f"{name}.raw"
    try:
        outer, inner = hashlib.sha256(), hashlib.sha256()
        stream = inflated(_hashed(_chunks(fd, candidate), outer), Bounds.of(candidate.size, staging))
        head = next(stream, b"")
        if head[128:132] != b"DICM" and not opens(head):
            raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, "a gzip file with no DICOM inside")
        staging.write(raw, _hashed(_prepend(head, stream), inner), sync=sync)
    except Refusal as refusal:
        if refusal.kind is Kind.REJECTED and candidate.size <= JUNK_COPIED_UP_TO:
            outer = hashlib.sha256()
            os.lseek(fd, 0, os.SEEK_SET)
            staging.write(raw, _hashed(_chunks(fd, candidate), outer), sync=sync)
            refusal.source = Source(b"", "", outer.hexdigest(), raw)
        raise
    return Source(map_staged(staging, raw), inner.hexdigest(), outer.hexdigest(), raw)


def _prepend(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _hashed(chunks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def map_staged(staging: Staging, name: str) -> Buffer:
    """A staged file as a buffer. It is our own copy, which nobody shortens: no SIGBUS as with a source."""
    with trouble("map a staged file"):
        return map_path(staging.path(name))


def map_path(path: str) -> Buffer:
    """A file of the archive as a buffer; symlinks are not followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
