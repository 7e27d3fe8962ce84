"""What a worker does with one source: read it once, prove it whole, decode it, lay its bytes into staging.

Everything here concerns one file, and trouble with it is a value. Only trouble with the archive is raised.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sorter.errors import ArchiveError
from sorter.log import describe
from sorter.model import Candidate, Header, Instance, Kind, Pixels, Reason, Refused, Staged
from sorter.organizer.staging import Staging
from sorter.organizer.tree import trouble
from sorter.parser.elements import Buffer, Dataset, Unparsable, walk
from sorter.parser.header import check_uids, is_dicomdir, read_header, wanted_tags

if TYPE_CHECKING:
    from sorter.parser.fingerprint import Fingerprint

# Up to this size a file is read into memory and written from there; larger ones are streamed into staging.
IN_MEMORY = 32 << 20
# Larger files that are clearly not DICOM are noted, not copied: their source stays where it is anyway.
JUNK_COPIED_UP_TO = 64 << 20
GZIP_LIMIT = 8 << 30
GZIP_RATIO = 1000
# What needs no decoder, so that numpy is not even imported: PS3.5 A.1, A.2, A.3, A.5.
_NATIVE = frozenset(f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".1.99", ".2"))
_CHUNK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to stage some candidates; small, so that it travels with each task.

    ``prefix`` starts the names of all files the job stages, so that the files of a crashed job can be found.
    ``sync`` asks for an fsync of each file; otherwise the archive syncs the whole file system later.
    ``decode=False`` keeps pixels as they came: the second try after a decoder crashed.
    """

    candidates: tuple[Candidate, ...]
    staging: Staging
    prefix: str
    families: frozenset[str]
    keywords: frozenset[str] = frozenset()
    sync: bool = True
    decode: bool = True


class Refusal(Exception):  # noqa: N818 - a verdict about one source
    """One source cannot be staged now, and why; becomes a Refused."""

    def __init__(self, kind: Kind, reason: Reason, detail: str = "", header: Header | None = None) -> None:
        super().__init__(detail)
        self.kind, self.reason, self.detail, self.header = kind, reason, detail, header or Header()


@dataclass(slots=True)
class _Source:
    """The bytes of one source: in memory, or streamed into a staged file ``name`` and mapped from there."""

    data: Buffer
    sha256: str  # of the DICOM stream
    outer_sha256: str  # of the file as it lies in the drop folder
    name: str = ""


def stage(job: Job) -> list[Staged | Refused]:
    """Stage each candidate of a job, in order.

    Raises
    ------
    ArchiveError
        The archive cannot take the bytes.
    """
    return [_stage(one, f"{job.prefix}{number}", job) for number, one in enumerate(job.candidates)]


def _stage(candidate: Candidate, name: str, job: Job) -> Staged | Refused:
    source: _Source | None = None
    try:
        source = _read(candidate, name, job)
        return _instance(candidate, source, name, job)
    except ArchiveError:
        raise
    except Exception as error:  # noqa: BLE001 - the worker's edge: 8 and more types escape a damaged header
        return _refused(candidate, source, _verdict(error), name, job)


