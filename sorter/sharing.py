"""One large file whose frames are decoded by several workers: begun by one, shared out, sealed by one.

The worker that reads the file writes all but its pixels and says which frames lie where; then each share of
the frames is a task of its own. The last task is given the digest of the frames (:mod:`sorter.assembly`),
writes it into the header, proves the file and hashes it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import stat
from dataclasses import dataclass
from typing import NamedTuple

from sorter.job import Job
from sorter.model import Candidate, Instance, Pixels, Staged
from sorter.organizer.staging import Staging
from sorter.organizer.tree import trouble
from sorter.parser.elements import Buffer, Dataset, walk
from sorter.parser.encapsulation import release
from sorter.parser.header import read_header, wanted_tags
from sorter.reading import map_staged
from sorter.source import Source

# Native bytes of a share: about half a second of JPEG 2000, so that all workers end at about the same time.
SHARE_BYTES = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None)
_NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC

# Why pixels are kept that workers died over.
DIED = "crashed, hung or needed too much memory"
Verdict = tuple[Pixels, str]  # that pixels stay as they came, and why


class Portion(NamedTuple):
    """A share of the frames as the parent sees it, which needs no decoder and so no numpy."""

    offset: int
    length: int  # of its native bytes in the drafted file
    size: int  # bytes that are to be read for it
    share: bytes  # pickled for the worker


@dataclass(frozen=True, slots=True)
class Begun:
    """A candidate whose native file is drafted under ``name``; its own bytes are staged under ``source``.

    ``instance`` tells of it as it came. ``mode`` is what the file's permissions are to be.
    """

    candidate: Candidate
    instance: Instance
    outer_sha256: str
    source: str
    name: str
    mode: int
    hole: int
    portions: tuple[Portion, ...]


def begin(
    candidate: Candidate, source: Source, dataset: Dataset, instance: Instance, *, name: str, job: Job
) -> Begun | None:
    """Draft the native file of a source with many frames; ``None`` where one worker is to do it all.

    Raises
    ------
    ArchiveError
        The archive cannot take it.
    """
    from sorter.parser.frames import Kept  # noqa: PLC0415 - numpy only when needed
    from sorter.parser.shares import draft  # noqa: PLC0415

    try:
        if not _is_large(dataset, job):
            return None
        with trouble("stage a decoded file"), job.staging.create(name) as out:
            mode = stat.S_IMODE(os.fstat(out.fileno()).st_mode)
            os.fchmod(out.fileno(), mode | stat.S_IWUSR)  # the other workers open it by its name
            drafted = draft(dataset, out, source_sha256=instance.source_sha256, most=SHARE_BYTES)
    except Kept:
        job.staging.discard(name)
        return None  # and whoever tries will see why
    staged = source.name
    if not staged:
        staged = f"{name}.raw"
        job.staging.write(staged, [source.data[:]], sync=job.sync)
    portions = [Portion(one.offset, one.length, one.encoded, pickle.dumps(one)) for one in drafted.shares]
    return Begun(candidate, instance, source.outer_sha256, staged, name, mode, drafted.hole, tuple(portions))


def _is_large(dataset: Dataset, job: Job) -> bool:
    """Whether frames are to be decoded, and enough of them to be shared out (raises Kept)."""
    from sorter.parser.frames import find_places, read_module  # noqa: PLC0415
    from sorter.parser.pixels import plan  # noqa: PLC0415

    if job.share_above is None or not job.decode or plan(dataset, job.families) is not Pixels.TRANSCODED:
        return False
    module = read_module(dataset, find_places(dataset))
    return module.frames > 1 and module.length > job.share_above


def decode_portion(staging: Staging, source: str, name: str, share: bytes) -> Verdict | None:
    """Decode a share into the drafted file; says why, where the pixels are to stay as they came."""
    from sorter.parser.frames import Kept  # noqa: PLC0415
    from sorter.parser.shares import decode_share  # noqa: PLC0415

    with trouble("stage a decoded file"):
        fd = os.open(staging.path(source), os.O_RDONLY | _NOFOLLOW)
        try:
            out = os.open(staging.path(name), os.O_RDWR | _NOFOLLOW)
            try:
                decode_share(pickle.loads(share), fd, out)  # noqa: S301 - our own, from begin()
                _begin_writing(out)
            finally:
                os.close(out)
        except Kept as kept:
            return kept.state, kept.note
        finally:
            os.close(fd)
    return None


def seal(begun: Begun, pixel_sha256: str, job: Job) -> Staged:
    """Complete a drafted file whose frames are all there, and prove it.

    Raises
    ------
    ArchiveError
        The archive cannot take it.
    """
    from sorter.parser.frames import Kept  # noqa: PLC0415
    from sorter.parser.pixels import native_value  # noqa: PLC0415

    with trouble("stage a decoded file"):
        path = job.staging.path(begun.name)
        os.chmod(path, begun.mode | stat.S_IWUSR)  # a worker may have died over this before
        fd = os.open(path, os.O_RDWR | _NOFOLLOW)
        try:
            os.pwrite(fd, pixel_sha256.encode("ascii"), begun.hole)
            os.fchmod(fd, begun.mode)
            make_durable(fd, job)
        finally:
            os.close(fd)
    native = map_staged(job.staging, begun.name)
    first, length = begun.portions[0].offset, sum(one.length for one in begun.portions)
    try:
        if native_value(native) != (first, length):
            note = "read-back: the frames lie elsewhere"
            return as_it_came(begun, Pixels.KEPT_UNDECODABLE, note, job.staging)
    except Kept as kept:
        return as_it_came(begun, kept.state, kept.note, job.staging)
    instance = native_instance(begun.instance, native, pixel_sha256, job)
    return Staged(begun.candidate, instance, begun.name, begun.outer_sha256)


def as_it_came(begun: Begun, state: Pixels, note: str, staging: Staging) -> Staged:
    """The candidate as it came, and why."""
    staging.discard(begun.name)
    instance = begun.instance._replace(pixels=state, note=note)
    return Staged(begun.candidate, instance, begun.source, begun.outer_sha256)


def make_durable(fd: int, job: Job) -> None:
    """Sync a decoded file (rule 1), or let the disk begin with it where all will be synced at once."""
    if job.sync:
        os.fsync(fd)
    else:
        _begin_writing(fd)


def _begin_writing(fd: int) -> None:
    """Have a file written while others are decoded; promises nothing, so that failing says nothing.

    Source: https://man7.org/linux/man-pages/man2/sync_file_range.2.html
    """
    if hasattr(_libc, "sync_file_range"):
        _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def native_instance(instance: Instance, native: Buffer, pixel_sha256: str, job: Job) -> Instance:
    """The instance as it is, now that its native file is whole."""
    stored = walk(native, wanted_tags(job.keywords))
    return instance._replace(
        header=read_header(stored, job.keywords),
        sha256=digest(native),
        size=len(native),
        transfer_syntax_uid=stored.transfer_syntax_uid,
        pixels=Pixels.TRANSCODED,
        pixel_sha256=pixel_sha256,
    )


def digest(data: Buffer) -> str:
    """SHA-256 of a buffer; of a mapped file never more than a few MiB are in memory."""
    found = hashlib.sha256()
    whole = memoryview(data)
    for offset in range(0, len(data), SHARE_BYTES):
        piece = whole[offset : offset + SHARE_BYTES]
        found.update(piece)
        release(data, offset, len(piece))
    return found.hexdigest()
