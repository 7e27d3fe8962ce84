"""Volume -> NIfTI-1, in the order of voxels in which dcm2niix writes it.

That is: i along the columns, j along the rows from the last to the first, k along the normal. Volumes of a
3-D acquisition in MR are turned to the nearest of RAS (i to the right, j to the front, k up) by exchanging
and reversing axes only. Values are stored as they are; ``scl_slope`` and ``scl_inter`` tell what the rescale
makes of them. For Philips MR these make FP = (SV * RS + RI) / (RS * SS), which compares between scans, rather
than SV * RS + RI, which is for display.
https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from pydicom.dataset import Dataset

from sorter.export.writing import ExportError
from sorter.volume import Volume
from sorter.volume.groups import Groups
from sorter.volume.model import Array
from sorter.volume.values import number, text

_CHUNK = 1 << 22
_GZIP = 31  # window bits of a gzip stream; its header has no name and no time
_SHEAR = 1e-4
_MOST = 32767  # dimensions are 16-bit integers


@dataclass(frozen=True)
class Nifti:
    """What goes into a NIfTI file.

    Parameters
    ----------
    stored
        (i, j, k[, t]).
    affine
        4 x 4, RAS+ mm.
    slope, intercept
        From stored to real values.
    repetition_time
        In s, for a series in time; 0 where it is unknown.
    """

    stored: Array
    affine: Array
    slope: float
    intercept: float
    repetition_time: float = 0.0


def nifti(volume: Volume, groups: Groups, *, scaling: Literal["precise", "dicom"] = "precise") -> Nifti:
    """The volume as NIfTI; ``groups`` are those of its first frame.

    Raises
    ------
    ExportError
        A dimension is beyond what NIfTI-1 can tell.
    """
    if max(volume.shape) > _MOST:
        raise ExportError(f"NIfTI-1 holds {_MOST} voxels along an axis at most, not {max(volume.shape)}")
    stored, affine = volume.stored, volume.affine
    if is_turned(volume, groups.dataset):
        stored, affine = to_ras(stored, affine)
    slope, intercept = volume.rescale
    precise = volume.stack.scale_slope if scaling == "precise" else None
    if precise and stored.dtype.kind in "iu":
        slope, intercept = 1 / precise, intercept / (slope * precise)
    timing = groups.item("MRTimingAndRelatedParametersSequence", "RepetitionTime")
    seconds = (number(timing, "RepetitionTime") or 0.0) / 1000 if stored.ndim == 4 else 0.0
    return Nifti(stored, affine, slope, intercept, seconds)


def is_turned(volume: Volume, dataset: Dataset) -> bool:
    """Whether dcm2niix would turn it: one volume of a 3-D acquisition in MR that is not echo-planar."""
    is_planar = "EP" in text(dataset, "ScanningSequence").split("\\")
    is_3d = text(dataset, "MRAcquisitionType") == "3D"
    return is_3d and not is_planar and volume.stored.ndim == 3 and volume.stored.shape[2] > 1


def to_ras(stored: Array, affine: Array) -> tuple[Array, Array]:
    """Exchange and reverse axes so that i, j, k run as nearly as can be to the right, the front and up."""
    import nibabel  # noqa: PLC0415 - an extra

    turn = nibabel.orientations.io_orientation(affine)
    turned = nibabel.orientations.apply_orientation(stored, turn)
    return turned, affine @ nibabel.orientations.inv_ornt_aff(turn, stored.shape)


def write(content: Nifti, out: BinaryIO, *, compressed: bool) -> None:
    """Write one NIfTI-1 file (``n+1``).

    gzip matches runs only: on the noise of pictures as small as level 1 and twice as quick.
    """
    chunks = _chunks(content)
    if not compressed:
        for chunk in chunks:
            out.write(chunk)
        return
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    for chunk in chunks:
        out.write(packer.compress(chunk))
    out.write(packer.flush())


def _chunks(content: Nifti) -> Iterator[bytes | memoryview]:
    stored = content.stored
    # NIfTI has no 1-bit values, and nothing below 8 bits.
    stored = stored.astype(np.uint8) if stored.dtype.kind == "b" else stored
    yield _header(content, stored)
    flat = np.ascontiguousarray(stored.T).reshape(-1).view(np.uint8).data
    for start in range(0, len(flat), _CHUNK):
        yield flat[start : start + _CHUNK]


def _header(content: Nifti, stored: Array) -> bytes:
    import nibabel  # noqa: PLC0415 - an extra

    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_slope_inter(content.slope, content.intercept)
    header.set_sform(content.affine, code="scanner")
    # A quaternion cannot tell of shear: a tilted volume has the sform alone.
    header.set_qform(content.affine, code="unknown" if _is_sheared(content.affine) else "scanner")
    if stored.ndim == 4:
        header["pixdim"][4] = content.repetition_time
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    block: bytes = header.binaryblock
    return block + b"\0" * 4  # no extensions


def _is_sheared(affine: Array) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR)
