"""What the header says of one frame: functional groups before the dataset, unusable values as none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian


def groups(dataset: Dataset, frame: int, sequence: str) -> Iterator[Dataset]:
    """Where an attribute of a frame may stand: its functional group, the shared one, the dataset.

    Source: PS3.3 C.7.6.16.
    """
    for outer, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = value(dataset, outer)
        if isinstance(items, Sequence) and number < len(items):
            inner = value(items[number], sequence)
            if isinstance(inner, Sequence) and inner:
                yield inner[0]
    yield dataset


def first_item(dataset: Dataset, sequence: str) -> Dataset | None:
    """The first item of a sequence; ``None`` where there is none."""
    items = value(dataset, sequence)
    return items[0] if isinstance(items, Sequence) and items else None


def number(dataset: Dataset, keyword: str, position: int = 0) -> float | None:
    """One value as a finite number; ``None`` where there is none."""
    said = value(dataset, keyword)
    listed = said if isinstance(said, (MultiValue, list)) else [said]
    try:
        found = float(listed[position])
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def text(dataset: Dataset, keyword: str) -> str:
    """A code string in upper case; empty where there is none."""
    said = value(dataset, keyword)
    return said.strip().upper() if isinstance(said, str) else ""


def value(dataset: Dataset, keyword: str) -> Any:
    """The value as pydicom has it; ``None`` where it is missing or cannot be read."""
    try:
        return dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds over malformed values
        return None


def is_big_endian(dataset: Dataset) -> bool:
    """Whether words of the dataset have their most significant byte first."""
    return str(dataset.file_meta.TransferSyntaxUID) == ExplicitVRBigEndian
