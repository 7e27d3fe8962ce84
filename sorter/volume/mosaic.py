"""Siemens mosaics: the slices of one volume, side by side in one picture.

The Image Position of a mosaic is that of a slice as large as the whole picture, so it is moved to the corner
of one tile. The CSA header says how many slices there are and which way they go (SliceNormalVector, which may
oppose the normal of rows and columns).
https://nipy.org/nibabel/dicom/dicom_mosaic.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from sorter.volume.errors import VolumeError
from sorter.volume.model import Array, Tile, Vector
from sorter.volume.values import number, numbers, silenced, text, whole

_COUNT_IN_GROUP_19 = (0x0019, 0x100A)


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How a mosaic is laid out: the size of a tile, where each lies, and the position of its slice."""

    rows: int
    columns: int
    tiles: tuple[Tile, ...]
    positions: tuple[Vector, ...]


def csa(dataset: Dataset) -> dict[str, Any]:
    """The values of the Siemens CSA image header by name; empty where there is none.

    Raises
    ------
    VolumeError
        nibabel, which reads it, is not installed.
    """
    with silenced():
        try:
            from nibabel.nicom import csareader  # noqa: PLC0415 - an extra; warns at import
        except ImportError:
            raise VolumeError("needs nibabel: install sorter[formats]") from None

        try:
            header: Any = csareader.get_csa_header(dataset, "image")
        except Exception:  # noqa: BLE001 - nibabel raises many kinds over a malformed header
            return {}
    return {name: tag["items"] for name, tag in (header or {"tags": {}})["tags"].items() if tag["items"]}


def is_mosaic(dataset: Dataset) -> bool:
    """Whether its picture is a mosaic."""
    return "MOSAIC" in text(dataset, "ImageType").split("\\")


def layout(dataset: Dataset) -> Mosaic:
    """The layout of a mosaic.

    Raises
    ------
    VolumeError
        It does not say where its slices are.
    """
    header = csa(dataset)
    count = _count(dataset, header)
    side = math.ceil(math.sqrt(count))
    orientation = np.array(numbers(dataset, "ImageOrientationPatient", 6))
    position = np.array(numbers(dataset, "ImagePositionPatient", 3))
    spacing = np.array(numbers(dataset, "PixelSpacing", 2))
    step = number(dataset, "SpacingBetweenSlices") or number(dataset, "SliceThickness")
    rows, columns = whole(dataset, "Rows"), whole(dataset, "Columns")
    if not (count and step and orientation.size and position.size and spacing.size):
        raise VolumeError("is a mosaic, and does not say where its slices are")
    if rows % side or columns % side:
        raise VolumeError(f"is a mosaic of {rows} x {columns} pixels: {count} slices do not fit evenly")
    along_row, along_column = orientation[:3], orientation[3:]
    tile_rows, tile_columns = rows // side, columns // side
    corner = position + along_row * spacing[1] * (columns - tile_columns) / 2
    corner = corner + along_column * spacing[0] * (rows - tile_rows) / 2
    normal = _normal(header, np.cross(along_row, along_column))
    return Mosaic(
        tile_rows,
        tile_columns,
        tuple(Tile(number // side * tile_rows, number % side * tile_columns) for number in range(count)),
        tuple(_vector(corner + normal * step * number) for number in range(count)),
    )


def _count(dataset: Dataset, header: dict[str, Any]) -> int:
    said = header.get("NumberOfImagesInMosaic")
    element = dataset.get(_COUNT_IN_GROUP_19)
    found = said[0] if said else element.value if element is not None else 0
    try:
        return int(found)
    except (TypeError, ValueError):
        return 0


def _normal(header: dict[str, Any], across: Array) -> Array:
    """The normal of rows and columns, with the sign that the CSA header gives it."""
    said = header.get("SliceNormalVector")
    return -across if said and len(said) == 3 and float(np.dot(said, across)) < 0 else across


def _vector(point: Array) -> Vector:
    return (float(point[0]), float(point[1]), float(point[2]))
