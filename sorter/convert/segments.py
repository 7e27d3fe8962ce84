"""A volume of labels becomes a Segmentation with one binary segment for each label. PS3.3 A.51, C.8.20."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from sorter import __version__
from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts
from sorter.convert.geometry import Geometry, geometry
from sorter.convert.instance import write
from sorter.convert.multiframe import code, equipment, frames_dataset, groups, stacked
from sorter.convert.nifti import Nifti
from sorter.convert.uids import Uids

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
# More labels than any atlas has: then it is a volume of values.
_MOST = 2000


def segmentations(
    nifti: Nifti, facts: Facts, uids: Uids, names: Mapping[int, str]
) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of one instance for each volume, all in one series.

    Segments are numbered from 1 in the order of the labels; their names are those given, else the label.
    Frames in which a segment is not seen are left out.

    Raises
    ------
    NeedsInfo
        Nothing says of which date it is.
    ConversionError
        Its values are no labels, or there are none.
    """
    if nifti.colour or nifti.given != (1.0, 0.0):
        raise ConversionError("its values are no labels: they are scaled, or colours")
    plane = geometry(nifti.affine, nifti.voxels.shape[2])
    for volume in range(nifti.voxels.shape[3]):
        labels = whole(nifti.voxels[..., volume])
        dataset = frames_dataset(
            facts, uids, sop_class_uid=SEGMENTATION, modality="SEG", part=0, number=volume + 1
        )
        dataset.Modality = "SEG"
        dataset.pop("Laterality", None)  # not of a segmentation: PS3.3 C.7.3.1
        equipment(dataset, __version__)
        _describe(dataset)
        _frames(dataset, uids, plane, labels, names)
        yield f"{volume + 1:05d}.dcm", write(dataset)


def whole(voxels: NDArray[Any]) -> NDArray[Any]:
    """The labels as integers.

    Raises
    ------
    ConversionError
        They are not.
    """
    if voxels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            integers = voxels.astype(np.int64)
        if not np.array_equal(integers, voxels):
            raise ConversionError("its values are no labels: not all are whole numbers")
        voxels = integers
    if voxels.dtype.kind not in "iu" or int(voxels.min()) < 0:
        raise ConversionError("its values are no labels: some are below 0")
    return voxels


def _describe(dataset: Dataset) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "SEGMENTATION"
    dataset.ContentDescription = dataset.ContentCreatorName = None
    dataset.SegmentationType = "BINARY"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelRepresentation = 0
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0


def _frames(
    dataset: Dataset, uids: Uids, plane: Geometry, labels: NDArray[Any], names: Mapping[int, str]
) -> None:
    stack = stacked(labels, plane)
    found = [int(label) for label in np.unique(stack) if label]
    if not found or len(found) > _MOST:
        raise ConversionError(f"it holds {len(found)} labels: nothing to make segments of")
    dataset.SegmentSequence = [_segment(number, label, names) for number, label in enumerate(found, 1)]
    frames, bits = [], []
    for number, label in enumerate(found, 1):
        for place in np.flatnonzero((stack == label).any(axis=(1, 2))):
            frames.append((plane.order[int(place)], (number,)))
            bits.append((stack[place] == label).ravel())
    groups(
        dataset,
        uids,
        plane,
        frames,
        dimension="ReferencedSegmentNumber",
        dimension_group="SegmentIdentificationSequence",
    )
    dataset.Rows, dataset.Columns = stack.shape[1:]
    # One frame goes on where the one before ends, within a byte even. PS3.5 8.1.1
    packed = np.packbits(np.concatenate(bits), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB"


def _segment(number: int, label: int, names: Mapping[int, str]) -> Dataset:
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = names.get(label, f"label {label}")[:64]
    item.SegmentDescription = f"label value {label}"
    item.SegmentAlgorithmType, item.SegmentAlgorithmName = "SEMIAUTOMATIC", "unknown"
    # What kind of thing it is stands nowhere: the most general codes that there are.
    item.SegmentedPropertyCategoryCodeSequence = [code("85756007", "SCT", "Tissue")]
    item.SegmentedPropertyTypeCodeSequence = [code("85756007", "SCT", "Tissue")]
    return item
