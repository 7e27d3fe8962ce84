"""A NIfTI-1, NIfTI-2 or Analyze 7.5 file, read whole and bounded.

Source: https://nifti.nimh.nih.gov/nifti-1 and /nifti-2, nifti1.h and nifti2.h.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sorter.convert.errors import ConversionError, NeedsInfo, optional
from sorter.convert.geometry import affine_of_letters

# What a volume may take, inflated: more than any scanner makes, less than what brings a worker down.
MAX_BYTES = 2 << 30

_TO_MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_TO_MS = {"sec": 1000.0, "msec": 1.0, "usec": 0.001}
_CIFTI = range(3000, 3100)
_DIFFER_MM = 0.01
_FAR = 1e9  # no patient lies as far away as this, whatever the unit


@dataclass(frozen=True, slots=True)
class Nifti:
    """What one file says.

    Parameters
    ----------
    voxels
        Shape (i, j, k, volume) as they lie in the file; a last axis of 3 or 4 more for RGB and RGBA.
    affine
        From (i, j, k) to RAS+ mm.
    given
        Slope and intercept of the values.
    interval_ms
        Time between volumes, or ``None``.
    notes
        What is to be said about it.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    given: tuple[float, float]
    interval_ms: float | None
    notes: tuple[str, ...]

    @property
    def colour(self) -> bool:
        """Whether voxels are RGB or RGBA."""
        return self.voxels.ndim == 5


def inflated(content: bytes) -> bytes:
    """The content of a gzip stream of one or more members; anything else as it is.

    Raises
    ------
    ConversionError
        It is cut, damaged or larger than :data:`MAX_BYTES`.
    """
    if content[:2] != b"\x1f\x8b":
        return content
    parts, room = [], MAX_BYTES
    while content[:2] == b"\x1f\x8b":
        stream = zlib.decompressobj(31)
        try:
            part = stream.decompress(content, room)
        except zlib.error:
            raise ConversionError("its gzip stream is damaged") from None
        if not stream.eof:
            raise ConversionError("it is too large" if len(part) == room else "its gzip stream is cut short")
        parts.append(part)
        room -= len(part)
        content = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read(header: bytes, voxels: bytes | None, orientation: str = "") -> Nifti:
    """Understand a file, or a pair of header and voxels; both inflated.

    Parameters
    ----------
    voxels
        The ``.img`` of a pair; ``None`` for a single file.
    orientation
        Where the axes point if the file does not say, such as ``RAS``.

    Raises
    ------
    NeedsInfo
        It does not say how it lies in the patient, and ``orientation`` is empty.
    ConversionError
        It is damaged, or holds what DICOM has no counterpart for.
    FormatsMissingError
        nibabel is not installed.
    """
    parsed = _header(header)
    analyze = parsed["magic"].item()[:1] != b"n" if "magic" in parsed else True
    shape, dtype = _layout(parsed)
    spacing = [abs(float(size)) for size in parsed["pixdim"][1:4]]
    space, time = ("unknown", "unknown") if analyze else _units(parsed)
    offset = _offset(parsed, pair=voxels is not None)
    array = _voxels(voxels if voxels is not None else header, offset, shape, dtype)
    affine, notes = _affine(parsed, analyze, shape)
    if affine is None:
        if not orientation:
            raise NeedsInfo(("Orientation",), "it does not say how it lies in the patient; state Orientation")
        affine = affine_of_letters(orientation, (spacing[0], spacing[1], spacing[2]), shape)
        notes = ("it does not say how it lies in the patient: the stated orientation is used",)
    interval = float(parsed["pixdim"][4]) * _TO_MS[time] if time in _TO_MS else 0.0
    return Nifti(
        array,
        np.diag([_TO_MM[space]] * 3 + [1.0]) @ affine,
        (1.0, 0.0) if analyze else _given(parsed),
        interval if math.isfinite(interval) and interval > 0 else None,
        notes,
    )


def _header(content: bytes) -> Any:
    nibabel = optional("nibabel")
    for kind, length, magic in (
        (nibabel.Nifti1Header, 348, slice(344, 348)),
        (nibabel.Nifti2Header, 540, slice(4, 8)),
    ):
        if content[magic][:1] == b"n" and len(content) >= length:
            return kind(content[:length], check=False)
    if len(content) < 348:
        raise ConversionError("its header is cut short")
    return nibabel.AnalyzeHeader(content[:348], check=False)


