"""Where the voxels of a volume lie in the patient: from an affine to DICOM's words. Pure.

NIfTI's world is RAS+ (x to the right, y to the front, z up), DICOM's is LPS+ (PS3.3 C.7.6.2.1.1), both in mm.
Voxels are never moved: axis i becomes the columns, j the rows, k the slices, whatever way they point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sorter.convert.errors import ConversionError

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AXES = (("L", "R"), ("P", "A"), ("H", "F"))  # positive, negative

# Rows and columns may differ from a right angle by this cosine: what 32-bit affines need, and no more.
SHEAR_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Geometry:
    """The Image Plane attributes of all slices of one volume.

    Parameters
    ----------
    orientation
        Image Orientation (Patient): unit vectors along a row (axis i) and along a column (axis j).
    spacing
        Pixel Spacing in mm: between rows (along j), between columns (along i).
    thickness
        Distance of neighbouring slices along the normal, in mm.
    order
        Indices k of the slices, in order along the normal.
    origin, step
        Position of the first voxel of slice 0, and from a slice to the next; LPS+, mm. The step may lean
        against the normal, as a tilted gantry makes it.
    """

    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    thickness: float
    order: range
    origin: NDArray[np.float64]
    step: NDArray[np.float64]

    def position(self, k: int) -> NDArray[np.float64]:
        """Image Position (Patient) of the slice with index k."""
        return self.origin + k * self.step

    @property
    def patient_orientation(self) -> list[str]:
        """Patient Orientation: where rows and columns point, in letters. PS3.3 C.7.6.1.1.1."""
        return [_letters(self.orientation[:3]), _letters(self.orientation[3:])]


def geometry(affine: NDArray[Any], slices: int) -> Geometry:
    """From voxel indices (i, j, k) to the patient.

    Parameters
    ----------
    affine
        4 x 4, to RAS+ mm.
    slices
        How many voxels there are along k.

    Raises
    ------
    ConversionError
        Rows and columns are not at right angles, or an axis has no direction.
    """
    to_patient = _TO_LPS @ np.asarray(affine, dtype=np.float64)
    along_i, along_j, along_k = to_patient[:3, 0], to_patient[:3, 1], to_patient[:3, 2]
    between_columns, between_rows = float(np.linalg.norm(along_i)), float(np.linalg.norm(along_j))
    if not np.isfinite(to_patient).all() or min(between_columns, between_rows) <= 0:
        raise ConversionError("the orientation is not usable: an axis of the slices has no direction")
    row, column = along_i / between_columns, along_j / between_rows
    if abs(float(row @ column)) > SHEAR_TOLERANCE:
        raise ConversionError(
            "rows and columns are not at right angles (in-plane shear), which DICOM cannot say: resample"
        )
    normal = np.cross(row, column)
    along_normal = float(along_k @ normal)
    if abs(along_normal) <= 1e-6 * float(np.linalg.norm(along_k)):
        raise ConversionError("the orientation is not usable: the slices do not follow each other")
    forward = along_normal > 0
    return Geometry(
        orientation=np.concatenate([row, column]),
        spacing=(between_rows, between_columns),
        thickness=abs(along_normal),
        order=range(slices) if forward else range(slices - 1, -1, -1),
        origin=to_patient[:3, 3],
        step=along_k,
    )


def affine_of_letters(
    letters: str, spacing: tuple[float, float, float], shape: tuple[int, ...]
) -> NDArray[Any]:
    """An affine for a volume that has none: axes as the letters say, its middle at the origin.

    Parameters
    ----------
    letters
        Where i, j and k point: one of R/L, of A/P and of S/I each.
    spacing
        mm along i, j, k.
    """
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (letter, size, count) in enumerate(zip(letters, spacing, shape, strict=False)):
        place = "RASLPI".index(letter)
        sign = 1.0 if place < 3 else -1.0
        affine[place % 3, axis] = sign * size
        affine[place % 3, 3] = -sign * size * (count - 1) / 2
    return affine


def _letters(direction: NDArray[np.float64]) -> str:
    """Where a direction in LPS+ points: one to three letters, the main one first."""
    named = [
        positive if size > 0 else negative
        for size, (positive, negative) in zip(direction, _AXES, strict=True)
    ]
    by_size = np.argsort(-np.abs(direction), kind="stable")
    return "".join(named[axis] for axis in by_size if abs(direction[axis]) > 0.1)
