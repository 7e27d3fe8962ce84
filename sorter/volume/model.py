"""What a series is made of: frames, stacks of frames, volumes; and what is odd about them.

Positions and directions of frames are in DICOM's patient coordinates (LPS+, mm, PS3.3 C.7.6.2.1.1); affines
are in RAS+ mm, as NIfTI has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Vector = tuple[float, float, float]

ORDER = "i: columns, left to right; j: rows, last to first; k: along the normal of the slices; t: time"


class Flag(NamedTuple):
    """One thing to know about a stack.

    Parameters
    ----------
    code
        ``gap``, ``spacing``, ``duplicate``, ``misplaced``: no volume unless regularized. ``copy``,
        ``incomplete``, ``untold``, ``tilt``, ``position``, ``spacing_unknown``, ``repeated``, ``mixed``,
        ``regularized``, ``sparse``: to know.
    text
        What and where, in words without patient data. Slices are counted from 1.
    is_fault
        Whether it keeps the frames from being a regular volume.
    """

    code: str
    text: str
    is_fault: bool = False


class Tile(NamedTuple):
    """Where a slice lies within a Siemens mosaic, in pixels."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Likeness:
    """What the frames of one stack have in common.

    Parameters
    ----------
    series, rows, columns, samples
        Series Instance UID and the shape of a frame.
    image_type
        Frame Type, or Image Type.
    echo
        Echo time in ms, or the number of the echo.
    segment
        Referenced Segment Number of a segmentation.
    orientation
        The cosines of rows and columns; empty where there are none.
    spacing
        Between rows and between columns, in mm; empty where it is unknown.
    is_multiframe
        Whether the file holds many frames; the same slices may be there in both kinds of files.
    """

    series: str
    rows: int
    columns: int
    samples: int
    image_type: tuple[str, ...] = ()
    echo: float | None = None
    segment: int | None = None
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    is_multiframe: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice: a frame of a file, or a tile of a mosaic.

    Parameters
    ----------
    path, index, tile
        Where its pixels are: frames of a file are counted from 0.
    likeness
        What it shares with the other frames of its stack.
    position
        The centre of its first pixel, in mm; ``None`` where there is none.
    times
        What may tell frames of one place apart, by DICOM keyword; see :mod:`sorter.volume.times`.
    rescale
        Slope and intercept from stored to real values.
    scale_slope
        Of Philips MR: see :mod:`sorter.export.nifti`.
    thickness
        Spacing Between Slices or Slice Thickness in mm, for a volume of one slice.
    sop_instance_uid, number
        For the order, and for finding copies.
    """

    path: Path
    index: int
    likeness: Likeness
    position: Vector | None
    times: Mapping[str, Any] = field(default_factory=dict)
    rescale: tuple[float, float] = (1.0, 0.0)
    scale_slope: float | None = None
    thickness: float | None = None
    sop_instance_uid: str = ""
    number: int = 0
    tile: Tile | None = None


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames in the order of a volume, with its geometry; made without reading pixels.

    Parameters
    ----------
    frames
        By time, then by place along the normal: ``frames[t][k]``. ``None`` where a segmentation has no frame.
    affine
        4 x 4, from (i, j, k) to RAS+ mm.
    flags
        What is odd about it.
    places
        Distances of the slices along the normal from the first, in mm; empty where positions are unknown.
    """

    frames: tuple[tuple[Frame | None, ...], ...]
    affine: Array
    flags: tuple[Flag, ...] = ()
    places: tuple[float, ...] = ()

    def __repr__(self) -> str:
        codes = f", flags: {', '.join(flag.code for flag in self.flags)}" if self.flags else ""
        return f"<stack {' x '.join(map(str, self.shape))}{codes}>"

    @property
    def likeness(self) -> Likeness:
        """What its frames have in common."""
        return self.first.likeness

    @property
    def first(self) -> Frame:
        """The first frame there is."""
        return next(frame for volume in self.frames for frame in volume if frame is not None)

    @property
    def scale_slope(self) -> float | None:
        """The scale slope of Philips MR, where all frames have the same."""
        found = {frame.scale_slope for volume in self.frames for frame in volume if frame is not None}
        return found.pop() if len(found) == 1 else None

    @property
    def shape(self) -> tuple[int, ...]:
        """(i, j, k) or (i, j, k, t)."""
        shape = (self.likeness.columns, self.likeness.rows, len(self.frames[0]))
        return shape if len(self.frames) == 1 else (*shape, len(self.frames))

    @property
    def spacing(self) -> tuple[float, ...]:
        """The size of a voxel in mm, along i, j and k."""
        return tuple(float(one) for one in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def faults(self) -> tuple[Flag, ...]:
        """The flags that keep it from being a regular volume."""
        return tuple(flag for flag in self.flags if flag.is_fault)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the files hold, told without pixels.

    Parameters
    ----------
    stacks
        In the order of their first frames.
    unusable
        Files without frames, and why.
    faulty
        Those of them that should have frames: damaged, or at odds with themselves.
    """

    stacks: tuple[Stack, ...]
    unusable: tuple[tuple[Path, str], ...] = ()
    faulty: frozenset[Path] = frozenset()

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All flags of all stacks."""
        return tuple(flag for stack in self.stacks for flag in stack.flags)


@dataclass(frozen=True, eq=False)
class Volume:
    """A regular grid of voxels.

    Parameters
    ----------
    stored
        (i, j, k) or (i, j, k, t): values as stored; of dtype ``RGB`` (R, G, B of uint8) for colour.
    rescale
        Slope and intercept from stored to real values; (1, 0) where they are the same.
    affine
        4 x 4, from (i, j, k) to RAS+ mm.
    stack
        The frames it was made of.
    flags
        What is odd about it.
    """

    stored: Array
    rescale: tuple[float, float]
    affine: Array
    stack: Stack
    flags: tuple[Flag, ...] = ()

    order = ORDER

    def __repr__(self) -> str:
        size, apart = (" x ".join(f"{one:g}" for one in several) for several in (self.shape, self.spacing))
        codes = f", flags: {', '.join(flag.code for flag in self.flags)}" if self.flags else ""
        return f"<volume {size} of {self.stored.dtype}, {apart} mm{codes}>"

    @cached_property
    def array(self) -> Array:
        """The real values: integers where the rescale allows it, else float32."""
        slope, intercept = self.rescale
        if (slope, intercept) == (1.0, 0.0):
            return self.stored
        return (self.stored * np.float64(slope) + np.float64(intercept)).astype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """(i, j, k) or (i, j, k, t)."""
        return self.stored.shape

    @property
    def spacing(self) -> tuple[float, ...]:
        """The size of a voxel in mm, along i, j and k."""
        return tuple(float(one) for one in np.linalg.norm(self.affine[:3, :3], axis=0))


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
