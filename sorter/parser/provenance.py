"""The File Meta Information of a transcoded file, and the source it remembers there.

A transcoded file says in Private Information (0002,0102) what it was made of, so that the archive tree alone
rebuilds the index. Private Information that the source brought along travels inside ours.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from sorter.parser.elements import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Dataset, Element

# UIDs of sorter, derived from UUIDs once (PS3.5 B.2) and never to change.
IMPLEMENTATION_CLASS_UID = "2.25.83260125550734138411682882504540824197"
PROVENANCE_UID = "2.25.30156928807379570477534724917532794226"
IMPLEMENTATION_VERSION_NAME = "SORTER_0_1"

_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_CREATOR, _INFORMATION = 0x00020100, 0x00020102
_UNKNOWN = "0" * 64
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a transcoded file was made of; digests are lower-case hex SHA-256."""

    source_sha256: str
    source_transfer_syntax_uid: str
    pixel_sha256: str


def encode(tag: int, vr: str, value: bytes, *, implicit: bool = False) -> bytes:
    """One little-endian element, its value padded to even length (PS3.5 7.1.2 and 7.1.3)."""
    if len(value) % 2:
        value += b"\0" if vr in ("OB", "UI", "UN") else b" "
    number = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return number + struct.pack("<L", len(value)) + value
    if vr in _LONG:
        return number + struct.pack("<2sxxL", vr.encode("ascii"), len(value)) + value
    return number + struct.pack("<2sH", vr.encode("ascii"), len(value)) + value


def file_meta(dataset: Dataset, source_sha256: str) -> tuple[bytes, int]:
    """Preamble, prefix and File Meta Information of the transcoded file (PS3.10 7.1).

    Other elements of the source's are copied as they are. Returns the bytes and the offset at which the 64
    hex digits of ``pixel_sha256`` are to be written once they are known.
    """
    kept = {tag: element for tag, element in dataset.meta.items() if tag != 0x00020000}
    uids = {0x00020002: dataset.elements.get(_SOP_CLASS), 0x00020003: dataset.elements.get(_SOP_INSTANCE)}
    values: dict[int, tuple[str, bytes]] = {
        0x00020001: ("OB", b"\0\1"),
        **{tag: ("UI", element.value) for tag, element in uids.items() if element},
        **{tag: (element.vr, element.value) for tag, element in kept.items()},
        0x00020010: ("UI", (IMPLICIT_LITTLE if dataset.implicit else EXPLICIT_LITTLE).encode()),
        0x00020012: ("UI", IMPLEMENTATION_CLASS_UID.encode()),
        0x00020013: ("SH", IMPLEMENTATION_VERSION_NAME.encode()),
        _CREATOR: ("UI", PROVENANCE_UID.encode()),
        _INFORMATION: ("OB", _information(dataset, kept, source_sha256)),
    }
    group = b"".join(encode(tag, vr, value) for tag, (vr, value) in sorted(values.items()))
    preamble = dataset.data[:128] if dataset.data[128:132] == b"DICM" else bytes(128)
    length = encode(0x00020000, "UL", struct.pack("<L", len(group)))
    meta = preamble + b"DICM" + length + group
    return meta, meta.rindex(f'"{_UNKNOWN}"'.encode()) + 1


def _information(dataset: Dataset, kept: Mapping[int, Element], source_sha256: str) -> bytes:
    facts: dict[str, str] = {}
    if _INFORMATION in kept:
        creator = kept[_CREATOR].value.rstrip(b"\0 ").decode("ascii", "replace") if _CREATOR in kept else ""
        facts["carried_creator_uid"] = creator
        facts["carried_information"] = base64.b64encode(kept[_INFORMATION].value).decode("ascii")
    facts["source_sha256"] = source_sha256
    facts["source_transfer_syntax_uid"] = dataset.transfer_syntax_uid
    facts["pixel_sha256"] = _UNKNOWN
    text = json.dumps(facts, separators=(",", ":")).encode("ascii")
    return text + b" " * (len(text) % 2)


def provenance(dataset: Dataset) -> Provenance | None:
    """What the file remembers of its source; ``None`` for a file that sorter did not transcode."""
    creator, information = dataset.meta.get(_CREATOR), dataset.meta.get(_INFORMATION)
    if creator is None or information is None or creator.value.rstrip(b"\0 ") != PROVENANCE_UID.encode():
        return None
    try:
        facts = json.loads(information.value)
        found = Provenance(facts["source_sha256"], facts["source_transfer_syntax_uid"], facts["pixel_sha256"])
    except (ValueError, KeyError, TypeError):
        return None
    digests = (found.source_sha256, found.pixel_sha256)
    whole = all(isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in digests)
    return found if whole and isinstance(found.source_transfer_syntax_uid, str) else None
