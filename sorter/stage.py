"""What a worker does with one source: read it once, prove it whole, decode it, lay its bytes into staging.

Everything here concerns one file, and trouble with it is a value. Only trouble with the archive is raised.
"""

from __future__ import annotations

import errno
import secrets
from typing import TYPE_CHECKING

from sorter.convert.naming import TEMPLATE
from sorter.decoding import decoded
from sorter.errors import ArchiveError
from sorter.job import Job
from sorter.log import describe
from sorter.model import Candidate, Expanded, Header, Instance, Kind, Pixels, Reason, Refused, Staged
from sorter.organizer.staging import WriteBehind
from sorter.parser.elements import Dataset, Unparsable, walk
from sorter.parser.encapsulation import release
from sorter.parser.header import check_uids, is_dicomdir, read_header, wanted_tags
from sorter.reading import check_unchanged, map_path, read, unreadable
from sorter.sharing import Begun, begin, digest
from sorter.source import Refusal, Source
from sorter.unpack.beside import is_sidecar

if TYPE_CHECKING:
    from sorter.parser.fingerprint import Fingerprint

# What needs no decoder, so that numpy is not even imported: PS3.5 A.1, A.2, A.3, A.5.
_HEAD = 1024
_NATIVE = frozenset(f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".1.99", ".2"))

# Trouble of the system; the others may be what a library says of bytes that lead it astray.
_SYSTEM = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def stage(job: Job) -> list[Staged | Refused | Expanded | Begun]:
    """Stage each candidate of a job, in order; one with many frames may only be begun.

    Raises
    ------
    ArchiveError
        The archive cannot take the bytes.
    """
    with WriteBehind(job.staging) as behind:
        return [
            _stage(one, f"{job.prefix}{number}", job, behind) for number, one in enumerate(job.candidates)
        ]


def _stage(
    candidate: Candidate, name: str, job: Job, behind: WriteBehind
) -> Staged | Refused | Expanded | Begun:
    source: Source | None = None
    try:
        if candidate.name == TEMPLATE and job.wanted.converts:
            raise Refusal(Kind.IGNORED, Reason.SIDECAR)
        source = read(
            candidate, name, job.staging, sync=job.sync,
            opens=lambda head: job.wanted.form(head, len(head), candidate.folder) is not None,
        )  # fmt: skip
        return _instance(candidate, source, name, job, behind)
    except ArchiveError:
        raise
    except Exception as error:  # noqa: BLE001 - the worker's edge: 8 and more types escape a damaged header
        refusal = _verdict(error)
        if source is not None and refusal.kind is Kind.REJECTED:
            return _opened(candidate, source, refusal, name, job)
        return _refused(candidate, source or refusal.source, refusal, name, job)


def _opened(
    candidate: Candidate, source: Source, refusal: Refusal, name: str, job: Job
) -> Refused | Expanded:
    """What is no instance may hold or become some, or belong to what does."""
    from sorter.unpack.expand import expand  # noqa: PLC0415 - zipfile, tarfile: not for DICOM

    form = job.wanted.form(source.data[:_HEAD], len(source.data), candidate.folder)
    if form is None:
        if refusal.reason is Reason.NOT_DICOM and job.wanted.converts and is_sidecar(candidate):
            refusal = Refusal(Kind.IGNORED, Reason.SIDECAR)
        return _refused(candidate, source, refusal, name, job)

    content = job.staging.path(source.name or candidate.held) if source.name or candidate.held else ""
    try:
        found = expand(
            candidate, content or candidate.path, source.outer_sha256, form,
            inside_sha256=source.sha256, name=name, staging=job.staging, wanted=job.wanted,
        )  # fmt: skip
        check_unchanged(candidate)
    except ArchiveError:
        _drop_members(name, job)  # they may be what fills the disk
        raise
    except Exception as error:  # noqa: BLE001 - the worker's edge: whatever a damaged archive makes of a parser
        _drop_members(name, job)
        return _refused(candidate, source, _verdict(error), name, job)
    _drop_raw(source, job)
    return found


def _drop_members(name: str, job: Job) -> None:
    for held in job.staging.found(f"{name}~"):
        job.staging.discard(held)


