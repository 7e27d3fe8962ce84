"""Files -> frames: classic files, enhanced multi-frame files, Siemens mosaics; headers only.

What a multi-frame file says of a frame is looked for in the item of that frame, then in what all frames
share, then at top level (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from sorter.volume import mosaic
from sorter.volume.errors import NothingToPlaceError, VolumeError
from sorter.volume.groups import Groups
from sorter.volume.model import Frame, Likeness, Vector
from sorter.volume.times import times
from sorter.volume.values import items, number, numbers, silenced, text, value, whole

_PHILIPS_SCALE = (0x2005140F, 0x2005100E)  # the private sequence of a frame, and Scale Slope
_AXIAL = 0.999  # cosine of the angle up to which frames are axial
_MOST_FRAMES = 1_000_000


def open_header(path: Path) -> Dataset:
    """The dataset of a file without its pixels.

    Raises
    ------
    VolumeError
        It is not DICOM, or cannot be parsed.
    OSError
        It cannot be read.
    """
    with silenced():
        try:
            return dcmread(path, stop_before_pixels=True, force=True)
        except Exception as error:
            # pydicom raises many kinds, whose texts may quote values, and OSError where data end.
            if isinstance(error, OSError) and error.errno:
                raise
            raise VolumeError(f"cannot be parsed ({type(error).__name__})") from None


def frames(path: Path, dataset: Dataset) -> list[Frame]:
    """The frames of one file, in its order.

    Raises
    ------
    VolumeError
        It has no picture, or one that is no part of a volume (NothingToPlaceError); or it contradicts itself.
    """
    if not (whole(dataset, "Rows") and whole(dataset, "Columns")):
        raise NothingToPlaceError("has no pixels")
    if value(dataset, "TotalPixelMatrixColumns"):
        raise NothingToPlaceError("is tiled, as of a slide: its frames are no slices")
    with silenced():
        if mosaic.is_mosaic(dataset):
            return _mosaic_frames(path, dataset, mosaic.layout(dataset))
        count = max(1, whole(dataset, "NumberOfFrames", 1))
        if count > _MOST_FRAMES:
            raise VolumeError(f"declares {count} frames")
        per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
        if per_frame and len(per_frame) != count:
            raise VolumeError(f"describes {len(per_frame)} frames and declares {count}")
        return list(_each_frame(path, dataset, per_frame, count))


def _each_frame(path: Path, dataset: Dataset, per_frame: Sequence[Dataset], count: int) -> Iterator[Frame]:
    positions = _positions_of_frames(dataset, count) if not per_frame else []
    for index in range(count):
        groups = Groups(dataset, per_frame[index] if per_frame else None)
        position: Vector | None = positions[index] if positions else _position(groups, count, bool(per_frame))
        yield Frame(
            path=path,
            index=index,
            likeness=_likeness(dataset, groups),
            position=position,
            times=times(dataset, groups.item),
            rescale=_rescale(dataset, groups),
            scale_slope=_scale_slope(groups),
            thickness=_thickness(groups),
            sop_instance_uid=text(dataset, "SOPInstanceUID"),
            number=whole(dataset, "InstanceNumber"),
        )


def _mosaic_frames(path: Path, dataset: Dataset, laid: mosaic.Mosaic) -> list[Frame]:
    groups = Groups(dataset)
    likeness = replace(_likeness(dataset, groups), rows=laid.rows, columns=laid.columns)
    return [
        Frame(
            path=path,
            index=0,
            likeness=likeness,
            position=position,
            times=times(dataset, groups.item),
            rescale=_rescale(dataset, groups),
            sop_instance_uid=text(dataset, "SOPInstanceUID"),
            number=whole(dataset, "InstanceNumber"),
            tile=tile,
        )
        for tile, position in zip(laid.tiles, laid.positions, strict=True)
    ]


def _likeness(dataset: Dataset, groups: Groups) -> Likeness:
    measures = groups.item("PixelMeasuresSequence", "PixelSpacing")
    plane = groups.item("PlaneOrientationSequence", "ImageOrientationPatient")
    orientation = numbers(plane, "ImageOrientationPatient", 6)
    frame_type = text(_frame_type_item(groups), "FrameType") or text(dataset, "ImageType")
    echo = number(groups.item("MREchoSequence", "EffectiveEchoTime"), "EffectiveEchoTime")
    for keyword in ("EchoTime", "EchoNumbers"):
        echo = number(dataset, keyword) if echo is None else echo
    segment = number(
        groups.item("SegmentIdentificationSequence", "ReferencedSegmentNumber"), "ReferencedSegmentNumber"
    )
    return Likeness(
        series=text(dataset, "SeriesInstanceUID"),
        rows=whole(dataset, "Rows"),
        columns=whole(dataset, "Columns"),
        samples=whole(dataset, "SamplesPerPixel", 1),
        image_type=tuple(frame_type.split("\\")),
        echo=echo,
        segment=None if segment is None else int(segment),
        orientation=orientation if _is_orthonormal(orientation) else (),
        spacing=_spacing(measures),
        is_multiframe=whole(dataset, "NumberOfFrames", 1) > 1,
    )


def _frame_type_item(groups: Groups) -> Dataset:
    for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        found = groups.item(sequence, "FrameType")
        if value(found, "FrameType") is not None:
            return found
    return groups.dataset


def _spacing(measures: Dataset) -> tuple[float, ...]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = numbers(measures, keyword, 2)
        if found and min(found) > 0:
            return found
    return ()


def _is_orthonormal(cosines: Sequence[float]) -> bool:
    """Whether they are two unit vectors at a right angle, as well as files write them."""
    if not cosines:
        return False
    rows, columns = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.array((rows @ rows, columns @ columns))
    return bool(np.all(np.abs(lengths - 1) < 0.02) and abs(rows @ columns) < 0.01)


def _position(groups: Groups, count: int, has_groups: bool) -> Vector | None:
    plane = groups.item("PlanePositionSequence", "ImagePositionPatient")
    if count > 1 and not has_groups:
        return None  # one position for many frames says nothing of the others
    found = numbers(plane, "ImagePositionPatient", 3)
    return (found[0], found[1], found[2]) if found else None


def _positions_of_frames(dataset: Dataset, count: int) -> list[Vector]:
    """By Grid Frame Offset Vector (PS3.3 C.8.8.3.2); for tomographic NM by Spacing Between Slices."""
    offsets = numbers(dataset, "GridFrameOffsetVector", count)
    geometry = dataset
    if not offsets and (detectors := items(dataset, "DetectorInformationSequence")):
        step = number(dataset, "SpacingBetweenSlices")
        is_tomographic = "RECON TOMO" in text(dataset, "ImageType").split("\\")
        geometry = detectors[0]
        offsets = tuple(step * index for index in range(count)) if step and is_tomographic else ()
    first = numbers(geometry, "ImagePositionPatient", 3)
    orientation = numbers(geometry, "ImageOrientationPatient", 6)
    if not (offsets and first and orientation):
        return []
    normal = np.cross(orientation[:3], orientation[3:])
    if offsets[0]:  # absolute: z coordinates of axial frames, whichever way their normal leads
        offsets = tuple(one - offsets[0] for one in offsets)
        normal = np.array((0.0, 0.0, 1.0)) if abs(normal[2]) > _AXIAL else normal
    points = np.array(first) + np.outer(offsets, normal)
    return [(float(x), float(y), float(z)) for x, y, z in points]


def _rescale(dataset: Dataset, groups: Groups) -> tuple[float, float]:
    is_colour = text(dataset, "PhotometricInterpretation") == "PALETTE COLOR"
    if is_colour or whole(dataset, "SamplesPerPixel", 1) > 1 or items(dataset, "ModalityLUTSequence"):
        return (1.0, 0.0)
    item = groups.item("PixelValueTransformationSequence", "RescaleSlope")
    slope, intercept = number(item, "RescaleSlope"), number(item, "RescaleIntercept")
    if slope is None and (dose := number(dataset, "DoseGridScaling")):
        slope = dose
    return (slope or 1.0, intercept or 0.0)


def _scale_slope(groups: Groups) -> float | None:
    """The scale slope of Philips MR, for values that compare between scans (SS in FP = SV / (RS * SS))."""
    if "PHILIPS" not in text(groups.dataset, "Manufacturer").upper():
        return None
    found = groups.private(*_PHILIPS_SCALE)
    return found if found and math.isfinite(found) else None


def _thickness(groups: Groups) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        found = number(groups.item("PixelMeasuresSequence", keyword), keyword)
        if found:
            return abs(found)
    return None
