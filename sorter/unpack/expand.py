"""One file becomes its members: candidates of their own, whose bytes are held in staging."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sorter.convert.recognise import Format
from sorter.errors import SorterError
from sorter.model import Candidate, Expanded, Kind, Reason
from sorter.organizer.staging import Staging
from sorter.organizer.tree import trouble
from sorter.parser.elements import Unparsable, walk
from sorter.source import Refusal, check_unchanged
from sorter.unpack.containers import members
from sorter.unpack.wanted import ARCHIVES, Wanted

# An archive in an archive in an archive is somebody's habit; more is somebody's bomb.
MOST_DEPTH = 3
MOST_BYTES, FREE_BYTES, MOST_RATIO = 64 << 30, 64 << 20, 100
_HEAD = 64 << 10


def expand(
    candidate: Candidate,
    content: str,
    sha256: str,
    form: Format,
    *,
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
        Of the file as it lies in the drop folder.
    name
        Starts the names of what is staged.

    Raises
    ------
    Refusal
        It cannot be opened, needs to be told more, or nothing in it is DICOM.
    ArchiveError
        Staging does not take it.
    """
    hold = _Hold(candidate, name, staging, _most(candidate, staging))
    if form in ARCHIVES:
        _unpack(hold, Path(content), form, wanted)
    else:
        for leaf, data in _converted(candidate, staging):
            hold.add(leaf, iter((data,)))
    if not hold.members:
        raise Refusal(Kind.REJECTED, Reason.NOT_DICOM, f"a {form} file with no DICOM inside")
    return Expanded(candidate, sha256, tuple(hold.members), hold.left)


def _most(candidate: Candidate, staging: Staging) -> int:
    """How many bytes all members may have: bounded by ratio, and by half the room there is."""
    with trouble("look for room"):
        facts = os.statvfs(staging.folder)
    room = facts.f_bavail * facts.f_frsize // 2
    return min(MOST_BYTES, room, max(FREE_BYTES, MOST_RATIO * candidate.size))


@dataclass(slots=True)
class _Hold:
    """What was laid into staging so far, and what it may still be."""

    candidate: Candidate
    name: str
    staging: Staging
    most: int
    members: list[Candidate] = field(default_factory=list)
    left: int = 0
    _size: int = 0
    _paths: set[str] = field(default_factory=set)

    def add(self, path: str, chunks: Iterator[bytes]) -> None:
        held = f"{self.name}~{len(self.members)}"
        size = self.staging.write(
            held, self.counted(chunks), sync=False
        )  # a member is synced when it is staged
        outer = self.candidate
        folder, _, leaf = f"{outer.path}/{self._unique(path)}".rpartition("/")
        member = outer._replace(
            folder=folder, name=leaf, size=size, root="", held=held, depth=outer.depth + 1
        )
        self.members.append(member)

    def counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._size += len(chunk)
            if self._size > self.most:
                detail = (
                    f"unpacks to more than {self.most} bytes, the most for its size and for the room left"
                )
                raise Refusal(Kind.REJECTED, Reason.TOO_LARGE, detail)
            yield chunk

    def _unique(self, path: str) -> str:
        """Members may share a name; each is a source of its own."""
        for number in itertools.count(1):
            one = path if number == 1 else f"{path}#{number}"
            if one not in self._paths:
                self._paths.add(one)
                return one
        raise AssertionError("unreachable: the numbers never end")


def _unpack(hold: _Hold, content: Path, form: Format, wanted: Wanted) -> None:
    if hold.candidate.depth >= MOST_DEPTH:
        detail = f"archives in archives, more than {MOST_DEPTH} deep"
        raise Refusal(Kind.REJECTED, Reason.TOO_LARGE, detail)
    for member in members(content, form):
        if member.chunks is None:
            hold.left += 1
            continue
        head = next(member.chunks, b"")
        if _may_be_wanted(head, hold.candidate.path, wanted):
            hold.add(member.name, itertools.chain((head,), member.chunks))
        elif not _is_litter(member.name):
            hold.left += 1


def _may_be_wanted(head: bytes, folder: str, wanted: Wanted) -> bool:
    """Whether a member may be an instance, or be one to open."""
    if head[:2] == b"\x1f\x8b" or wanted.form(head, len(head), folder):
        return True
    try:
        walk(head[:_HEAD], frozenset())
    except Unparsable as error:
        return error.reason is not Reason.NOT_DICOM
    return True


def _is_litter(name: str) -> bool:
    """What file managers leave in archives; the walk passes over the like in a drop folder."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")


def _converted(candidate: Candidate, staging: Staging) -> Iterator[tuple[str, bytes]]:
    from sorter.convert.convert import convert  # noqa: PLC0415 - numpy, pydicom, nibabel: only for such files
    from sorter.convert.errors import ConversionError, FormatsMissingError, NeedsInfo  # noqa: PLC0415
    from sorter.convert.options import Options  # noqa: PLC0415
    from sorter.convert.sidecars import gather  # noqa: PLC0415

    path = Path(candidate.path)
    try:
        known = gather(path, top=Path(candidate.root) if candidate.root else None)
        yield from convert(Path(staging.path(candidate.held)) if candidate.held else path, Options(), known)
    except NeedsInfo as error:
        detail = (
            f"stated nowhere: {', '.join(error.missing)}; write it into a .json of the same name beside it"
        )
        raise Refusal(Kind.REJECTED, Reason.NEEDS_INFO, detail) from None
    except (ConversionError, FormatsMissingError) as error:
        raise Refusal(Kind.REJECTED, Reason.UNDECODABLE, f"cannot become DICOM: {error}") from None
    except SorterError:
        raise
    except OSError as error:
        raise Refusal(Kind.REJECTED, Reason.UNREADABLE, os.strerror(error.errno or 0)) from None
    check_unchanged(candidate)


def is_sidecar(candidate: Candidate) -> bool:
    """Whether a file that is not DICOM belongs to one beside it that is converted, by name."""
    if candidate.name == "sorter.toml":
        return True
    stem, _, ending = candidate.name.rpartition(".")
    if ending.lower() not in ("json", "img") and not candidate.name.lower().endswith(".img.gz"):
        return False
    stem = stem.removesuffix(".img")
    others = ("hdr",) if "img" in candidate.name.lower()[-7:] else _CONVERTIBLE
    return any(os.path.isfile(f"{candidate.folder}/{stem}.{one}") for one in others)


_CONVERTIBLE = ("nii", "nii.gz", "hdr", "png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif")
