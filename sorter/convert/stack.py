"""A volume becomes one Multi-frame Secondary Capture instance. PS3.3 A.8.3 to A.8.5, C.8.6.3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import Tag

from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts
from sorter.convert.geometry import geometry
from sorter.convert.instance import write
from sorter.convert.multiframe import frames_dataset, groups, stacked
from sorter.convert.nifti import Nifti
from sorter.convert.series import Note, opaque
from sorter.convert.uids import Uids
from sorter.convert.values import scale

BYTE, WORD, COLOUR = (f"1.2.840.10008.5.1.4.1.1.7.{number}" for number in (2, 3, 4))


def stacks(nifti: Nifti, facts: Facts, uids: Uids, note: Note) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of one instance for each volume, each in a series of its own.

    Raises
    ------
    NeedsInfo
        Nothing says of which date it is.
    ConversionError
        It holds values below 0 or between whole numbers: these classes have unsigned integers only.
    """
    plane = geometry(nifti.affine, nifti.voxels.shape[2])
    voxels = opaque(nifti.voxels, note) if nifti.colour else _unsigned(nifti, note)
    class_uid = COLOUR if nifti.colour else BYTE if voxels.dtype.itemsize == 1 else WORD
    for volume in range(voxels.shape[3]):
        dataset = frames_dataset(facts, uids, sop_class_uid=class_uid, modality="OT", part=volume, number=1)
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        dataset.ConversionType = "WSD"
        dataset.PatientOrientation = plane.patient_orientation
        groups(dataset, uids, plane, [(k, ()) for k in plane.order])
        dataset.FrameIncrementPointer = Tag("PerFrameFunctionalGroupsSequence")
        _pixels(dataset, stacked(voxels[:, :, :, volume], plane))
        yield f"{volume + 1:05d}.dcm", write(dataset)


def _unsigned(nifti: Nifti, note: Note) -> NDArray[Any]:
    """The voxels as unsigned integers of 8 or 16 bits."""
    values = scale(nifti.voxels, nifti.given)
    if (values.slope, values.intercept) != (1.0, 0.0):
        raise ConversionError(
            "a multi-frame Secondary Capture holds whole numbers from 0 to 65535 only; use kind pmap"
        )
    for text in values.notes:
        note(text)
    stored = values.stored(nifti.voxels)
    if stored.dtype.kind == "i":
        if int(stored.min()) < 0:
            raise ConversionError("a multi-frame Secondary Capture holds no numbers below 0; use kind pmap")
        return stored.astype(np.uint16)
    return stored


def _pixels(dataset: Dataset, frames: NDArray[Any]) -> None:
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    colour = frames.ndim == 4
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    else:
        dataset.PresentationLUTShape = "IDENTITY"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    bits = frames.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    content = frames.astype(frames.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
