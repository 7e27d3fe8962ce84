"""One large file whose frames are decoded by several workers: begun by one, shared out, sealed by one.

The worker that reads the file writes all but its pixels and says which frames lie where; then each share of
the frames is a task of its own. The parent takes the digest of the frames from the file, in order, as the
shares are done; only then the last task writes it into the header, proves the file and hashes it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sorter.job import Job
from sorter.log import source_id
from sorter.model import Candidate, Instance, Kind, Pixels, Reason, Refused, Staged
from sorter.organizer.staging import Staging
from sorter.organizer.tree import trouble
from sorter.parser.elements import Buffer, Dataset, walk
from sorter.parser.encapsulation import release
from sorter.parser.header import read_header, wanted_tags
from sorter.source import Source, map_staged

# Native bytes of a share: about half a second of JPEG 2000, so that all workers end at about the same time.
SHARE_BYTES = 8 << 20
_CHUNK = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None)
_NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC

# Why pixels are kept that workers died over.
DIED = "crashed, hung or needed too much memory"
Verdict = tuple[Pixels, str]  # that pixels stay as they came, and why
Wait = Callable[[Any], Any]  # gives the result of a task


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


# -- in the workers -----------------------------------------------------------------------------------------


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
            return _kept(begun, Pixels.KEPT_UNDECODABLE, "read-back: the frames lie elsewhere", job.staging)
    except Kept as kept:
        return _kept(begun, kept.state, kept.note, job.staging)
    instance = native_instance(begun.instance, native, pixel_sha256, job)
    return Staged(begun.candidate, instance, begun.name, begun.outer_sha256)


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


# -- in the parent ------------------------------------------------------------------------------------------


class Assembly:
    """A begun file while its frames are being decoded; ``word`` is what became of it, once it is finished.

    Parameters
    ----------
    job
        The one that began it.
    task
        Gives a function and its arguments to a worker.
    """

    def __init__(self, begun: Begun, job: Job, task: Callable[..., Any]) -> None:
        self._begun, self._job, self._task = begun, job, task
        self._pixel_sha256 = ""
        self._sealing: Any = None
        self._word: Staged | Refused | None = None
        self.restart()

    @property
    def word(self) -> Staged | Refused:
        """The result for its candidate."""
        assert self._word is not None
        return self._word

    @property
    def source_id(self) -> str:
        """What the log calls the source."""
        return source_id(self._begun.candidate.path)

    def restart(self) -> None:
        """Give the workers what is to be done, also anew: writing a frame twice does no harm."""
        if self._pixel_sha256:
            self._seal()
            return
        begun, staging = self._begun, self._job.staging
        self._running = [
            self._task(
                decode_portion, staging, begun.source, begun.name, one.share, size=one.size + one.length
            )
            for one in begun.portions
        ]

    def assemble(self, wait: Wait) -> None:
        """Wait for the frames, take their digest as they lie in the file, and have the file sealed.

        Raises
        ------
        ArchiveError
            The file cannot be read.
        Exception
            What ``wait`` raises.
        """
        found = hashlib.sha256()
        with trouble("read a staged file"):
            fd = os.open(self._job.staging.path(self._begun.name), os.O_RDONLY | _NOFOLLOW)
        try:
            for portion, future in zip(self._begun.portions, self._running, strict=True):
                verdict = wait(future)
                if verdict is not None:
                    self.keep(*verdict)
                    return
                with trouble("read a staged file"):
                    _add(found, fd, portion)
        finally:
            os.close(fd)
        self._pixel_sha256 = found.hexdigest()
        self._seal()

    def _seal(self) -> None:
        begun = self._begun
        self._sealing = self._task(seal, begun, self._pixel_sha256, self._job, size=begun.instance.size)

    def finish(self, wait: Wait) -> None:
        """Wait for the seal, unless the last word was said before (raises what ``wait`` does)."""
        if self._word is None:
            word = wait(self._sealing)
            if word.name != self._begun.source:
                self._job.staging.discard(self._begun.source)
            self._word = word

    def keep(self, state: Pixels, note: str) -> None:
        """Its pixels stay as they came."""
        self._cancel()
        self._word = _kept(self._begun, state, note, self._job.staging)

    def defer(self) -> None:
        """The end does not wait for it."""
        self._cancel()
        self._job.staging.discard(self._begun.name)
        self._job.staging.discard(self._begun.source)
        self._word = deferred(self._begun.candidate)

    def _cancel(self) -> None:
        for future in self._running:
            future.cancel()  # does nothing to one that is done


def _add(found: hashlib._Hash, fd: int, portion: Portion) -> None:
    end = portion.offset + portion.length
    for offset in range(portion.offset, end, _CHUNK):
        found.update(os.pread(fd, min(_CHUNK, end - offset), offset))


def deferred(candidate: Candidate) -> Refused:
    """The result for a candidate that the end did not wait for."""
    return Refused(candidate, Kind.DEFERRED, Reason.SETTLING, "sorter was stopped")


def _kept(begun: Begun, state: Pixels, note: str, staging: Staging) -> Staged:
    """The candidate as it came, and why."""
    staging.discard(begun.name)
    instance = begun.instance._replace(pixels=state, note=note)
    return Staged(begun.candidate, instance, begun.source, begun.outer_sha256)
