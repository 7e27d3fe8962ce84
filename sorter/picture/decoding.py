"""The stored values of one frame, native or encapsulated.

Encapsulated frames go to the decoders that the archive itself uses (:mod:`sorter.parser.codecs`). What those
refuse for a doubt, and the archive therefore keeps encapsulated, is shown as pydicom decodes it: a picture
for a person may be doubtful, an archived pixel may not.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import get_nr_frames, pixel_array

from sorter.parser.codecs import SYNTAXES, Family
from sorter.parser.codecs import frame as encoded_frame
from sorter.parser.codestream import Undecodable
from sorter.parser.pixelmodule import PixelModule
from sorter.picture.reading import text

Values = npt.NDArray[Any]

_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class NoPictureError(ValueError):
    """There is nothing to show, or it cannot be shown; the text tells why, without values."""


def decoded(dataset: Dataset, frame: int = 0) -> Values:
    """The stored values of one frame: (rows, columns), or (rows, columns, 3) in RGB.

    Raises
    ------
    NoPictureError
        No pixel data, no such frame, or no decoder for them.
    """
    if not any(keyword in dataset for keyword in _KEYWORDS):
        raise NoPictureError("it has no pixel data")
    count = frames(dataset)
    if not 0 <= frame < count:
        raise NoPictureError(f"there is no frame {frame}: it has {count}, counted from 0")
    try:
        family = SYNTAXES.get(str(dataset.file_meta.TransferSyntaxUID))
        values = (
            pixel_array(dataset, index=frame) if family is None else _encapsulated(dataset, frame, family)
        )
    except MemoryError:
        raise NoPictureError("decoding its pixel data ran out of memory") from None
    except Exception as error:  # noqa: BLE001 - decoders document none, and quote values
        raise NoPictureError(f"its pixel data cannot be decoded ({type(error).__name__})") from None
    if not values.size or values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)):
        raise NoPictureError("its pixel data are neither grey nor colour of three samples")
    return values


def frames(dataset: Dataset) -> int:
    """Number of Frames; 1 where it is missing or unusable."""
    try:
        return int(get_nr_frames(dataset, warn=False))
    except (TypeError, ValueError):
        return 1


def _encapsulated(dataset: Dataset, frame: int, family: Family) -> Values:
    module = PixelModule(
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples=dataset.SamplesPerPixel,
        photometric=text(dataset, "PhotometricInterpretation"),
        planar=dataset.get("PlanarConfiguration") or 0,
        allocated=dataset.BitsAllocated,
        stored=dataset.BitsStored,
        signed=bool(dataset.PixelRepresentation),
        frames=frames(dataset),
    )
    try:
        one = encoded_frame(_stream(dataset, frame), family, module)
        values = one.decode()
    except (Undecodable, ValueError, RuntimeError):
        # A plugin is named, or pydicom would ask gdcm and Pillow as well.
        plugin = "pydicom" if family in (Family.RLE, Family.DEFLATE) else "pylibjpeg"
        return pixel_array(dataset, index=frame, decoding_plugin=plugin)
    return convert_color_space(values, "YBR_FULL", "RGB") if one.photometric == "YBR_FULL" else values


def _stream(dataset: Dataset, frame: int) -> bytes:
    """The bytes of one encoded frame."""
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    return get_frame(dataset.PixelData, frame, number_of_frames=frames(dataset), extended_offsets=offsets)
