"""All elements of a dataset as lines: nested, long values cut."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

_LONGEST = 70  # of a value
_BYTES = 16  # shown of one that is bytes


def element_lines(dataset: Dataset, indent: str = "") -> Iterator[str]:
    """Each element on a line: tag, VR, bytes or items, keyword, value; items indented below.

    The File Meta Information comes first. Characters that would forge a line or move the cursor are escaped.
    """
    meta = getattr(dataset, "file_meta", None)
    for element in [*(meta or ()), *dataset]:
        yield indent + _line(element)
        if element.VR == "SQ":
            for number, item in enumerate(element.value or (), 1):
                yield f"{indent}  item {number}"
                yield from element_lines(item, f"{indent}    ")


def _line(element: DataElement) -> str:
    name = element.keyword or f"[{_safe(element.name).strip('[]')}]"
    tag = f"({element.tag.group:04X},{element.tag.element:04X})"
    return f"{tag} {element.VR} {name:<32} {_value(element)}".rstrip()


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
        return f"{found} = {found.name}" if found.name != found else str(found)
    if isinstance(found, (MultiValue, list)):
        return _cut(_safe("\\".join(map(str, found))), f" ({len(found)} values)")
    return _cut(_safe(str(found)), f" ({len(str(found))} characters)")


def _cut(said: str, how_long: str) -> str:
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ...{how_long}"


def _safe(said: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in said)