def _layout(parsed: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape (i, j, k, volumes) and dtype of the voxels."""
    dims = [int(size) for size in parsed["dim"]]
    if not 2 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise ConversionError("its dimensions make no volume")
    if "intent_code" in parsed and int(parsed["intent_code"]) in _CIFTI:
        raise ConversionError("it is a CIFTI file: brain models and connectivity, not a volume")
    try:
        dtype = parsed.get_data_dtype()
    except Exception as error:  # noqa: BLE001 - nibabel's several kinds
        raise ConversionError(f"the kind of its numbers is not known ({type(error).__name__})") from None
    i, j, k, *more = (*dims[1 : dims[0] + 1], 1)[:3] if dims[0] == 2 else dims[1 : dims[0] + 1]
    if max(i, j) > 65535:
        raise ConversionError("a slice has more rows or columns than the 65535 that DICOM can count")
    return (i, j, k, math.prod(more)), dtype


def _units(parsed: Any) -> tuple[str, str]:
    try:
        space, time = parsed.get_xyzt_units()
    except KeyError:
        return "unknown", "unknown"
    return space, time


def _offset(parsed: Any, *, pair: bool) -> int:
    """Where the voxels begin: in a single file not before its header ends."""
    offset = float(parsed["vox_offset"])
    if not math.isfinite(offset) or offset < 0:
        raise ConversionError("the offset of its voxels is not usable")
    return int(offset) if pair else max(int(offset), int(parsed["sizeof_hdr"]))


def _voxels(content: bytes, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_BYTES:
        raise ConversionError("it is too large")
    if offset + size > len(content):
        there = max(len(content) - offset, 0)
        raise ConversionError(f"it is cut short: of {size} bytes of voxels {there} are there")
    flat = np.frombuffer(content, dtype, math.prod(shape), offset)
    if dtype.names is None:
        return flat.reshape(shape, order="F")
    channels = len(dtype.names)
    colours = flat.view(np.uint8).reshape(channels, *shape, order="F")
    return np.moveaxis(colours, 0, -1)


def _affine(
    parsed: Any, analyze: bool, shape: tuple[int, ...]
) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    """The affine in the file's units, the sform before the qform, or ``None`` where there is neither."""
    if analyze or (int(parsed["sform_code"]) <= 0 and int(parsed["qform_code"]) <= 0):
        return None, ()
    qform = _qform(parsed)
    if int(parsed["sform_code"]) <= 0:
        if qform is None:
            raise ConversionError("its orientation is not usable: the quaternion is none")
        return qform, ()
    sform = parsed.get_sform()
    if not _is_near(sform):
        raise ConversionError("its orientation is not usable: it lies nowhere")
    if qform is not None and _apart(sform, qform, shape) > _DIFFER_MM:
        return sform, ("sform and qform differ: the sform is used",)
    return sform, ()


def _qform(parsed: Any) -> NDArray[Any] | None:
    if int(parsed["qform_code"]) <= 0:
        return None
    try:
        with np.errstate(all="ignore"):
            qform: NDArray[Any] = parsed.get_qform()
    except Exception:  # noqa: BLE001 - a quaternion that is none: nibabel's several kinds
        return None
    return qform if _is_near(qform) else None


def _is_near(affine: NDArray[Any]) -> bool:
    return bool((np.abs(affine) < _FAR).all())  # NaN is not


def _apart(one: NDArray[Any], other: NDArray[Any], shape: tuple[int, ...]) -> float:
    """How far the corners of the volume lie apart in the two."""
    corners = np.array([[*((np.array(shape[:3]) - 1) * place), 1] for place in np.ndindex(2, 2, 2)]).T
    return float(np.abs((one - other) @ corners).max())


def _given(parsed: Any) -> tuple[float, float]:
    try:
        slope, intercept = parsed.get_slope_inter()
    except Exception:  # noqa: BLE001 - an infinite one: nibabel's own kind
        raise ConversionError("the slope or intercept of its values is not a number") from None
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept))
