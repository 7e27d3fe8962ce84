"""Many instances that differ in a few elements: what they share is encoded once.

A series of hundreds of slices then costs little more than its pixels do.
"""

from __future__ import annotations

import struct

from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.tag import BaseTag, Tag

from sorter.convert.errors import ConversionError
from sorter.convert.instance import file_meta, write

# What changes from slice to slice; all else is encoded with the first.
_CHANGING = tuple(
    Tag(keyword)
    for keyword in (
        "SOPInstanceUID",
        "InstanceNumber",
        "ImagePositionPatient",
        "TemporalPositionIdentifier",
        "NumberOfTemporalPositions",
    )
)
_PIXEL_DATA = struct.Struct("<HH2s2xL")  # tag, VR, two reserved bytes, length. PS3.5 7.1.2


def write_pixels(dataset: Dataset, keyword: str, vr: bytes, pixels: bytes) -> bytes:
    """The file of a dataset whose last element this is, little endian; the pixels are copied just once.

    Raises
    ------
    ConversionError
        They are longer than an element can be. PS3.5 7.1.2.
    """
    padding = b"\0" * (len(pixels) % 2)
    if len(pixels) + len(padding) >= 0xFFFFFFFF:
        raise ConversionError("it is too large for one file")
    tag = Tag(keyword)
    header = _PIXEL_DATA.pack(tag.group, tag.element, vr, len(pixels) + len(padding))
    return b"".join((write(dataset), header, pixels, padding))


class SliceWriter:
    """Writes instances in explicit VR little endian that share all but what names and places a slice.

    Parameters
    ----------
    dataset
        What is shared, without Pixel Data.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._encodings = convert_encodings(dataset.get("SpecificCharacterSet"))
        self._vr = b"OB" if dataset.BitsAllocated <= 8 else b"OW"
        self._elements: dict[BaseTag, bytes] = {}
        self._encode(dataset, tuple(dataset.keys()))

    def write(self, dataset: Dataset, frame: bytes) -> bytes:
        """The file of one slice: the dataset as it is now, and these pixels, little endian."""
        self._encode(dataset, tuple(tag for tag in _CHANGING if tag in dataset))
        stream = _stream()
        stream.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(stream, file_meta(dataset))
        padding = b"\0" * (len(frame) % 2)
        pixel_data = _PIXEL_DATA.pack(0x7FE0, 0x0010, self._vr, len(frame) + len(padding))
        header = [self._elements[tag] for tag in sorted(self._elements)]
        return b"".join((stream.getvalue(), *header, pixel_data, frame, padding))

    def _encode(self, dataset: Dataset, tags: tuple[BaseTag, ...]) -> None:
        for tag in tags:
            stream = _stream()
            write_data_element(stream, dataset[tag], self._encodings)
            self._elements[tag] = stream.getvalue()


def _stream() -> DicomBytesIO:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    return stream
