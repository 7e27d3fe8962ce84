"""Which instances a tool kept: SOP Instance UIDs of its result against those of its source."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pydicom

# Explicit VR Little Endian, as the corpora and all peers write it: tag, VR, length; PS3.5 7.1.2.
_UID = re.compile(rb"\x08\x00\x18\x00UI(..)([0-9.]+)", re.DOTALL)
_HEAD = 1 << 16


def uids(root: Path) -> Counter[str]:
    """How often each SOP Instance UID occurs in the DICOM files below a folder, ``.sorter`` left out."""
    found: Counter[str] = Counter()
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [one for one in subfolders if one != ".sorter"]
        for name in names:
            if uid := _uid(Path(folder, name)):
                found[uid] += 1
    return found


def _uid(path: Path) -> str:
    """The SOP Instance UID of a DICOM file with a preamble; empty for any other file."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[128:132] != b"DICM":
        return ""
    match = _UID.search(head)
    if match and len(match[2]) in (length := int.from_bytes(match[1], "little"), length - 1):
        return match[2].decode()
    read = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
    return str(read.get("SOPInstanceUID", ""))


def lost(source: Counter[str], result: Counter[str]) -> int:
    """How many distinct instances of a source are not in the result."""
    return len(source.keys() - result.keys())
