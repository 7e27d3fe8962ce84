"""NIfTI file -> pictures of its slices.

The volume is turned to the nearest of RAS first, so that axis i runs from left to right, j from back to
front, k upwards. Slices are shown as radiologists see them: the patient's right is on the left, front or top
is up.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from sorter.export.forms import Options
from sorter.export.montage import Picture, sampled
from sorter.export.outcome import Exported, State
from sorter.export.pictures import (
    USUAL_MS,
    is_animated,
    is_named,
    save,
    save_together,
    several_for_one,
    with_suffix,
)
from sorter.export.writing import ExportError, check_free, why
from sorter.volume.model import Array

_AXES = {"i": 0, "j": 1, "k": 2}
_PERCENTILES = (0.5, 99.5)
_FARTHEST = 16.0  # from square; as for pictures of instances


def export_slices(path: Path, base: Path, options: Options, *, dry_run: bool = False) -> Exported:
    """Write the slices of a NIfTI file as pictures, along one axis; of 4-D files for each volume."""
    try:
        values, sizes = read_ras(path)
        along = _AXES[options.axis]
        moved = np.moveaxis(values, along, 0)
        across, up = (size for axis, size in enumerate(sizes) if axis != along)
        count, times = moved.shape[0], int(np.prod(moved.shape[3:]))
        named = is_named(base, options.to)
        if options.montage or is_animated(options) or (named and count * times == 1):
            targets = [with_suffix(base, options.to)]
        elif named:
            raise ExportError(several_for_one(count * times))
        else:
            targets = [
                base / f"{options.axis}{k + 1:04}{f'_{t + 1:04}' if times > 1 else ''}.{options.to.value}"
                for t in range(times)
                for k in range(count)
            ]
        check_free(*targets)
        if not dry_run:
            _write(targets, moved, (across, up), options)
    except (ExportError, OSError, MemoryError) as error:
        return Exported(base.name, "", State.REFUSED, detail=why(error), source=path)
    return Exported(base.name, "", State.EXPORTED, tuple(targets), len(targets), values.shape)


def read_ras(path: Path) -> tuple[Array, tuple[float, float, float]]:
    """The values of a NIfTI file, i to the right, j to the front, k up; and the size of a voxel.

    Raises
    ------
    ExportError
        It cannot be read as NIfTI.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = nibabel.as_closest_canonical(nibabel.load(path))
            values: Array = np.asanyarray(found.dataobj)
            i, j, k = nibabel.affines.voxel_sizes(found.affine)
        except Exception as error:
            # nibabel raises many kinds, and OSError where data end.
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
                raise
            raise ExportError(f"cannot be read as NIfTI ({type(error).__name__})") from None
    if values.ndim < 3:
        values = values.reshape(*values.shape, *(1,) * (3 - values.ndim))
    return values, (float(i), float(j), float(k))


def _write(targets: list[Path], moved: Array, sizes: tuple[float, float], options: Options) -> None:
    low, high = _window(moved, options)
    flat = moved.reshape(*moved.shape[:3], -1)
    places = [(t, k) for t in range(flat.shape[3]) for k in range(flat.shape[0])]
    if options.montage:
        places = sampled(places)
    shown = (_square(_shown(flat[k, ..., t], low, high), *sizes) for t, k in places)
    if len(targets) == 1 and len(places) > 1:
        save_together(targets[0], shown, options, USUAL_MS)
        return
    for target, one in zip(targets, shown, strict=True):
        save(target, [one], options.to)


def _window(values: Array, options: Options) -> tuple[float, float]:
    if values.dtype.names:
        return 0.0, 255.0
    if isinstance(options.window, tuple):
        center, width = options.window
        return center - width / 2, center + width / 2
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(one) for one in np.percentile(finite, _PERCENTILES))
    return low, high if high > low else low + 1


def _shown(plane: Array, low: float, high: float) -> Picture:
    """A slice (across, up) as a picture: rows from the top, the patient's right on the left."""
    if plane.dtype.names:
        colours = np.stack([plane[name] for name in plane.dtype.names[:3]], axis=-1).astype(np.uint8)
        return np.ascontiguousarray(colours[::-1, ::-1].swapaxes(0, 1))
    grey = np.clip((np.nan_to_num(plane.astype(np.float64)) - low) / (high - low), 0, 1) * 255
    return np.ascontiguousarray(np.rint(grey).astype(np.uint8)[::-1, ::-1].T)


def _square(shown: Picture, across: float, up: float) -> Picture:
    """The picture, larger along the longer side of its voxels, so that its pixels are square."""
    rows, columns = shown.shape[:2]
    if not (0 < across < np.inf and 0 < up < np.inf) or not 1 / _FARTHEST < across / up < _FARTHEST:
        return shown
    size = (round(columns * max(1, across / up)), round(rows * max(1, up / across)))
    if size == (columns, rows):
        return shown
    return np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.BILINEAR))
