"""Values of datasets that may be wrong or missing: what cannot be used is absent, never an exception."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)  # once: most keywords that are asked for are missing, and looking up costs the most


@contextmanager
def silenced() -> Iterator[None]:
    """Warnings of pydicom and nibabel quote values: patient data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def value(dataset: Dataset, keyword: str) -> Any:
    """The value, or ``None`` where it is missing, empty or not what its VR says."""
    tag = _tag(keyword)
    if tag not in dataset:
        return None
    try:
        found = dataset[tag].value
    except Exception:  # noqa: BLE001 - pydicom raises many kinds over malformed values
        return None
    return None if found is None or found == "" else found


def numbers(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...]:
    """Finite numbers; empty where they are missing, unusable, or not ``count`` of them."""
    found = value(dataset, keyword)
    if found is None:
        return ()
    several = found if hasattr(found, "__iter__") and not isinstance(found, str | bytes) else [found]
    try:
        converted = tuple(float(one) for one in several)
    except (TypeError, ValueError, OverflowError):
        return ()
    if not all(map(math.isfinite, converted)) or (count is not None and len(converted) != count):
        return ()
    return converted


def number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number, or ``None``."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def whole(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """One whole number."""
    found = number(dataset, keyword)
    return default if found is None else int(found)


def text(dataset: Dataset, keyword: str) -> str:
    """Text; several values joined by backslashes; empty where there is none."""
    found = value(dataset, keyword)
    if found is None:
        return ""
    # A PersonName can be iterated over too, letter by letter.
    several = found if isinstance(found, MultiValue | list | tuple) else [found]
    return "\\".join(str(one) for one in several)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is missing or no sequence."""
    found = value(dataset, keyword)
    try:
        return [item for item in found or () if isinstance(item, Dataset)]
    except TypeError:
        return []
