"""Look-up tables: Modality LUT, VOI LUT and palettes (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5).

pydicom expands segmented palettes. Its other LUT functions are not used: they wrap around where a table of
8-bit entries has more than 256, and refuse entries that are packed two to a word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from sorter.picture.decoding import NoPictureError, Values
from sorter.picture.reading import is_big_endian, value

Picture = npt.NDArray[np.uint8]
_PLANES = ("Red", "Green", "Blue")


def looked_up(values: Values, item: Dataset, dataset: Dataset) -> tuple[Values, int]:
    """The values through one item of a LUT sequence of ``dataset``, and the bits of its entries.

    Raises
    ------
    NoPictureError
        The table is incomplete.
    """
    entries, first, bits = _table(value(item, "LUTDescriptor"), value(item, "LUTData"), dataset)
    return _entry(values, entries, first), bits


def coloured(stored: Values, dataset: Dataset) -> Picture:
    """The RGB colours of indices into the dataset's palette.

    Raises
    ------
    NoPictureError
        The palette is incomplete.
    """
    if "RedPaletteColorLookupTableData" not in dataset:
        try:
            colours = apply_color_lut(stored, dataset)[..., :3]
        except (ValueError, AttributeError, TypeError, IndexError) as error:
            raise NoPictureError(f"its palette cannot be used ({type(error).__name__})") from None
        return eight_bits(colours, 8 * colours.dtype.itemsize)
    planes = []
    for name in _PLANES:
        descriptor = value(dataset, f"{name}PaletteColorLookupTableDescriptor")
        entries, first, bits = _table(
            descriptor, value(dataset, f"{name}PaletteColorLookupTableData"), dataset
        )
        planes.append(eight_bits(_entry(stored, entries, first), bits))
    return np.stack(planes, axis=-1)


def eight_bits(values: Values, bits: int) -> Picture:
    """Unsigned values of so many bits, spread over 8 bits."""
    return rounded(values if bits == 8 else values * (255 / ((1 << bits) - 1)))


def rounded(values: Values) -> Picture:
    """Values as the nearest of 0 to 255."""
    nearest: Picture = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return nearest


def _table(descriptor: Any, data: Any, dataset: Dataset) -> tuple[Values, int, int]:
    """(Entries, the first value mapped, bits of an entry)."""
    try:
        count, first, bits = (int(one) for one in descriptor)
        count = count or 1 << 16
        entries: Values
        if isinstance(data, bytes):
            entries = _unpacked(data, count, big_endian=is_big_endian(dataset))
        else:
            entries = np.atleast_1d(np.asarray(data)).astype("<u2")
            if len(entries) < count:  # two to a word
                entries = entries.view("u1")
    except (TypeError, ValueError) as error:
        raise NoPictureError(f"a look-up table cannot be used ({type(error).__name__})") from None
    entries = entries[:count]
    if not len(entries):
        raise NoPictureError("a look-up table is empty")
    return entries, first, max(bits, int(entries.max()).bit_length())


def _unpacked(data: bytes, count: int, *, big_endian: bool) -> Values:
    if len(data) >= 2 * count:
        return np.frombuffer(data, ">u2" if big_endian else "<u2")
    entries = np.frombuffer(data, "u1")
    return entries.view("u2").byteswap().view("u1") if big_endian else entries


def _entry(values: Values, entries: Values, first: int) -> Values:
    """The entry of each value; values beyond the table have its first or its last."""
    if first >= 1 << 15 and values.min() < 0:
        first -= 1 << 16  # a negative number that was read as an unsigned one
    found: Values = entries[np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)]
    return found
