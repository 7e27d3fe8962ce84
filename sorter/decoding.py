"""One instance decoded by the worker that read it: its native file composed, proved, and staged."""

from __future__ import annotations

import io

from sorter.job import Job
from sorter.model import Instance, Pixels
from sorter.organizer.staging import WriteBehind
from sorter.organizer.tree import trouble
from sorter.parser.elements import Buffer, Dataset
from sorter.reading import IN_MEMORY, map_staged
from sorter.sharing import DIED, make_durable, native_instance


def decoded(instance: Instance, dataset: Dataset, name: str, job: Job, behind: WriteBehind) -> Instance:
    """The instance with native pixels, its bytes staged under ``name``; or as it came, with the reason.

    Raises
    ------
    ArchiveError
        The archive cannot take it.
    """
    from sorter.parser.frames import find_places, read_module  # noqa: PLC0415 - numpy only when needed
    from sorter.parser.pixels import Kept, plan  # noqa: PLC0415

    try:
        if plan(dataset, job.families) is not Pixels.TRANSCODED:
            return instance
        if not job.decode:
            raise Kept(Pixels.KEPT_DECODER_CRASHED, DIED)
        if read_module(dataset, find_places(dataset)).length <= IN_MEMORY:
            native, pixel_sha256 = _composed(instance, dataset)
            found = native_instance(instance, native, pixel_sha256, job)
            behind.write(name, native, sync=job.sync)  # last: trouble after it would use the name again
            return found
        return _streamed(instance, dataset, name, job)
    except Kept as kept:
        return instance._replace(pixels=kept.state, note=kept.note)


def _composed(instance: Instance, dataset: Dataset) -> tuple[bytes, str]:
    """The native file, and the digest of its pixels."""
    from sorter.parser.pixels import transcode, verify  # noqa: PLC0415

    out = io.BytesIO()
    pixel_sha256 = transcode(dataset, out, source_sha256=instance.source_sha256)
    native = out.getvalue()
    verify(native, pixel_sha256)
    return native, pixel_sha256


def _streamed(instance: Instance, dataset: Dataset, name: str, job: Job) -> Instance:
    """As :func:`decoded`; in memory there are never more than a few frames."""
    from sorter.parser.pixels import Kept, transcode, verify  # noqa: PLC0415

    native: Buffer
    try:
        # Closing writes what is still buffered, so it too is trouble with the archive, not with the file.
        with trouble("stage a decoded file"), job.staging.create(name) as out:
            pixel_sha256 = transcode(dataset, out, source_sha256=instance.source_sha256)
            out.flush()
            make_durable(out.fileno(), job)
        native = map_staged(job.staging, name)
        verify(native, pixel_sha256)
    except Kept:
        job.staging.discard(name)
        raise
    return native_instance(instance, native, pixel_sha256, job)
