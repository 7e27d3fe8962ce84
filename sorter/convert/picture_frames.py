"""Several pages as frames of one Multi-frame Secondary Capture Image. PS3.3 A.8, C.8.6.3, C.7.6.6."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.tag import Tag

from sorter.convert.facts import Facts, decimal
from sorter.convert.picture_pages import Page, Picture
from sorter.convert.picture_pixels import grey_range, put_pixel_module, put_pixels, put_window

_ROOT = "1.2.840.10008.5.1.4.1.1.7"
SINGLE_BIT, GREYSCALE_BYTE, GREYSCALE_WORD, TRUE_COLOUR = (f"{_ROOT}.{n}" for n in (1, 2, 3, 4))
_OF_GREY = {"bool": SINGLE_BIT, "uint8": GREYSCALE_BYTE, "uint16": GREYSCALE_WORD}


def sop_class_of_frames(pages: Sequence[Page]) -> str:
    """The class that holds all pages as frames; empty where there is one page, or no class can."""
    first = pages[0]
    if len(pages) == 1 or any(page.scale or page.form != first.form for page in pages):
        return ""
    return TRUE_COLOUR if first.pixels.ndim == 3 else _OF_GREY.get(first.pixels.dtype.name, "")


def put_frames(dataset: Dataset, facts: Facts, picture: Picture) -> None:
    """Frames, what leads from one to the next, and how grey is shown."""
    frames = [page.pixels for page in picture.pages]
    first = frames[0]
    bits = 1 if first.dtype == np.bool_ else first.dtype.itemsize * 8
    put_pixel_module(dataset, first.shape, "RGB" if first.ndim == 3 else "MONOCHROME2", bits=bits)
    dataset.NumberOfFrames = len(frames)
    _put_increment(dataset, picture.durations)
    if first.ndim == 2 and bits > 1:
        dataset.PresentationLUTShape = "IDENTITY"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = decimal(0), decimal(1), "US"
        ranges = [grey_range(frame) for frame in frames]
        put_window(dataset, facts, min(low for low, _ in ranges), max(high for _, high in ranges))
    if bits == 1:  # frame after frame without a gap, the first pixel in the lowest bit. PS3.5 8.1.1
        put_pixels(dataset, np.packbits(np.stack(frames).ravel(), bitorder="little").tobytes())
    else:
        put_pixels(dataset, b"".join(frame.tobytes() for frame in frames))


def _put_increment(dataset: Dataset, durations: Sequence[float]) -> None:
    """Times between the frames of an animation, else numbers of pages. PS3.3 C.7.6.5, C.8.6.4."""
    if not durations:
        dataset.PageNumberVector = list(range(1, dataset.NumberOfFrames + 1))
        dataset.FrameIncrementPointer = Tag("PageNumberVector")
    elif len(set(durations)) == 1:
        dataset.FrameTime = decimal(durations[0])
        dataset.FrameIncrementPointer = Tag("FrameTime")
    else:
        dataset.FrameTimeVector = [decimal(one) for one in (0.0, *durations[:-1])]
        dataset.FrameIncrementPointer = Tag("FrameTimeVector")
