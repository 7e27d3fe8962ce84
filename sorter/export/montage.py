"""Contact sheet: many pictures on one; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]
T = TypeVar("T")

MOST = 400  # pictures on one sheet
_SHEET = 4096  # pixels on its longer side, at most
_LARGEST = 512  # of one picture


def sampled(shots: Sequence[T], most: int = MOST) -> list[T]:
    """Evenly spread over all, the first and the last among them, where there are more than ``most``."""
    if len(shots) <= most:
        return list(shots)
    return [shots[round(number * (len(shots) - 1) / (most - 1))] for number in range(most)]


def montage(pictures: Sequence[Picture]) -> Picture:
    """All pictures on one sheet, row by row, each in the middle of its cell on black.

    Parameters
    ----------
    pictures
        (rows, columns) or (rows, columns, 3), of any sizes; made smaller where the sheet would be too large.
    """
    across = math.ceil(math.sqrt(len(pictures)))
    down = math.ceil(len(pictures) / across)
    cell = min(_LARGEST, _SHEET // across, max(max(one.shape[:2]) for one in pictures))
    is_colour = any(one.ndim == 3 for one in pictures)
    sheet = np.zeros((down * cell, across * cell, 3) if is_colour else (down * cell, across * cell), np.uint8)
    for number, one in enumerate(pictures):
        small = _fitted(one, cell)
        if is_colour and small.ndim == 2:
            small = np.repeat(small[..., None], 3, axis=2)
        top = number // across * cell + (cell - small.shape[0]) // 2
        left = number % across * cell + (cell - small.shape[1]) // 2
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    return sheet


def _fitted(one: Picture, cell: int) -> Picture:
    share = cell / max(one.shape[:2])
    if share >= 1:
        return one
    size = (max(1, round(one.shape[1] * share)), max(1, round(one.shape[0] * share)))
    return np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX))
