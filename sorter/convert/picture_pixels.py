"""Pixels, window, colour profile and lossy past of a picture. PS3.3 C.7.6.3, C.11.2, C.11.15, C.7.6.1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from sorter.convert.facts import Facts, decimal
from sorter.convert.instance import put
from sorter.convert.picture_pages import Page
from sorter.convert.values import Scale

_WINDOW = ("WindowCenter", "WindowWidth")
_ICC_HEADER, _MAX_ICC = 128, 16 << 20
_CLASS, _SPACE, _PCS, _MARK = slice(12, 16), slice(16, 20), slice(20, 24), slice(36, 40)
_PROFILE_ID = slice(84, 100)


def put_pixel_module(
    dataset: Dataset, shape: tuple[int, ...], photometric: str, *, bits: int, signed: bool = False
) -> None:
    """Image Pixel but for the pixels; colour by pixel.

    Parameters
    ----------
    shape
        (rows, columns, ...)
    """
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = 1 if photometric == "MONOCHROME2" else 3
    dataset.PhotometricInterpretation = photometric
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(signed)


def put_page(dataset: Dataset, facts: Facts, page: Page) -> None:
    """One page, native; black and white in 8 bits."""
    pixels = page.pixels
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    bits, signed = pixels.dtype.itemsize * 8, pixels.dtype.kind == "i"
    photometric = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    put_pixel_module(dataset, pixels.shape, photometric, bits=bits, signed=signed)
    if page.scale is not None:
        _put_meaning(dataset, facts, page.scale, pixels)
    elif photometric == "MONOCHROME2":
        put_window(dataset, facts, *grey_range(pixels))
    put_pixels(dataset, pixels.tobytes())


def put_pixels(dataset: Dataset, content: bytes) -> None:
    """Native Pixel Data, little endian, of even length. PS3.5 8.1.1, A.2."""
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated <= 8 else "OW"


def grey_range(pixels: NDArray[Any]) -> tuple[int, int]:
    """What black and white are: all that 8 bits can say, and of more bits what is in the picture."""
    if pixels.dtype == np.uint8:
        return 0, 255
    return int(pixels.min()), int(pixels.max())


def put_window(dataset: Dataset, facts: Facts, low: float, high: float) -> None:
    """The window that is stated, else the one that shows these two values as black and white.

    By the function LINEAR, which is off by half and wants a width of one more: so it is exact for any two
    values, fractions as well. PS3.3 C.11.2.1.2.1.
    """
    if all(keyword in facts.values for keyword in _WINDOW):
        put(dataset, facts, _WINDOW)
        return
    dataset.WindowCenter = decimal((low + high + 1) / 2)
    dataset.WindowWidth = decimal(high - low + 1)


def _put_meaning(dataset: Dataset, facts: Facts, scale: Scale, stored: NDArray[Any]) -> None:
    """Rescale of values that 16 bits do not hold as they are, and a window over these. PS3.3 C.11.1."""
    dataset.RescaleIntercept, dataset.RescaleSlope = decimal(scale.intercept), decimal(scale.slope)
    dataset.RescaleType = "US"  # unspecified
    low, high = (one * scale.slope + scale.intercept for one in grey_range(stored))
    put_window(dataset, facts, low, high)


def put_lossy(dataset: Dataset, ratio: float, method: str) -> None:
    """That it was compressed with loss, once. PS3.3 C.7.6.1.1.5."""
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = decimal(round(ratio, 3))
    dataset.LossyImageCompressionMethod = method


def put_colour_profile(dataset: Dataset, icc: bytes) -> None:
    """The picture's ICC profile, where DICOM can have it.

    DICOM wants an input profile (C.11.15.1.1). A display profile made of a matrix and curves, as sRGB is, has
    the same elements and says the same of an input device, so its class is renamed.
    """
    if not _is_usable(icc):
        return
    if icc[_CLASS] == b"mntr":
        icc = icc[: _CLASS.start] + b"scnr" + icc[_CLASS.stop :]
        # The ID is a digest of the profile as it was; zeros say that there is none. ICC.1:2022, 7.2.18.
        icc = icc[: _PROFILE_ID.start] + bytes(16) + icc[_PROFILE_ID.stop :]
    dataset.ICCProfile = icc + b"\0" * (len(icc) % 2)


def _is_usable(icc: bytes) -> bool:
    """A profile of RGB whose header and table of elements fit its length. ICC.1:2022, 7.2 and 7.3."""
    if not _ICC_HEADER + 4 <= len(icc) <= _MAX_ICC or int.from_bytes(icc[:4], "big") != len(icc):
        return False
    known = icc[_CLASS] in (b"scnr", b"mntr") and icc[_PCS] in (b"XYZ ", b"Lab ")
    if not known or icc[_MARK] != b"acsp" or icc[_SPACE] != b"RGB ":
        return False
    count = int.from_bytes(icc[_ICC_HEADER : _ICC_HEADER + 4], "big")
    table = icc[_ICC_HEADER + 4 : _ICC_HEADER + 4 + 12 * count]
    if len(table) != 12 * count:
        return False
    entries = [table[at : at + 12] for at in range(0, len(table), 12)]
    ends = (int.from_bytes(one[4:8], "big") + int.from_bytes(one[8:], "big") for one in entries)
    if any(end > len(icc) for end in ends):
        return False
    names = {one[:4] for one in entries}
    return icc[_CLASS] == b"scnr" or {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} <= names
