"""All elements of a dataset: as lines, nested, long values cut; and in the DICOM JSON model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

_LONGEST = 70  # of a value
_BYTES = 16  # shown of one that is bytes
_BULK = 1024  # bytes, above which JSON names a value but does not hold it


def element_lines(dataset: Dataset, indent: str = "") -> Iterator[str]:
    """Each element on a line: tag, VR, bytes or items, keyword, value; items indented below.

    The File Meta Information comes first. Characters that would forge a line or move the cursor are escaped.
    """
    for part in (getattr(dataset, "file_meta", None) or Dataset(), dataset):
        for tag in sorted(part.keys()):
            where = f"{indent}({tag.group:04X},{tag.element:04X})"
            try:
                element = part[tag]
                said = _line(element)
            except Exception as error:  # noqa: BLE001 - one broken value; pydicom raises many kinds
                yield f"{where} cannot be read ({type(error).__name__})"
                continue
            yield f"{where} {said}"
            if element.VR == "SQ":
                for number, item in enumerate(element.value or (), 1):
                    yield f"{indent}  item {number}"
                    yield from element_lines(item, f"{indent}    ")


def json_model(dataset: Dataset, path: Path) -> dict[str, Any]:
    """The DICOM JSON model (PS3.18 Annex F) of the dataset of a file, without elements that cannot be read.

    Values of more than 1,024 bytes are URIs that name the file and the element.
    """
    model: dict[str, Any] = {}
    for tag in sorted(dataset.keys()):
        with contextlib.suppress(Exception):  # one broken value; pydicom raises many kinds
            model[f"{tag:08X}"] = dataset[tag].to_json_dict(
                lambda element: f"{path.as_uri()}#{element.tag:08X}", _BULK
            )
    return model


def _line(element: DataElement) -> str:
    name = element.keyword or f"[{_safe(element.name).strip('[]')}]"
    return f"{element.VR} {name:<32} {_value(element)}".rstrip()


def _value(element: DataElement) -> str:
    found = element.value
    if element.VR == "SQ":
        return f"{len(found or ())} item{'s' if len(found or ()) != 1 else ''}"
    if found is None or found == "":
        return "(empty)"
    if isinstance(found, bytes):
        more = " ..." if len(found) > _BYTES else ""
        return f"{len(found):,} bytes: {found[:_BYTES].hex(' ')}{more}"
    if isinstance(found, UID):
        return _safe(f"{found} = {found.name}" if found.name != found else found)
    if isinstance(found, (MultiValue, list)):
        return _cut(_safe("\\".join(map(str, found))), f" ({len(found)} values)")
    return _cut(_safe(str(found)), f" ({len(str(found))} characters)")


def _cut(said: str, how_long: str) -> str:
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ...{how_long}"


def _safe(said: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in said)
