"""What instances of many frames have in common, whether they are stacks, maps or segmentations.

Where the frames lie stands in functional groups (PS3.3 C.7.6.16), and what orders them in dimensions
(C.7.6.17). Instances for each volume of a 4-D file: of one series for maps and segmentations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import Tag

from sorter.convert.errors import NeedsInfo
from sorter.convert.facts import Facts, decimal
from sorter.convert.geometry import Geometry
from sorter.convert.instance import new_dataset, put
from sorter.convert.keywords import FRAME_OF_REFERENCE
from sorter.convert.uids import Uids

# Frames: index along the slices, and values of the dimensions before that of the slices.
Frame = tuple[int, tuple[int, ...]]
_MODEL = "sorter convert"


def frames_dataset(
    facts: Facts, uids: Uids, *, sop_class_uid: str, modality: str, part: int, number: int
) -> Dataset:
    """The instance without frames and pixels.

    Raises
    ------
    NeedsInfo
        Nothing says when it was made; Content Date and Time are Type 1 here (PS3.3 C.7.6.16).
    """
    dataset = new_dataset(
        facts, uids, sop_class_uid=sop_class_uid, modality=modality, series_part=part, instance_number=number
    )
    dataset.ContentDate, dataset.ContentTime = content_date(facts)
    put(dataset, facts, ("AcquisitionDate", "AcquisitionTime", "ImageComments"))
    dataset.PositionReferenceIndicator = None
    put(dataset, facts, FRAME_OF_REFERENCE)
    dataset.FrameOfReferenceUID = uids.frame_of_reference()
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = facts.text("BurnedInAnnotation") or "NO"
    return dataset


def equipment(dataset: Dataset, version: str) -> None:
    """Enhanced General Equipment, which is Type 1: where nothing is known, what converted it. C.7.5.2."""
    for keyword, value in (
        ("Manufacturer", "unknown"),
        ("ManufacturerModelName", _MODEL),
        ("DeviceSerialNumber", "unknown"),
        ("SoftwareVersions", version),
    ):
        if not dataset.get(keyword):
            setattr(dataset, keyword, value)


def content_date(facts: Facts) -> tuple[str, str]:
    """Content Date and Time: as stated, else those of the series, the acquisition or the study."""
    for level in ("Content", "Series", "Acquisition", "Study"):
        if date := facts.text(f"{level}Date"):
            return date, facts.text(f"{level}Time") or "000000"
    raise NeedsInfo(("StudyDate",), "an object of many frames must say of which date it is: state StudyDate")


def groups(
    dataset: Dataset,
    uids: Uids,
    plane: Geometry,
    frames: Sequence[Frame],
    *,
    dimension: str = "",
    dimension_group: str = "",
) -> None:
    """Shared and per-frame functional groups, and the dimensions.

    Parameters
    ----------
    frames
        In their order in Pixel Data.
    dimension, dimension_group
        Keyword that counts before the slices do, and that of the functional group it stands in.
    """
    dataset.NumberOfFrames = len(frames)
    measures = Dataset()
    measures.PixelSpacing = [decimal(one) for one in plane.spacing]
    measures.SliceThickness = measures.SpacingBetweenSlices = decimal(plane.thickness)
    orientation = Dataset()
    orientation.ImageOrientationPatient = [decimal(one) for one in plane.orientation]
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    place = {k: number for number, k in enumerate(plane.order, 1)}
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(plane, k, [*before, place[k]], dimension, dimension_group) for k, before in frames
    ]
    _dimensions(dataset, uids, dimension, dimension_group)


def _frame(plane: Geometry, k: int, index: list[int], dimension: str, dimension_group: str) -> Dataset:
    content = Dataset()
    content.DimensionIndexValues = index
    position = Dataset()
    position.ImagePositionPatient = [decimal(one) for one in plane.position(k)]
    frame = Dataset()
    frame.FrameContentSequence = [content]
    frame.PlanePositionSequence = [position]
    if dimension:
        if dimension_group not in frame:
            setattr(frame, dimension_group, [Dataset()])
        setattr(frame[dimension_group].value[0], dimension, index[0])
    return frame


def _dimensions(dataset: Dataset, uids: Uids, dimension: str, dimension_group: str) -> None:
    organization = uids.dimension_organization()
    organized = Dataset()
    organized.DimensionOrganizationUID = organization
    dataset.DimensionOrganizationSequence = [organized]
    pointers = [("ImagePositionPatient", "PlanePositionSequence")]
    if dimension:
        pointers.insert(0, (dimension, dimension_group))
    items = []
    for keyword, group in pointers:
        item = Dataset()
        item.DimensionOrganizationUID = organization
        item.DimensionIndexPointer = Tag(keyword)
        item.FunctionalGroupPointer = Tag(group)
        items.append(item)
    dataset.DimensionIndexSequence = items


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence's item. PS3.3 8.8."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def stacked(volume: NDArray[Any], plane: Geometry) -> NDArray[Any]:
    """A view of shape (slice, row, column[, channel]), slices in their order along the normal."""
    return np.swapaxes(np.moveaxis(volume, 2, 0)[:: plane.order.step], 1, 2)
