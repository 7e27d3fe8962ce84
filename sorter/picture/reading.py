"""What the header says of one frame: functional groups before the dataset, unusable values as none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRBigEndian


def groups(dataset: Dataset, frame: int, sequence: str) -> Iterator[Dataset]:
    """Where an attribute of a frame may stand: its functional group, the shared one, the dataset.

    Source: PS3.3 C.7.6.16.
    """
    for outer, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(outer) or ()
        if number < len(items) and (inner := items[number].get(sequence)):
            yield inner[0]
    yield dataset


def number(dataset: Dataset, keyword: str, position: int = 0) -> float | None:
    """One value as a finite number; ``None`` where there is none."""
    value: Any = dataset.get(keyword)
    listed = value if isinstance(value, (MultiValue, list)) else [value]
    try:
        found = float(listed[position])
    except (TypeError, ValueError, IndexError):
        return None
    return found if math.isfinite(found) else None


def text(dataset: Dataset, keyword: str) -> str:
    """A code string in upper case; empty where there is none."""
    value = dataset.get(keyword)
    return value.strip().upper() if isinstance(value, str) else ""


def is_big_endian(dataset: Dataset) -> bool:
    """Whether words of the dataset have their most significant byte first."""
    return str(dataset.file_meta.TransferSyntaxUID) == ExplicitVRBigEndian