def _verdict(error: Exception) -> Refusal:
    """What an exception says about the source; MemoryError may come from anywhere."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Unparsable):
        return Refusal(Kind.REJECTED, error.reason, error.detail)
    if isinstance(error, MemoryError):
        return Refusal(Kind.REJECTED, Reason.TOO_LARGE, "needs more memory than a worker may use")
    return Refusal(Kind.REJECTED, Reason.MALFORMED, f"the parser failed: {describe(error)}")


# -- reading ------------------------------------------------------------------------------------------------


def _read(candidate: Candidate, name: str, job: Job) -> _Source:
    fd = _open(candidate)
    try:
        head = os.pread(fd, 2, 0)
        if head == b"\x1f\x8b":
            return _read_gzip(fd, candidate, name, job)
        if candidate.size <= IN_MEMORY:
            data = _read_all(fd, candidate)
            digest = hashlib.sha256(data).hexdigest()
            return _Source(data, digest, digest)
        return _read_large(fd, candidate, name, job)
    finally:
        os.close(fd)


def _open(candidate: Candidate) -> int:
    try:
        fd = os.open(candidate.path, _OPEN)
    except OSError as error:
        raise _unreadable(error) from None
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        os.close(fd)
        raise Refusal(Kind.IGNORED, Reason.NOT_REGULAR)
    if _version(facts) != candidate.version:
        os.close(fd)
        raise Refusal(Kind.DEFERRED, Reason.CHANGING, "changed since it was looked at")
    return fd


def _unreadable(error: OSError) -> Refusal:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return Refusal(Kind.IGNORED, Reason.VANISHED)
    if error.errno == errno.ELOOP:
        return Refusal(Kind.IGNORED, Reason.SYMLINK)
    name = errno.errorcode.get(error.errno or 0, "error")
    return Refusal(Kind.REJECTED, Reason.UNREADABLE, f"{name}: {os.strerror(error.errno or 0)}")


def _version(facts: os.stat_result) -> tuple[int, int, int, int, int]:
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _check_unchanged(fd: int, candidate: Candidate) -> None:
    """After reading: the descriptor and the path must still show the version that was settled (trap 7)."""
    try:
        same = _version(os.fstat(fd)) == candidate.version == _version(os.lstat(candidate.path))
    except OSError as error:
        raise _unreadable(error) from None
    if not same:
        raise Refusal(Kind.DEFERRED, Reason.CHANGING, "changed while it was read")


def _chunks(fd: int, candidate: Candidate) -> Iterator[bytes]:
    left = candidate.size
    while left:
        try:
            chunk = os.read(fd, min(_CHUNK, left))
        except OSError as error:
            raise _unreadable(error) from None
        if not chunk:
            raise Refusal(Kind.DEFERRED, Reason.CHANGING, "became shorter while it was read")
        left -= len(chunk)
        yield chunk
    _check_unchanged(fd, candidate)


def _read_all(fd: int, candidate: Candidate) -> bytes:
    try:
        data = os.read(fd, candidate.size)
    except OSError as error:
        raise _unreadable(error) from None
    if len(data) == candidate.size:
        _check_unchanged(fd, candidate)
        return data
    return data + b"".join(_chunks(fd, replace(candidate, size=candidate.size - len(data))))


def _read_large(fd: int, candidate: Candidate, name: str, job: Job) -> _Source:
    head = os.pread(fd, _CHUNK, 0)
    try:
        walk(head, frozenset())
    except Unparsable as trouble_:
        if trouble_.reason is Reason.NOT_DICOM and candidate.size > JUNK_COPIED_UP_TO:
            raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, f"{trouble_.detail}; too large to copy") from None
    digest = hashlib.sha256()
    raw = f"{name}.raw"
    job.staging.write(raw, _hashed(_chunks(fd, candidate), digest), sync=job.sync)
    return _Source(_map(job.staging, raw), digest.hexdigest(), digest.hexdigest(), raw)


def _read_gzip(fd: int, candidate: Candidate, name: str, job: Job) -> _Source:
    """A gzip of one DICOM stream (``.dcm.gz``) is taken as that stream; of anything else, as not DICOM."""
    outer, inner = hashlib.sha256(), hashlib.sha256()
    raw = f"{name}.raw"
    stream = _inflated(_hashed(_chunks(fd, candidate), outer))
    head = next(stream, b"")
    if head[128:132] != b"DICM":
        detail = "a gzip file with no DICOM inside"
        if candidate.size > JUNK_COPIED_UP_TO:
            raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, f"{detail}; too large to copy")
        os.lseek(fd, 0, os.SEEK_SET)
        outer = hashlib.sha256()
        job.staging.write(raw, _hashed(_chunks(fd, candidate), outer), sync=job.sync)
        return _Source(b"\x1f\x8b", "", outer.hexdigest(), raw)
    job.staging.write(raw, _hashed(_prepend(head, stream), inner), sync=job.sync)
    return _Source(_map(job.staging, raw), inner.hexdigest(), outer.hexdigest(), raw)


def _prepend(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _hashed(chunks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The inflated stream in bounded pieces; stops a bomb by size and by ratio (trap 21)."""
    inflater = zlib.decompressobj(wbits=31)
    taken = given = 0
    try:
        for chunk in chunks:
            taken += len(chunk)
            data = chunk
            while data:
                piece = inflater.decompress(data, _CHUNK)
                data = inflater.unconsumed_tail
                given += len(piece)
                if given > GZIP_LIMIT or given > GZIP_RATIO * taken + _CHUNK:
                    raise Refusal(Kind.REJECTED, Reason.TOO_LARGE, "inflates to more than is allowed")
                if piece:
                    yield piece
    except zlib.error:
        raise Refusal(Kind.REJECTED, Reason.MALFORMED, "damaged gzip stream") from None
    if not inflater.eof:
        raise Refusal(Kind.REJECTED, Reason.TRUNCATED, "the gzip stream ends early")


def _map(staging: Staging, name: str) -> Buffer:
    # Our own staged copy, which nobody shortens: no SIGBUS as with a mapped source.
    with trouble("map a staged file"):
        return _map_path(staging.path(name))


# -- making the instance ------------------------------------------------------------------------------------


