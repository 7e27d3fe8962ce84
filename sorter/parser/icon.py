"""Icons: an Icon Image Sequence whose pixel data are encapsulated, made native (PS3.3 C.7.6.1.1.6)."""

from __future__ import annotations

import io

from pydicom.dataset import Dataset as PydicomDataset
from pydicom.encaps import generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from sorter.parser.codecs import Family, frame
from sorter.parser.codestream import Undecodable
from sorter.parser.elements import Dataset
from sorter.parser.frames import Kept, checked, decode, native_bytes, undecodable
from sorter.parser.pixelmodule import PixelModule


def native_icon(dataset: Dataset, family: Family) -> bytes:
    """The element ``dataset.icon`` with native pixel data; the one element that pydicom writes anew.

    Raises
    ------
    Kept
        KEPT_UNDECODABLE: an icon cannot be read or decoded.
    """
    assert dataset.icon is not None
    try:
        element = io.BytesIO(dataset.data[slice(*dataset.icon)])
        icons = read_dataset(element, is_implicit_VR=dataset.implicit, is_little_endian=True)
        for icon in icons.IconImageSequence:
            if "PixelData" in icon and icon["PixelData"].is_undefined_length:
                _decode(icon, family)
        out = DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, dataset.implicit
        write_dataset(out, icons)
        return out.getvalue()
    except Kept as kept:
        raise undecodable(f"icon: {kept.note}") from None
    except Undecodable as trouble:
        raise undecodable(f"icon: {trouble}") from None
    except Exception as error:  # noqa: BLE001 - pydicom documents no exceptions of a damaged sequence
        raise undecodable(f"icon: {type(error).__name__}") from None


def _decode(icon: PydicomDataset, family: Family) -> None:
    module = checked(
        PixelModule(
            rows=icon.Rows,
            columns=icon.Columns,
            samples=icon.SamplesPerPixel,
            photometric=icon.PhotometricInterpretation,
            planar=icon.get("PlanarConfiguration", 0),
            allocated=icon.BitsAllocated,
            stored=icon.BitsStored,
            signed=bool(icon.get("PixelRepresentation", 0)),
            frames=1,
        )
    )
    (data,) = generate_frames(icon.PixelData, number_of_frames=1)
    one = frame(data, family, module)
    native = b"".join(native_bytes([decode(one)], module.allocated))
    icon.PhotometricInterpretation = one.photometric
    if module.samples > 1:
        icon.PlanarConfiguration = 0
    icon.PixelData = native + bytes(len(native) % 2)
    icon["PixelData"].VR = "OB" if module.allocated <= 8 else "OW"
    icon["PixelData"].is_undefined_length = False
