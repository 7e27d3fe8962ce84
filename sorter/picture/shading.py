"""Which VOI LUT or window applies to a grey frame, and what it makes of the values (PS3.3 C.11.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from sorter.picture.decoding import NoPictureError, Values
from sorter.picture.reading import first_item, groups, number, text
from sorter.picture.tables import Picture, eight_bits, looked_up, rounded

Window = Literal["auto"] | tuple[float, float] | None

_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class Shades:
    """How the values of a frame become shades of grey.

    Parameters
    ----------
    origin
        ``voi_lut`` or ``window``, which the file has; ``given``; ``percentile``; or ``range``.
    center, width
        Of the window, in units of the modality (CT: HU); 0 for a VOI LUT.
    function
        VOI LUT Function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID`` (PS3.3 C.11.2.1.2 and C.11.2.1.3).
    """

    origin: str
    center: float = 0.0
    width: float = 0.0
    function: str = "LINEAR_EXACT"


def shades(dataset: Dataset, frame: int, stored: Values, values: Values, window: Window) -> Shades:
    """How a grey frame is to be shown.

    Parameters
    ----------
    stored, values
        Of the frame, before and after the modality LUT.
    window
        As for :func:`sorter.picture.picture`.

    Raises
    ------
    NoPictureError
        The given window is none.
    """
    return stated_shades(dataset, frame, window) or measured_shades(dataset, stored, values, window)


def stated_shades(dataset: Dataset, frame: int, window: Window) -> Shades | None:
    """What the window or else the file says; ``None`` where the values decide."""
    if isinstance(window, tuple):
        center, width = map(float, window)
        if not (math.isfinite(center) and 0 < width < math.inf):
            raise NoPictureError("a window has a center, and a width above 0")
        return Shades("given", center, width, "LINEAR")
    if window is None:
        return None
    for group in groups(dataset, frame, "FrameVOILUTSequence"):
        if first_item(group, "VOILUTSequence"):
            return Shades("voi_lut")
        middle, span = number(group, "WindowCenter"), number(group, "WindowWidth")
        if middle is not None and span is not None and span > 0:
            return Shades("window", middle, span, text(group, "VOILUTFunction") or "LINEAR")
    return None


def measured_shades(dataset: Dataset, stored: Values, values: Values, window: Window) -> Shades:
    """From the percentiles of the values, or from the least to the largest; see :func:`shades`."""
    finite = np.isfinite(values)
    if not finite.any():
        return Shades("range")
    if window == "auto":
        kept = finite & ~_padding(stored, dataset)
        low, high = np.percentile(values[kept if kept.any() else finite], _PERCENTILES)
        if low < high:
            return Shades("percentile", float(low + high) / 2, float(high - low))
    low, high = float(values[finite].min()), float(values[finite].max())
    return Shades("range", (low + high) / 2, high - low)


def shaded(values: Values, dataset: Dataset, frame: int, how: Shades) -> Picture:
    """The shades of values in units of the modality, 0 to 255; what is not a number is 0."""
    if how.origin == "voi_lut":
        candidates = groups(dataset, frame, "FrameVOILUTSequence")
        item = next(filter(None, (first_item(one, "VOILUTSequence") for one in candidates)))
        return eight_bits(*looked_up(values, item, dataset))
    x = np.nan_to_num(values.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    center, width = how.center, how.width
    if how.function == "SIGMOID":
        return rounded(255 / (1 + np.exp(np.clip(-4 * (x - center) / width, -700, 700))))
    if how.function == "LINEAR" and width >= 1:  # below 1 it is no LINEAR window: taken as exact
        center, width = center - 0.5, width - 1
    if width <= 0:
        return np.where(x > center, 255, 0).astype(np.uint8)
    return rounded(((x - center) / width + 0.5) * 255)


def _padding(stored: Values, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Which values are padding (PS3.3 C.7.5.1.1.2)."""
    one, other = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if one is None:
        return np.zeros(stored.shape, bool)
    low, high = sorted((one, one if other is None else other))
    inside: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return inside
