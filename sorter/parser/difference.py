"""Two instances side by side: what they are, which elements differ and how, and whether the pixels do.

For the eyes of a person who asked for it (``sorter quarantine show``): it gives header values. Which elements
differ is decided by :mod:`sorter.parser.fingerprint`, as when they were judged; pydicom only shows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import zip_longest
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset as Read
from pydicom.uid import UID

from sorter.parser.codecs import SYNTAXES
from sorter.parser.elements import Buffer, Dataset, walk
from sorter.parser.fingerprint import fingerprint
from sorter.parser.frames import Encoded, Kept, find_places, native_arrays, read_module, undecodable
from sorter.parser.header import read_header, wanted_tags
from sorter.parser.pixelmodule import Pixel

MOST_ELEMENTS = 200
MOST_CHARACTERS = 100
_MOST_LEVELS = 16
_PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its file, its encoding, and the header values that identify it."""

    size: int
    sha256: str
    transfer_syntax: str
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One element with both values, ``None`` where it is not there.

    ``path`` is like ``(0040,0275)[1].(0040,0007)``: the second item of a sequence, an element in it.
    """

    path: str
    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True, slots=True)
class PixelDifference:
    """Whether the decoded pixels differ, and by how much.

    ``verdict`` is ``same``, ``different``, ``none`` (neither has any) or ``unknown`` (see ``detail``).
    ``values`` counts samples that differ, of ``values_of``; ``largest`` is the largest absolute difference.
    """

    verdict: str
    detail: str = ""
    frames: int = 0
    frames_of: int = 0
    values: int = 0
    values_of: int = 0
    largest: float = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole page; of the differences the first :data:`MOST_ELEMENTS`, and how many there are."""

    first: Side
    second: Side
    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    pixels: PixelDifference = field(default_factory=lambda: PixelDifference("unknown"))


def compare(first: Buffer, second: Buffer) -> Comparison:
    """Compare two whole DICOM streams; reads all of both and decodes their pixels, a frame at a time.

    Raises
    ------
    Unparsable
        One of them is not one whole DICOM stream.
    """
    differing = list(_differing(first, second))
    return Comparison(
        side(first), side(second), differing[:MOST_ELEMENTS], len(differing), compare_pixels(first, second)
    )


def side(data: Buffer) -> Side:
    """What one stream is.

    Raises
    ------
    Unparsable
        It is not one whole DICOM stream.
    """
    dataset = walk(data, wanted_tags())
    values = {keyword: _short(str(value)) for keyword, value in read_header(dataset).values.items()}
    if sop_class := values.get("SOPClassUID"):
        values["SOPClass"] = UID(sop_class).name
    name = UID(dataset.transfer_syntax_uid).name
    return Side(len(data), hashlib.sha256(data).hexdigest(), name, values)


# -- elements -----------------------------------------------------------------------------------------------


def _differing(first: Buffer, second: Buffer) -> Iterator[Difference]:
    mine, theirs = fingerprint(first).elements, fingerprint(second).elements
    tags = sorted(tag for tag in mine.keys() | theirs.keys() if mine.get(tag) != theirs.get(tag))
    if not tags:
        return
    one, other = _read(first), _read(second)
    for tag in tags:
        number = int(tag[1:5] + tag[6:10], 16)
        yield from _shown(one, other, number, tag) or [_unshown(tag, tag in mine, tag in theirs)]


def _shown(one: Read, other: Read, number: int, tag: str) -> list[Difference]:
    try:
        return list(_element(one.get(number), other.get(number), tag, 0))
    except Exception:  # noqa: BLE001 - 8 and more types escape a damaged header; the caller names its tag
        return []


def _read(data: Buffer) -> Read:
    """The dataset without its pixels, by pydicom; empty where that cannot read it."""
    try:
        return pydicom.dcmread(BytesIO(data[:]), stop_before_pixels=True, force=True)
    except Exception:  # noqa: BLE001 - as above; then the differing elements are named and not shown
        return Read()


def _element(first: Any, second: Any, path: str, level: int) -> Iterator[Difference]:
    """What differs in an element, or in the items of a sequence."""
    if level < _MOST_LEVELS and _is_sequence(first) and _is_sequence(second):
        for number, (one, other) in enumerate(zip_longest(first.value, second.value)):
            yield from _items(one, other, f"{path}[{number}]", level + 1)
    elif _value(first) != _value(second):
        yield Difference(path, _name(first, second), _value(first), _value(second))