def _verdict(error: Exception) -> Refusal:
    """What an exception says about the source; MemoryError may come from anywhere."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Unparsable):
        return Refusal(Kind.REJECTED, error.reason, error.detail, _partial_header(error))
    if isinstance(error, MemoryError):
        return Refusal(Kind.REJECTED, Reason.TOO_LARGE, "needs more memory than a worker may use")
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return unreadable(error)  # a disk or a network that fails does so anywhere
    return Refusal(Kind.REJECTED, Reason.MALFORMED, f"the parser failed: {describe(error)}")


def _partial_header(error: Unparsable) -> Header:
    """What could be read of a damaged file, so that its quarantine note tells whose it is."""
    if not isinstance(error.partial, Dataset):
        return Header()
    try:
        return read_header(error.partial)
    except Exception:  # noqa: BLE001 - the file is refused anyway; its owner just stays unknown
        return Header()


def _instance(
    candidate: Candidate, source: Source, name: str, job: Job, behind: WriteBehind
) -> Staged | Begun:
    dataset = walk(source.data, wanted_tags(job.keywords))
    release(source.data, 0, len(source.data))
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
        if begun := begin(candidate, source, dataset, instance, name=name, job=job):
            return begun
        instance = decoded(instance, dataset, name, job, behind)
    if instance.pixels is Pixels.TRANSCODED:
        _drop_raw(source, job)
    elif source.name:
        name = source.name
    else:
        behind.write(name, source.data[:], sync=job.sync)
    return Staged(candidate, instance, name, source.outer_sha256)


def _drop_raw(source: Source, job: Job) -> None:
    if source.name:
        job.staging.discard(source.name)


def _refused(candidate: Candidate, source: Source | None, refusal: Refusal, name: str, job: Job) -> Refused:
    """The refusal as a value; a rejected source's bytes are staged for quarantine."""
    # The digest of the bytes that are kept: of a gzip that inflated well, the stream inside.
    kept, sha256 = "", (source.sha256 or source.outer_sha256) if source else ""
    for leftover in (name, f"{name}.raw"):
        if source is None or leftover != source.name:
            job.staging.discard(leftover)
    # What only needs to be told more stays where it is, and is looked at again.
    waits = refusal.reason is Reason.NEEDS_INFO and not candidate.held
    if waits and source is not None:
        sha256 = source.outer_sha256
    if source is not None and refusal.kind is Kind.REJECTED and not waits:
        kept = source.name or name
        if not source.name:
            job.staging.write(name, [source.data[:]], sync=job.sync)
    elif source is not None and source.name:
        job.staging.discard(source.name)
    return Refused(
        candidate, refusal.kind, refusal.reason, refusal.detail, kept, sha256, refusal.header, refusal.missing
    )


def compare(paths: tuple[str, ...]) -> list[Fingerprint] | None:
    """Fingerprints of archived or staged files, for the judge; runs in a worker like all decoding.

    ``None`` where one cannot be read or is not what it was: then nothing proves them equal.
    """
    from sorter.parser.fingerprint import fingerprint  # noqa: PLC0415 - only where identity needs it

    try:
        return [fingerprint(map_path(path)) for path in paths]
    except Exception:  # noqa: BLE001 - the worker's edge, as in stage(); the caller takes them for different
        return None


def examine(
    paths: tuple[str, ...], keywords: frozenset[str], like: Job | None = None
) -> list[Instance | None]:
    """Read published files as the instances they are; ``None`` for what is none. Runs in a worker.

    Parameters
    ----------
    like
        How ingest stages: pixels that are encapsulated are tried as it tries them, so that what is said of
        why they were kept is what it said. Without it that remains unknown.
    """
    return [_examine(path, keywords, like) for path in paths]


def _examine(path: str, keywords: frozenset[str], like: Job | None) -> Instance | None:
    from sorter.parser.pixels import provenance  # noqa: PLC0415 - numpy

    try:
        data = map_path(path)
        dataset = walk(data, wanted_tags(keywords))
        header = read_header(dataset, keywords)
        if check_uids(header):
            return None
        origin = provenance(dataset)
        sha256 = digest(data)
        uid = dataset.transfer_syntax_uid
        instance = Instance(
            header=header,
            source_sha256=origin.source_sha256 if origin else sha256,
            sha256=sha256,
            size=len(data),
            source_transfer_syntax_uid=origin.source_transfer_syntax_uid if origin else uid,
            transfer_syntax_uid=uid,
            pixels=Pixels.NATIVE if dataset.pixel_data else Pixels.NONE,
            pixel_sha256=origin.pixel_sha256 if origin else None,
        )
        if origin:
            return instance._replace(pixels=Pixels.TRANSCODED)
        if dataset.pixel_data is None or uid in _NATIVE:
            return instance
        return _kept(instance, dataset, like)
    except ArchiveError:
        raise
    except Exception:  # noqa: BLE001 - the worker's edge, as in stage(): it is no instance that was published
        return None


def _kept(instance: Instance, dataset: Dataset, like: Job | None) -> Instance:
    """The instance with the reason why its pixels are encapsulated still."""
    from sorter.parser.codecs import SYNTAXES  # noqa: PLC0415 - numpy only when needed
    from sorter.parser.pixels import FAMILIES, Kept, plan  # noqa: PLC0415

    if like is None:
        try:
            pixels = plan(dataset, frozenset(FAMILIES))
        except Kept as kept:
            pixels = kept.state
        # Decodable in principle, and yet kept: why is not known.
        return instance._replace(pixels=Pixels.KEPT_UNDECODABLE if pixels is Pixels.TRANSCODED else pixels)
    name = f"{like.prefix}{secrets.token_hex(8)}"
    with WriteBehind(like.staging) as behind:
        found = decoded(instance, dataset, name, like, behind)
    if found.pixels is not Pixels.TRANSCODED:
        return found
    like.staging.discard(name)  # it could be decoded, so it was not asked for when it came
    note = f"decompress does not name {SYNTAXES[instance.transfer_syntax_uid]}"
    return instance._replace(pixels=Pixels.KEPT_CONFIG, note=note)
