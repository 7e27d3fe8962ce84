"""PNG, JPEG, TIFF, BMP and GIF become Secondary Capture, or VL Photographic where that is asked for.

One page is a Secondary Capture Image. Several of one shape and kind are frames of one of the Multi-frame
Secondary Capture Images; of several kinds, instances of one series. A baseline JPEG is encapsulated with its
entropy-coded bytes as they came; all else is decoded and stored native. Nothing but pixels, colour profile
and the times of an animation is taken over: no EXIF, no XMP, no comment. PS3.3 A.8, C.8.6; PS3.5 8.2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from sorter.convert import photo
from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts, decimal
from sorter.convert.instance import file_meta, new_dataset, put
from sorter.convert.jpeg import Jpeg, baseline
from sorter.convert.keywords import IMAGE
from sorter.convert.options import Options
from sorter.convert.picture_frames import put_frames, sop_class_of_frames
from sorter.convert.picture_pages import Picture, check, decoded, is_rotated, opened
from sorter.convert.picture_pixels import (
    put_colour_profile,
    put_lossy,
    put_page,
    put_pixel_module,
    put_window,
)
from sorter.convert.picture_whole import check_whole
from sorter.convert.recognise import Format, recognise
from sorter.convert.series import SECONDARY_CAPTURE
from sorter.convert.uids import Uids

_JPEG_METHOD = "ISO_10918_1"


def from_picture(source: Path | bytes, facts: Facts, options: Options) -> Iterator[Dataset]:
    """The instances that a picture becomes, with File Meta Information, in the order of its pages.

    Parameters
    ----------
    source
        The file, or its content.

    Raises
    ------
    ConversionError
        It is no picture, damaged, cut short or too large, or its class cannot hold it.
    FormatsMissingError
        Pillow is not installed.
    OSError
        It cannot be read.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    form = recognise(content, len(content))
    if form not in (Format.PNG, Format.JPEG, Format.TIFF, Format.BMP, Format.GIF):
        raise ConversionError("it is not a picture that is understood here: PNG, JPEG, TIFF, BMP or GIF")
    if options.kind not in ("auto", "sc", "photo"):
        raise ConversionError(f"kind {options.kind} is for volumes; a picture becomes sc or photo")
    making = _Making(facts, options, Uids(facts, options, hashlib.sha256(content).hexdigest()), len(content))
    kept, picture = _opened(content, form)
    if kept is not None and (kept.photometric != "RGB" or options.kind != "photo"):
        yield making.encapsulated(kept, picture.icc)
    elif (several := sop_class_of_frames(picture.pages)) and options.kind != "photo":
        yield making.frames(picture, several)
    else:
        for number in range(1, len(picture.pages) + 1):
            yield making.page(picture, number)


def _opened(content: bytes, form: Format) -> tuple[Jpeg | None, Picture]:
    """What is to be encapsulated, if that can be, and what was decoded of it, which proves it whole."""
    check_whole(content, form)
    with opened(content, form) as picture:
        check(picture)
        kept = baseline(content) if form is Format.JPEG and not is_rotated(picture) else None
        return kept, decoded(picture)


class _Making:
    """The instances of one file.

    Parameters
    ----------
    size
        Of the file, in bytes.
    """

    def __init__(self, facts: Facts, options: Options, uids: Uids, size: int) -> None:
        self._facts, self._uids, self._size = facts, uids, size
        self._photo = options.kind == "photo"

    def encapsulated(self, jpeg: Jpeg, icc: bytes) -> Dataset:
        """A JPEG as it came."""
        dataset = self._new(photo.VL_PHOTOGRAPHIC if self._photo else SECONDARY_CAPTURE)
        put_pixel_module(dataset, (jpeg.rows, jpeg.columns), jpeg.photometric, bits=8)
        if jpeg.components == 1:
            put_window(dataset, self._facts, 0, 255)
        else:
            put_colour_profile(dataset, icc)
        put_lossy(dataset, jpeg.ratio, _JPEG_METHOD)
        dataset.PixelData = encapsulate([jpeg.stream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        return self._finished(dataset, JPEGBaseline8Bit)

    def page(self, picture: Picture, number: int) -> Dataset:
        """One page, native."""
        page = picture.pages[number - 1]
        if self._photo and (page.pixels.dtype.itemsize > 1 or page.scale):
            raise ConversionError("VL Photographic holds 8 bits a sample, the picture has more; use kind sc")
        dataset = self._new(photo.VL_PHOTOGRAPHIC if self._photo else SECONDARY_CAPTURE, number)
        put_page(dataset, self._facts, page)
        return self._coloured(dataset, picture)

    def frames(self, picture: Picture, sop_class_uid: str) -> Dataset:
        """All pages as frames of one instance."""
        dataset = self._new(sop_class_uid)
        put_frames(dataset, self._facts, picture)
        return self._coloured(dataset, picture)

    def _coloured(self, dataset: Dataset, picture: Picture) -> Dataset:
        if dataset.SamplesPerPixel == 3:
            put_colour_profile(dataset, picture.icc)
        if picture.lossy:
            native = sum(page.pixels.nbytes for page in picture.pages)
            put_lossy(dataset, native / self._size, _JPEG_METHOD)
        return self._finished(dataset)

    def _new(self, sop_class_uid: str, number: int = 1) -> Dataset:
        """Everything but pixels. PS3.3 C.7.6.1, C.8.6.1."""
        dataset = new_dataset(
            self._facts,
            self._uids,
            sop_class_uid=sop_class_uid,
            modality=photo.MODALITY if self._photo else "OT",
            instance_number=number,
        )
        put(dataset, self._facts, tuple(one for one in IMAGE if one not in _OF_PIXELS))
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        dataset.PatientOrientation = None
        dataset.BurnedInAnnotation = self._facts.text("BurnedInAnnotation") or "YES"
        if not self._photo:
            dataset.ConversionType = "WSD"
            _put_spacing(dataset, self._facts.values.get("PixelSpacing"))
        return dataset

    def _finished(self, dataset: Dataset, transfer_syntax_uid: str = "1.2.840.10008.1.2.1") -> Dataset:
        if self._photo:
            photo.describe(dataset)
        dataset.file_meta = file_meta(dataset, transfer_syntax_uid)
        return dataset


_OF_PIXELS = ("PixelSpacing", "WindowCenter", "WindowWidth")


def _put_spacing(dataset: Dataset, spacing: list[Any] | None) -> None:
    """Spacing in mm where somebody states it: a picture's own dots per inch are about printing it.

    Nominal Scanned Pixel Spacing is for digitized film alone (PS3.3 C.8.6.1).
    """
    if spacing:
        dataset.PixelSpacing = [decimal(one) for one in spacing]
