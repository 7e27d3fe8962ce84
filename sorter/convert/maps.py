"""A volume becomes a Parametric Map: its numbers exactly, as 32- or 64-bit floats. PS3.3 A.75, C.8.32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from sorter import __version__
from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts, decimal
from sorter.convert.geometry import geometry
from sorter.convert.multiframe import code, equipment, frames_dataset, groups, stacked
from sorter.convert.nifti import Nifti
from sorter.convert.slices import write_pixels
from sorter.convert.uids import Uids

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]


def maps(nifti: Nifti, facts: Facts, uids: Uids) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of one instance for each volume, all in one series.

    Raises
    ------
    NeedsInfo
        Nothing says of which date it is.
    ConversionError
        Its numbers are no real numbers, or 64-bit integers that no float holds.
    """
    if nifti.colour:
        raise ConversionError("a parametric map holds numbers, not colours")
    plane = geometry(nifti.affine, nifti.voxels.shape[2])
    for volume in range(nifti.voxels.shape[3]):
        values = exact(nifti.voxels[..., volume], nifti.given)
        dataset = frames_dataset(
            facts, uids, sop_class_uid=PARAMETRIC_MAP, modality="OT", part=0, number=volume + 1
        )
        _describe(dataset, facts)
        groups(dataset, uids, plane, [(k, ()) for k in plane.order])
        _value_groups(dataset, values)
        frames = stacked(values, plane)
        _describe_pixels(dataset, frames)
        yield f"{volume + 1:05d}.dcm", _written(dataset, frames)


def exact(voxels: NDArray[Any], given: tuple[float, float]) -> NDArray[Any]:
    """The values as the narrowest float that holds each of them exactly.

    Raises
    ------
    ConversionError
        There is none.
    """
    kind, width = voxels.dtype.kind, voxels.dtype.itemsize
    if kind not in "iuf":
        raise ConversionError("a parametric map holds real numbers")
    if given != (1.0, 0.0):
        return voxels.astype(np.float64) * given[0] + given[1]
    if (kind == "f" and width <= 4) or (kind != "f" and width <= 2):
        return voxels.astype(np.float32, copy=False)
    values = voxels.astype(np.float64, copy=False)
    if kind == "f" and width <= 8:
        return values
    back = values.astype(voxels.dtype)
    if not np.array_equal(back, voxels, equal_nan=kind == "f"):
        raise ConversionError("its numbers have more digits than a 64-bit float holds")
    return values


def _describe(dataset: Dataset, facts: Facts) -> None:
    equipment(dataset, __version__)
    dataset.ImageType = _IMAGE_TYPE
    dataset.ContentLabel = "VALUES"
    dataset.ContentDescription = dataset.ContentCreatorName = None
    dataset.ContentQualification = "RESEARCH"
    dataset.RecognizableVisualFeatures = facts.text("RecognizableVisualFeatures") or "YES"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = []


def _value_groups(dataset: Dataset, values: NDArray[Any]) -> None:
    """What the numbers are: themselves, without unit; and a window over all of them."""
    low, high = ends(values)
    mapping = Dataset()
    mapping.DoubleFloatRealWorldValueFirstValueMapped = low
    mapping.DoubleFloatRealWorldValueLastValueMapped = high
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, 1.0
    mapping.LUTLabel, mapping.LUTExplanation = "VALUES", "values as they are"
    mapping.MeasurementUnitsCodeSequence = [code("1", "UCUM", "no units")]
    identity = Dataset()
    identity.RescaleIntercept, identity.RescaleSlope, identity.RescaleType = "0", "1", "US"
    window = Dataset()
    window.WindowCenter = decimal(low / 2 + high / 2)
    window.WindowWidth = decimal((high - low) or 1.0)
    frame_type = Dataset()
    frame_type.FrameType = _IMAGE_TYPE
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.RealWorldValueMappingSequence = [mapping]
    shared.PixelValueTransformationSequence = [identity]
    shared.FrameVOILUTSequence = [window]
    shared.ParametricMapFrameTypeSequence = [frame_type]


def ends(values: NDArray[Any]) -> tuple[float, float]:
    """Smallest and largest finite value; 0 and 0 where there is none."""
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, 0.0
    low, high = values.min(where=finite, initial=np.inf), values.max(where=finite, initial=-np.inf)
    return float(low), float(high)


def _describe_pixels(dataset: Dataset, frames: NDArray[Any]) -> None:
    """Floating Point or Double Floating Point Image Pixel. C.7.6.24, C.7.6.25."""
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = frames.dtype.itemsize * 8


def _written(dataset: Dataset, frames: NDArray[Any]) -> bytes:
    pixels = frames.astype(frames.dtype.newbyteorder("<"), copy=False).tobytes()
    if frames.dtype.itemsize == 4:
        return write_pixels(dataset, "FloatPixelData", b"OF", pixels)
    return write_pixels(dataset, "DoubleFloatPixelData", b"OD", pixels)
