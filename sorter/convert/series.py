"""A volume becomes one series of instances, or one series for each of its volumes.

MR Image and CT Image where the facts say so; else Secondary Capture with Image Plane, Frame of Reference and
Modality LUT, as a Standard Extended SOP class (PS3.3 A.4.3, A.3.3, A.8.1; PS3.4 B.4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from sorter.convert.facts import Facts, decimal
from sorter.convert.geometry import Geometry, geometry
from sorter.convert.instance import new_dataset, number, put
from sorter.convert.keywords import CT, FRAME_OF_REFERENCE, IMAGE, MR
from sorter.convert.nifti import Nifti
from sorter.convert.options import Options
from sorter.convert.slices import SliceWriter
from sorter.convert.uids import Uids
from sorter.convert.values import Scale, scale

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

Note = Callable[[str], None]


def sop_class(nifti: Nifti, facts: Facts, options: Options) -> str:
    """MR or CT Image where that is stated and may hold the voxels, else Secondary Capture."""
    if options.kind == "auto" and not nifti.colour:
        return {"MR": MR_IMAGE, "CT": CT_IMAGE}.get(facts.modality, SECONDARY_CAPTURE)
    return SECONDARY_CAPTURE


def series(
    nifti: Nifti, facts: Facts, options: Options, uids: Uids, note: Note
) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of each instance, slice by slice along the normal.

    The volumes of an MR are temporal positions of one series; of others each volume is a series.

    Raises
    ------
    ConversionError
        The volume cannot be said in DICOM.
    """
    slices, volumes = nifti.voxels.shape[2:4]
    plane = geometry(nifti.affine, slices)
    voxels, values = nifti.voxels, None
    if nifti.colour:
        voxels = opaque(voxels, note)
    else:
        values = scale(voxels, nifti.given)
        for text in values.notes:
            note(text)
    class_uid = sop_class(nifti, facts, options)
    temporal = class_uid == MR_IMAGE and volumes > 1
    for part in range(1 if temporal else volumes):
        dataset = new_dataset(
            facts, uids, sop_class_uid=class_uid, modality="OT", series_part=part, instance_number=1
        )
        _general(dataset, facts, uids, plane)
        _of_class(dataset, facts, plane)
        pixels(dataset, nifti.voxels.shape, values, facts, wide=class_uid != SECONDARY_CAPTURE)
        if temporal and nifti.interval_ms:
            dataset.TemporalResolution = decimal(nifti.interval_ms)
        prefix = "" if temporal or volumes == 1 else f"{part + 1:04d}-"
        writer = SliceWriter(dataset)
        shown = range(volumes) if temporal else range(part, part + 1)
        for count, (volume, k) in enumerate(((one, k) for one in shown for k in plane.order), 1):
            number(dataset, uids, part, count)
            dataset.ImagePositionPatient = [decimal(one) for one in plane.position(k)]
            if temporal:
                dataset.TemporalPositionIdentifier = volume + 1
                dataset.NumberOfTemporalPositions = volumes
            frame = frame_bytes(voxels[:, :, k, volume], values, dataset.BitsAllocated)
            yield f"{prefix}{count:05d}.dcm", writer.write(dataset, frame)


def frame_bytes(frame: NDArray[Any], values: Scale | None, bits: int) -> bytes:
    """Pixel Data of one slice of shape (i, j): row by row, little endian, in so many bits."""
    stored = frame if values is None else values.stored(frame)
    if bits == 16:
        stored = stored.astype("<i2" if stored.dtype.kind == "i" else "<u2", copy=False)
    return stored.swapaxes(0, 1).tobytes()


def _general(dataset: Dataset, facts: Facts, uids: Uids, plane: Geometry) -> None:
    """General Image, Frame of Reference, Image Plane. PS3.3 C.7.6.1, C.7.4.1, C.7.6.2."""
    put(dataset, facts, tuple(one for one in IMAGE if one != "PixelSpacing"))
    dataset.PositionReferenceIndicator = None
    put(dataset, facts, FRAME_OF_REFERENCE)
    dataset.FrameOfReferenceUID = uids.frame_of_reference()
    dataset.ImageOrientationPatient = [decimal(one) for one in plane.orientation]
    dataset.PixelSpacing = [decimal(one) for one in plane.spacing]
    dataset.SliceThickness = decimal(plane.thickness)


def _of_class(dataset: Dataset, facts: Facts, plane: Geometry) -> None:
    """What the class asks for beside: Type 1 in words that claim nothing, Type 2 empty."""
    class_uid = dataset.SOPClassUID
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    if class_uid == SECONDARY_CAPTURE:
        dataset.ConversionType = "WSD"
        dataset.PatientOrientation = plane.patient_orientation
        return
    dataset.PatientPosition = None
    put(dataset, facts, ("PatientPosition",))
    if class_uid == MR_IMAGE:
        dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        dataset.ScanningSequence = "RM"  # research mode
        dataset.SequenceVariant = "NONE"
        for keyword in ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"):
            setattr(dataset, keyword, None)
        put(dataset, facts, MR)
    else:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        dataset.KVP = None
        dataset.AcquisitionNumber = None
        put(dataset, facts, (*CT, "AcquisitionNumber"))


def pixels(
    dataset: Dataset, shape: tuple[int, ...], values: Scale | None, facts: Facts, *, wide: bool
) -> None:
    """Image Pixel, Modality LUT and VOI LUT of voxels with this shape. PS3.3 C.7.6.3, C.11.1, C.11.2.

    Parameters
    ----------
    values
        ``None`` for RGB.
    wide
        The class wants 16 bits.
    """
    dataset.Rows, dataset.Columns = shape[1], shape[0]
    if values is None:
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
        dataset.PhotometricInterpretation = "RGB"
        bits, signed = 8, False
    else:
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        bits = 16 if wide else np.dtype(values.dtype).itemsize * 8
        signed = np.dtype(values.dtype).kind == "i"
        if dataset.SOPClassUID != MR_IMAGE or (values.slope, values.intercept) != (1, 0):
            dataset.RescaleIntercept, dataset.RescaleSlope = decimal(values.intercept), decimal(values.slope)
            if dataset.SOPClassUID != CT_IMAGE:
                dataset.RescaleType = "US"  # unspecified
        if "WindowWidth" not in facts.values and values.lowest is not None and values.highest is not None:
            dataset.WindowCenter = decimal((values.lowest + values.highest) / 2)
            dataset.WindowWidth = decimal(
                max(values.highest - values.lowest, 1.0 if values.slope == 1 else 1e-6)
            )
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(signed)


def opaque(voxels: NDArray[Any], note: Note) -> NDArray[np.uint8]:
    """RGB of RGB or RGBA; what is transparent becomes black, as around a volume."""
    if voxels.shape[-1] == 3:
        return voxels
    alpha = voxels[..., 3:]
    if int(alpha.min()) == 255:
        return voxels[..., :3]
    note("it is partly transparent: shown on black")
    blended = (voxels[..., :3].astype(np.uint16) * alpha + 127) // 255
    rgb: NDArray[np.uint8] = blended.astype(np.uint8)
    return rgb
