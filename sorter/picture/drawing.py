"""Decoded frame -> palette, or modality LUT -> VOI LUT or window -> MONOCHROME1 inverted -> square pixels.

In enhanced instances the functional groups of the frame speak first. Overlays are not drawn. Sources: PS3.4
N.2, PS3.3 C.7.6.3, C.7.6.16.2, C.11.1 and C.11.2.
"""

from __future__ import annotations

import warnings

import numpy as np
from pydicom import Dataset

from sorter.picture.decoding import Values, decoded
from sorter.picture.reading import first_item, groups, number, text
from sorter.picture.shading import Window, measured_shades, shaded, stated_shades
from sorter.picture.tables import Picture, coloured, eight_bits, looked_up, rounded

_FARTHEST = 16.0  # from square; pixels longer than that are a mistake in the header


def picture(dataset: Dataset, *, frame: int = 0, window: Window = "auto", square: bool = True) -> Picture:
    """One frame as a grey or colour picture of 8 bits.

    Parameters
    ----------
    dataset
        An instance with its File Meta Information, its pixel data native or encapsulated.
    frame
        From 0.
    window
        ``"auto"``: the first VOI LUT, or else the first window, of the frame; where there is neither, from
        the 0.5 to the 99.5 percentile of what is not padding. ``(center, width)`` in units of the modality,
        as by VOI LUT Function LINEAR. ``None``: from the least value of the frame to the largest. Colour
        has no window.
    square
        Where pixels are not square, enlarge the picture along the axis of the longer side.

    Returns
    -------
    array
        ``uint8``: (rows, columns), or (rows, columns, 3) in RGB.

    Raises
    ------
    NoPictureError
        No pixel data, no such frame, or no way to decode it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote values
        photometric = text(dataset, "PhotometricInterpretation")
        stored = decoded(dataset, frame)
        if photometric == "PALETTE COLOR":
            shown = coloured(stored, dataset)
        elif stored.ndim == 3:
            shown = eight_bits(stored, int(number(dataset, "BitsStored") or 8 * stored.itemsize))
        else:
            shown = _grey(stored, dataset, frame, window)
            if photometric == "MONOCHROME1":
                shown = 255 - shown
        return _squared(shown, aspect(dataset, frame)) if square else shown


def _grey(stored: Values, dataset: Dataset, frame: int, window: Window) -> Picture:
    how = stated_shades(dataset, frame, window)
    if how is None:
        how = measured_shades(dataset, stored, rescaled(stored, dataset, frame), window)
    if stored.dtype.kind not in "iu":
        return shaded(rescaled(stored, dataset, frame), dataset, frame, how)
    low, high = int(stored.min()), int(stored.max())
    if high - low >= stored.size:
        return shaded(rescaled(stored, dataset, frame), dataset, frame, how)
    # Each level once, not each pixel: most frames have many times more pixels than levels.
    levels = shaded(rescaled(np.arange(low, high + 1), dataset, frame), dataset, frame, how)
    shown: Picture = levels[stored.astype(np.int64) - low]
    return shown


def rescaled(stored: Values, dataset: Dataset, frame: int = 0) -> Values:
    """The values of one frame in units of the modality, by its Modality LUT or its slope and intercept."""
    for group in groups(dataset, frame, "PixelValueTransformationSequence"):
        if table := first_item(group, "ModalityLUTSequence"):
            return looked_up(stored, table, dataset)[0]
        slope, intercept = number(group, "RescaleSlope"), number(group, "RescaleIntercept") or 0.0
        if slope:
            return stored if (slope, intercept) == (1, 0) else stored * slope + intercept
    return stored


def aspect(dataset: Dataset, frame: int = 0) -> float:
    """The height of a pixel over its width; 1 where it is not known or beyond belief."""
    for group in groups(dataset, frame, "PixelMeasuresSequence"):
        for keyword in ("PixelSpacing", "PixelAspectRatio", "ImagerPixelSpacing"):
            height, width = number(group, keyword, 0) or 0, number(group, keyword, 1) or 0
            if height > 0 and width > 0:
                return height / width if 1 / _FARTHEST <= height / width <= _FARTHEST else 1.0
    return 1.0


def _squared(shown: Picture, ratio: float) -> Picture:
    """The picture with square pixels, interpolated linearly."""
    axis, factor = (0, ratio) if ratio >= 1 else (1, 1 / ratio)
    length = shown.shape[axis]
    longer = round(length * factor)
    if longer == length:
        return shown
    place = np.clip((np.arange(longer) + 0.5) / factor - 0.5, 0, length - 1)
    before = place.astype(np.int64)
    after = np.minimum(before + 1, length - 1)
    weight = np.expand_dims(
        (place - before).astype(np.float32), [one for one in range(shown.ndim) if one != axis]
    )
    return rounded(shown.take(before, axis) * (1 - weight) + shown.take(after, axis) * weight)
