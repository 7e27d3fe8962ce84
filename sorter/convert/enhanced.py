"""A volume becomes one Enhanced MR Image, with all its volumes. PS3.3 A.36.2, C.8.13.

Image Type DERIVED: how it was acquired stands nowhere, and need not. There is no Enhanced CT Image: that must
name its irradiation event, which nobody knows here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from sorter import __version__
from sorter.convert.facts import Facts, decimal
from sorter.convert.geometry import geometry
from sorter.convert.instance import write
from sorter.convert.multiframe import Frame, code, equipment, frames_dataset, groups, stacked
from sorter.convert.nifti import Nifti
from sorter.convert.series import Note
from sorter.convert.uids import Uids
from sorter.convert.values import Scale, scale

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
_IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


def enhanced(nifti: Nifti, facts: Facts, uids: Uids, note: Note) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of the one instance; several volumes are temporal positions.

    Raises
    ------
    NeedsInfo
        Nothing says of which date it is.
    ConversionError
        The volume cannot be said in DICOM.
    """
    slices, volumes = nifti.voxels.shape[2:]
    plane = geometry(nifti.affine, slices)
    values = scale(nifti.voxels, nifti.given)
    for text in values.notes:
        note(text)
    dataset = frames_dataset(facts, uids, sop_class_uid=ENHANCED_MR, modality="MR", part=0, number=1)
    temporal = volumes > 1
    frames: list[Frame] = [
        (k, (volume + 1,) if temporal else ()) for volume in range(volumes) for k in plane.order
    ]
    groups(
        dataset,
        uids,
        plane,
        frames,
        dimension="TemporalPositionIndex" if temporal else "",
        dimension_group="FrameContentSequence" if temporal else "",
    )
    stored = values.stored(np.concatenate([stacked(nifti.voxels[..., one], plane) for one in range(volumes)]))
    low, high = (float(one) * values.slope + values.intercept for one in (stored.min(), stored.max()))
    # What has a sign is no magnitude.
    component = "REAL" if low < 0 else "MAGNITUDE"
    _describe(dataset, component)
    _shared(dataset, facts, values, (low, high))
    _pixels(dataset, stored)
    yield "00001.dcm", write(dataset)


def _describe(dataset: Dataset, component: str) -> None:
    equipment(dataset, __version__)
    dataset.PatientPosition = dataset.get("PatientPosition")
    dataset.pop("Laterality", None)  # it stands with the frames: PS3.3 C.7.3.1
    dataset.ImageType = _IMAGE_TYPE
    _frame_kind(dataset, component)
    dataset.ContentQualification = "RESEARCH"
    # Of originals only by C.8.13.1, of all by dciodvfy; the known terms would claim something.
    dataset.ApplicableSafetyStandardAgency = "UNKNOWN"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = []


def _frame_kind(dataset: Dataset, component: str) -> None:
    """Common CT/MR Image Description, and that of MR. C.8.16.2, C.8.13.3."""
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ComplexImageComponent = component
    dataset.AcquisitionContrast = "UNKNOWN"


def _shared(dataset: Dataset, facts: Facts, values: Scale, ends: tuple[float, float]) -> None:
    """The functional groups that an Enhanced MR Image has beside those of every object of many frames."""
    kind = Dataset()
    kind.FrameType = _IMAGE_TYPE
    _frame_kind(kind, dataset.ComplexImageComponent)
    rescale = Dataset()
    rescale.RescaleIntercept, rescale.RescaleSlope = decimal(values.intercept), decimal(values.slope)
    rescale.RescaleType = "US"  # unspecified
    window = Dataset()
    low, high = ends
    window.WindowCenter = decimal(low / 2 + high / 2)
    window.WindowWidth = decimal((high - low) or 1.0)
    anatomy = Dataset()
    anatomy.FrameLaterality = {"R": "R", "L": "L"}.get(facts.text("Laterality"), "U")
    anatomy.AnatomicRegionSequence = [code("38266002", "SCT", "Entire body")]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.MRImageFrameTypeSequence = [kind]
    shared.PixelValueTransformationSequence = [rescale]
    shared.FrameVOILUTSequence = [window]
    shared.FrameAnatomySequence = [anatomy]


def _pixels(dataset: Dataset, stored: NDArray[Any]) -> None:
    signed = stored.dtype.kind == "i"
    dataset.Rows, dataset.Columns = stored.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(signed)
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"