def _items(first: Read | None, second: Read | None, path: str, level: int) -> Iterator[Difference]:
    if first is None or second is None:
        shown = [None if one is None else f"item with {len(one)} elements" for one in (first, second)]
        yield Difference(path, "", *shown)
        return
    for tag in sorted({*first.keys(), *second.keys()}):
        name = f"{path}.({tag.group:04X},{tag.element:04X})"
        yield from _element(first.get(tag), second.get(tag), name, level)


def _is_sequence(element: DataElement | None) -> bool:
    return element is not None and element.VR == "SQ" and element.value is not None


def _value(element: DataElement | None) -> str | None:
    """The value as one short line; binary as its length and the beginning of its digest."""
    if element is None:
        return None
    value = element.value
    if element.VR == "SQ":
        return f"sequence of {len(value or ())} items"
    if isinstance(value, bytes):
        return f"{len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()[:16]}"
    if value is None:
        return ""
    text = "\\".join(map(str, value)) if isinstance(value, list | pydicom.multival.MultiValue) else str(value)
    return _short(text)


def _short(text: str) -> str:
    """One printable line; of a long text its beginning and a digest, so that any two look different."""
    text = "".join(char if char.isprintable() else " " for char in text)
    if len(text) <= MOST_CHARACTERS:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{text[:MOST_CHARACTERS]}... ({len(text)} characters, SHA-256 {digest})"


def _name(first: DataElement | None, second: DataElement | None) -> str:
    element = first if first is not None else second
    assert element is not None
    return element.name


def _unshown(tag: str, mine: bool, theirs: bool) -> Difference:
    """An element that pydicom shows alike: behind the pixel data, or different only in its bytes."""
    shown = [("there, not shown" if there else None) for there in (mine, theirs)]
    return Difference(tag, "", *shown)


# -- pixels -------------------------------------------------------------------------------------------------


def compare_pixels(first: Buffer, second: Buffer) -> PixelDifference:
    """Compare the decoded pixels, frame by frame.

    Raises
    ------
    Unparsable
        One of them is not one whole DICOM stream.
    """
    mine, theirs = walk(first, frozenset()), walk(second, frozenset())
    if mine.pixel_data is None and theirs.pixel_data is None:
        return PixelDifference("none")
    if mine.pixel_data is None or theirs.pixel_data is None:
        return PixelDifference("different", "only one has pixel data")
    try:
        return _frames_compared(list_frames(mine), list_frames(theirs))
    except Kept as kept:
        return PixelDifference("unknown", f"cannot be decoded: {kept.note}")


def list_frames(dataset: Dataset) -> Iterator[Pixel]:
    """Each frame decoded, one at a time.

    Raises
    ------
    Kept
        They cannot be decoded; also while iterating.
    """
    pixel_data = dataset.pixel_data
    assert pixel_data is not None
    if pixel_data.encapsulated:
        if dataset.transfer_syntax_uid not in SYNTAXES:
            raise undecodable("no decoder for this transfer syntax")
        yield from Encoded(dataset).pixels()
        return
    if pixel_data.tag != _PIXEL_DATA:
        raise undecodable("floating point pixel data")
    module = read_module(dataset, find_places(dataset))
    value = memoryview(dataset.data)[pixel_data.value : pixel_data.end]
    try:
        yield from native_arrays(value, module, dataset.transfer_syntax_uid, pixel_data.vr or "OW")
    except Exception as error:  # noqa: BLE001 - pydicom documents none
        raise undecodable(f"pydicom raised {type(error).__name__}") from None


def _frames_compared(mine: Iterator[Pixel], theirs: Iterator[Pixel]) -> PixelDifference:
    frames = frames_of = values = values_of = 0
    largest = 0.0
    for one, other in zip_longest(mine, theirs):
        frames_of += 1
        if one is None or other is None:
            frames += 1
            continue
        if one.shape != other.shape:
            shapes = " and ".join("x".join(map(str, array.shape)) for array in (one, other))
            return PixelDifference("different", f"frames of {shapes} pixels")
        values_of += one.size
        unequal = one != other
        if count := int(np.count_nonzero(unequal)):
            frames += 1
            values += count
            gap = one[unequal].astype("f8") - other[unequal].astype("f8")
            largest = max(largest, float(np.abs(gap).max()))
    if not frames:
        return PixelDifference("same", frames_of=frames_of, values_of=values_of)
    return PixelDifference("different", "", frames, frames_of, values, values_of, largest)
