"""What belongs to a file that is converted and stands beside it, by name alone; reads no content."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sorter.convert.naming import FOLDER_FILE, TEMPLATE, VOXELS, stem
from sorter.model import Candidate

_CONVERTIBLE = ("nii", "nii.gz", "hdr", "png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif")

State = tuple[tuple[str, int, int], ...]


def may_be_sidecar(name: str) -> bool:
    """Whether it would belong to a file of the same name that is converted, were there one."""
    return name == FOLDER_FILE or name.lower().endswith((".json", *VOXELS))


def is_sidecar(candidate: Candidate) -> bool:
    """Whether a file that is not DICOM belongs to one beside it that is converted."""
    if not may_be_sidecar(candidate.name):
        return False
    voxels = candidate.name.lower().endswith(VOXELS)
    others = ("hdr", "HDR") if voxels else _CONVERTIBLE
    beside = f"{candidate.folder}/{stem(candidate.name)}"
    return candidate.name == FOLDER_FILE or any(os.path.isfile(f"{beside}.{one}") for one in others)


def state(candidate: Candidate, note: str = "") -> State:
    """Name, size and change of all that may say something of a file: while it stays, so does what is known.

    Folders above the drop folder are not looked at; of a path given by hand, all are. ``note`` is the path of
    the quarantine's note about the file, in which people fill in what is missing.
    """
    found = []
    for path in (*_paths(candidate), *([note] if note else ())):
        try:
            facts = os.stat(path)
        except OSError:
            continue  # there is none
        found.append((path, facts.st_size, facts.st_mtime_ns))
    return tuple(found)


def voxels(candidate: Candidate) -> list[str]:
    """Where the voxels may lie whose header this is; none for what is no header of a pair."""
    if not candidate.name.lower().endswith(".hdr"):
        return []
    return [f"{candidate.folder}/{stem(candidate.name)}{ending}" for ending in VOXELS]


def _paths(candidate: Candidate) -> Iterator[str]:
    beside = f"{candidate.folder}/{stem(candidate.name)}"
    yield from (f"{beside}.json", f"{beside}.dcm", f"{candidate.folder}/{TEMPLATE}", *voxels(candidate))
    folder = candidate.folder
    while folder:
        yield f"{folder}/{FOLDER_FILE}"
        if folder == candidate.root:
            return
        folder = folder.rpartition("/")[0]
