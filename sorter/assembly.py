"""A large file while several workers decode its frames, as the parent sees it.

The parent takes the digest of the frames from the file, in order, as the shares are done; only then it has
the file sealed (:mod:`sorter.sharing`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from sorter.job import Job
from sorter.log import source_id
from sorter.model import Candidate, Kind, Pixels, Reason, Refused, Staged
from sorter.organizer.tree import trouble
from sorter.sharing import Begun, Portion, as_it_came, decode_portion, seal

_CHUNK = 1 << 20
Wait = Callable[[Any], Any]  # gives the result of a task


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
            fd = os.open(self._job.staging.path(self._begun.name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
        self._word = as_it_came(self._begun, state, note, self._job.staging)

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
