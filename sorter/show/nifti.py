"""A NIfTI file: header, affine, and slices along an axis of the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from sorter.picture import Picture, Window
from sorter.picture.shading import shaded, shades
from sorter.show.instance import UnreadableError
from sorter.volume.values import silenced

AXES = "ijk"
_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img")


def open_nifti(path: Path) -> Any:
    """The nibabel object of a NIfTI or Analyze file; its values are not read yet.

    Raises
    ------
    UnreadableError
        It is none, or nibabel is not installed.
    OSError
        It cannot be read.
    """
    try:
        import nibabel  # noqa: PLC0415 - of the extra `formats`
    except ImportError:
        raise UnreadableError("needs nibabel: install sorter[formats]") from None
    if not path.name.lower().endswith(_SUFFIXES):
        raise UnreadableError("is neither DICOM nor NIfTI")
    with silenced():
        try:
            return nibabel.load(path)
        except Exception as error:
            # nibabel raises many kinds, and OSError where data end.
            if isinstance(error, OSError) and error.errno:
                raise
            raise UnreadableError(f"is neither DICOM nor NIfTI ({type(error).__name__})") from None


def about_nifti(opened: Any) -> dict[str, Any]:
    """The header of a NIfTI file, ready for JSON; ``axes`` are the directions to which i, j and k lead."""
    import nibabel  # noqa: PLC0415 - as above

    header = opened.header
    about: dict[str, Any] = {
        "format": type(opened).__name__.removesuffix("Image").removesuffix("Pair"),
        "shape": list(opened.shape),
        "spacing": [round(float(one), 6) for one in header.get_zooms()[:3]],
        "type": _type_name(header.get_data_dtype()),
        "axes": "".join(code or "?" for code in nibabel.aff2axcodes(opened.affine)),
        "affine": opened.affine.tolist(),
    }
    if len(opened.shape) > 3:
        about["step"] = round(float(header.get_zooms()[3]), 6)
    if hasattr(header, "get_xyzt_units"):
        about["units"] = list(header.get_xyzt_units())
        about["sform_code"], about["qform_code"] = int(header["sform_code"]), int(header["qform_code"])
        about["slope"], about["intercept"] = (None if one is None else float(one) for one in
                                              header.get_slope_inter())  # fmt: skip
        about["description"] = bytes(header["descrip"]).decode("latin-1").strip("\0 ")
    return about


def _type_name(dtype: np.dtype[Any]) -> str:
    return "RGB24" if dtype.names else str(dtype)


def slice_of(opened: Any, axis: str = "k", number: int | None = None, window: Window = "auto") -> Picture:
    """One slice as a radiologist sees it: the patient's right at the left, front or top up.

    Parameters
    ----------
    opened
        From :func:`open_nifti`.
    axis
        ``i`` (sagittal), ``j`` (coronal) or ``k`` (axial) of the volume turned to the nearest of RAS+.
    number
        From 0; the middle one by default. Of 4-D files the first volume.
    window
        As for :func:`sorter.picture.picture`.

    Raises
    ------
    UnreadableError
        There is no such slice, or its values cannot be read.
    """
    import nibabel  # noqa: PLC0415 - as above

    with silenced():
        try:
            turned = nibabel.as_closest_canonical(opened)
            shape = (*turned.shape, 1, 1)[:3]
            across = AXES.index(axis)
            at = shape[across] // 2 if number is None else number
            if not 0 <= at < shape[across]:
                raise UnreadableError(f"has no slice {at} along {axis}: {shape[across]}, counted from 0")
            where = [slice(None)] * 3
            where[across] = slice(at, at + 1)
            chosen = (*where[: len(turned.shape)], *(0 for _ in turned.shape[3:]))
            plane = np.asanyarray(turned.dataobj[chosen]).reshape(
                [1 if one == across else length for one, length in enumerate(shape)]
            ).squeeze(across)  # fmt: skip
        except (OSError, ValueError, EOFError, IndexError) as error:
            raise UnreadableError(f"its values cannot be read ({type(error).__name__})") from None
        seen = np.flip(plane, (0, 1)).T
        if seen.dtype.names:
            return np.stack([seen[name] for name in seen.dtype.names[:3]], axis=-1).astype(np.uint8)
        return shaded(seen, Dataset(), 0, shades(Dataset(), 0, seen, seen, window))