def _instance(candidate: Candidate, source: _Source, name: str, job: Job) -> Staged:
    dataset = walk(source.data, wanted_tags(job.keywords))
    if is_dicomdir(dataset):
        raise Refusal(Kind.IGNORED, Reason.DICOMDIR)
    header = read_header(dataset, job.keywords)
    if trouble_ := check_uids(header):
        raise Refusal(Kind.REJECTED, *trouble_, header=header)
    instance = Instance(
        header=header,
        source_sha256=source.sha256,
        sha256=source.sha256,
        size=len(source.data),
        source_transfer_syntax_uid=dataset.transfer_syntax_uid,
        transfer_syntax_uid=dataset.transfer_syntax_uid,
        pixels=Pixels.NATIVE if dataset.pixel_data else Pixels.NONE,
    )
    if dataset.pixel_data is not None and dataset.transfer_syntax_uid not in _NATIVE:
        instance = _decoded(instance, dataset, name, job)
    if instance.pixels is Pixels.TRANSCODED:
        _drop_raw(source, job)
    elif source.name:
        name = source.name
    else:
        job.staging.write(name, [source.data[:]], sync=job.sync)
    return Staged(candidate, instance, name, source.outer_sha256)


def _decoded(instance: Instance, dataset: Dataset, name: str, job: Job) -> Instance:
    """The instance with native pixels, its bytes staged under ``name``; or as it came, with the reason."""
    from sorter.parser.pixels import Kept, plan, transcode, verify  # noqa: PLC0415 - numpy only when needed

    try:
        if plan(dataset, job.families) is not Pixels.TRANSCODED:
            return instance
        if not job.decode:
            raise Kept(Pixels.KEPT_DECODER_CRASHED, "crashed, hung or needed too much memory")
        with job.staging.create(name) as out, trouble("stage a decoded file"):
            pixel_sha256 = transcode(dataset, out, source_sha256=instance.source_sha256)
            out.flush()
            if job.sync:
                os.fsync(out.fileno())
        native = _map(job.staging, name)
        verify(native, pixel_sha256)
    except Kept as kept:
        job.staging.discard(name)
        return replace(instance, pixels=kept.state, note=kept.note)
    stored = walk(native, wanted_tags(job.keywords))
    return replace(
        instance,
        header=read_header(stored, job.keywords),
        sha256=hashlib.sha256(native).hexdigest(),
        size=len(native),
        transfer_syntax_uid=stored.transfer_syntax_uid,
        pixels=Pixels.TRANSCODED,
        pixel_sha256=pixel_sha256,
    )


def _drop_raw(source: _Source, job: Job) -> None:
    if source.name:
        job.staging.discard(source.name)


def _refused(candidate: Candidate, source: _Source | None, refusal: Refusal, name: str, job: Job) -> Refused:
    """The refusal as a value; a rejected source's bytes are staged for quarantine."""
    kept, sha256 = "", source.outer_sha256 if source else ""
    for leftover in (name, f"{name}.raw"):
        if source is None or leftover != source.name:
            job.staging.discard(leftover)
    if source is not None and refusal.kind is Kind.REJECTED:
        kept = source.name or name
        if not source.name:
            job.staging.write(name, [source.data[:]], sync=job.sync)
    elif source is not None and source.name:
        job.staging.discard(source.name)
    return Refused(candidate, refusal.kind, refusal.reason, refusal.detail, kept, sha256, refusal.header)


def compare(paths: tuple[str, ...]) -> list[Fingerprint]:
    """Fingerprints of archived or staged files, for the judge; runs in a worker like all decoding.

    Raises
    ------
    OSError, Unparsable
        A file is not there any more, or not what it was.
    """
    from sorter.parser.fingerprint import fingerprint  # noqa: PLC0415 - only where identity needs it

    return [fingerprint(_map_path(path)) for path in paths]


def examine(paths: tuple[str, ...], keywords: frozenset[str]) -> list[Instance | None]:
    """Read published files as the instances they are; ``None`` for what is none. Runs in a worker."""
    return [_examine(path, keywords) for path in paths]


def _examine(path: str, keywords: frozenset[str]) -> Instance | None:
    from sorter.parser.pixels import FAMILIES, Kept, plan, provenance  # noqa: PLC0415 - numpy

    try:
        data = _map_path(path)
        dataset = walk(data, wanted_tags(keywords))
        header = read_header(dataset, keywords)
        origin = provenance(dataset)
        try:
            pixels = Pixels.TRANSCODED if origin else plan(dataset, frozenset(FAMILIES))
        except Kept as kept:
            pixels = kept.state
    except (OSError, ValueError, Unparsable):
        return None
    if check_uids(header):
        return None
    digest = hashlib.sha256(data).hexdigest()
    if pixels is Pixels.TRANSCODED and origin is None:
        pixels = Pixels.KEPT_UNDECODABLE  # decodable in principle, and yet kept: why is not known any more
    return Instance(
        header=header,
        source_sha256=origin.source_sha256 if origin else digest,
        sha256=digest,
        size=len(data),
        source_transfer_syntax_uid=(
            origin.source_transfer_syntax_uid if origin else dataset.transfer_syntax_uid
        ),
        transfer_syntax_uid=dataset.transfer_syntax_uid,
        pixels=pixels,
        pixel_sha256=origin.pixel_sha256 if origin else None,
    )


def _map_path(path: str) -> Buffer:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
