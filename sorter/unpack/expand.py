"""One file becomes its members: candidates of their own, whose bytes are held in staging."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sorter.convert.recognise import Format
from sorter.model import Candidate, Expanded, Kind, Reason
from sorter.organizer.quarantine import FILL_IN
from sorter.organizer.staging import Staging
from sorter.parser.elements import Unparsable, walk
from sorter.reading import check_unchanged
from sorter.source import Bounds, Refusal
from sorter.unpack.beside import voxels
from sorter.unpack.containers import members
from sorter.unpack.names import MOST_PATH, Names, safe
from sorter.unpack.wanted import ARCHIVES, Wanted

if TYPE_CHECKING:
    from sorter.convert.facts import Facts

# An archive in an archive in an archive is somebody's habit; more is somebody's bomb.
MOST_DEPTH = 3
MOST_BYTES = 64 << 30


def expand(
    candidate: Candidate,
    content: str,
    sha256: str,
    form: Format,
    *,
    inside_sha256: str,
    name: str,
    staging: Staging,
    wanted: Wanted,
) -> Expanded:
    """Lay the members of a file into staging.

    Parameters
    ----------
    content
        Absolute path of its bytes; for an archive in gzip, of what is inside.
    sha256
        Of the file as it lies in the drop folder; ``inside_sha256`` of the bytes under ``content``.
    name
        Starts the names of what is staged.

    Raises
    ------
    Refusal
        It cannot be opened, needs to be told more, or nothing in it is DICOM.
    ArchiveError
        Staging does not take it.
    """
    hold = _Hold(candidate, name, staging, Bounds.of(candidate.size, staging, MOST_BYTES))
    if form in ARCHIVES:
        _unpack(hold, Path(content), form, wanted)
    else:
        for leaf, data in _converted(candidate, staging, wanted, _answers(wanted, sha256, inside_sha256)):
            hold.add(leaf, iter((data,)))
    if not hold.members:
        raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, f"a {form} file with no DICOM inside")
    return Expanded(candidate, sha256, tuple(hold.members), hold.left)


@dataclass(slots=True)
class _Hold:
    """What was laid into staging so far, and what it may still be."""

    candidate: Candidate
    name: str
    staging: Staging
    bounds: Bounds
    members: list[Candidate] = field(default_factory=list)
    left: int = 0
    _size: int = 0
    _names: Names = field(default_factory=Names)

    def add(self, path: str, chunks: Iterator[bytes]) -> None:
        held = f"{self.name}~{len(self.members)}"
        # A member is synced when it is staged.
        size = self.staging.write(held, self.counted(chunks), sync=False, read_again=True)
        outer = self.candidate
        folder, _, leaf = f"{outer.path}/{self._names.unique(path)}".rpartition("/")
        member = outer._replace(
            folder=folder, name=leaf, size=size, root="", held=held, depth=outer.depth + 1
        )
        self.members.append(member)

    def counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._size += len(chunk)
            self.bounds.check(self._size, "unpacks")
            yield chunk


def _unpack(hold: _Hold, content: Path, form: Format, wanted: Wanted) -> None:
    if hold.candidate.depth >= MOST_DEPTH:
        detail = f"archives in archives, more than {MOST_DEPTH} deep"
        raise Refusal(Kind.REJECTED, Reason.TOO_LARGE, detail)
    # What is passed over takes no room.
    bounds = replace(hold.bounds, room=hold.bounds.most)
    # So that the path of a member of a member of a member stays one that every index takes.
    most = MOST_PATH // (hold.candidate.depth + 1)
    for member in members(content, form, bounds):
        if member.chunks is None:
            hold.left += 1
            continue
        name, head = safe(member.name, most), next(member.chunks, b"")
        if _may_be_wanted(head, hold.candidate.path, wanted):
            hold.add(name, itertools.chain((head,), member.chunks))
        elif not _is_litter(name):
            hold.left += 1


def _may_be_wanted(head: bytes, folder: str, wanted: Wanted) -> bool:
    """Whether a member may be an instance, or be one to open."""
    if head[:2] == b"\x1f\x8b" or wanted.form(head, len(head), folder):
        return True
    try:
        walk(head, frozenset())
    except Unparsable as error:
        return error.reason is not Reason.NOT_DICOM
    return True


def _is_litter(name: str) -> bool:
    """What file managers leave in archives; the walk passes over the like in a drop folder."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")


def _converted(
    candidate: Candidate, staging: Staging, wanted: Wanted, answers: Mapping[str, Any]
) -> Iterator[tuple[str, bytes]]:
    from sorter.convert.convert import convert  # noqa: PLC0415 - numpy, pydicom, nibabel: only for such files
    from sorter.convert.errors import ConversionError, FormatsMissingError, NeedsInfo  # noqa: PLC0415
    from sorter.convert.options import Options, namespace  # noqa: PLC0415

    path = Path(staging.path(candidate.held) if candidate.held else candidate.path)
    try:
        options = Options(namespace=namespace(wanted.namespace))
        yield from convert(path, options, _facts(candidate, wanted, answers))
    except NeedsInfo as error:
        raise _asking(f"stated nowhere: {', '.join(error.missing)}", error.missing) from None
    except ConversionError as error:
        if voxels(candidate):
            raise _asking(f"not with the .img that is beside it now: {error}") from None  # it may still come
        raise Refusal(Kind.REJECTED, Reason.UNDECODABLE, f"cannot become DICOM: {error}") from None
    except FormatsMissingError as error:
        # The file is well: it stays where it is, and is looked at again.
        raise Refusal(Kind.REJECTED, Reason.NEEDS_INFO, f"cannot become DICOM here: {error}") from None
    except OSError as error:
        raise Refusal(Kind.REJECTED, Reason.UNREADABLE, os.strerror(error.errno or 0)) from None
    check_unchanged(candidate)


def _facts(candidate: Candidate, wanted: Wanted, answers: Mapping[str, Any]) -> Facts:
    """What is known of a file; a sidecar that cannot be used may be mended, or be whole in a moment."""
    from sorter.convert.errors import ConversionError, NeedsInfo  # noqa: PLC0415 - pydicom, as above
    from sorter.convert.sidecars import gather  # noqa: PLC0415

    top = Path(candidate.root) if candidate.root else None
    try:
        given = [("what was filled in", answers)]
        return gather(Path(candidate.path), given=given, configured=dict(wanted.facts), top=top)
    except NeedsInfo:
        raise
    except ConversionError as error:
        raise _asking(f"what is stated cannot be used: {error}") from None


def _asking(detail: str, missing: Iterable[str] = ()) -> Refusal:
    from sorter.convert.sidecars import stub  # noqa: PLC0415 - pydicom, as above

    refusal = Refusal(
        Kind.REJECTED,
        Reason.NEEDS_INFO,
        f"{detail}; write a .json of the same name beside the file, or see `sorter quarantine show`",
    )
    refusal.missing = tuple(stub(missing))
    return refusal


def _answers(wanted: Wanted, *digests: str) -> dict[str, Any]:
    """What a person filled in, in the note about these bytes."""
    for digest in digests:
        try:
            note = json.loads(Path(wanted.answers, f"{digest[:24]}.json").read_bytes())
            return {key: value for key, value in note[FILL_IN].items() if value not in ("", None)}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue  # there is no such note, or it is not as it was made: then nothing is known from it
    return {}
