"""Synthetic NIfTI volumes that cover orientations, types and forms of headers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (12, 10, 6)


def turned(degrees: float, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """An affine turned about all three axes, off the origin."""
    turn = np.eye(3)
    for axis in range(3):
        angle = np.deg2rad(degrees * (axis + 1) / 2)
        one, two = [other for other in range(3) if other != axis]
        about = np.eye(3)
        about[one, one] = about[two, two] = np.cos(angle)
        about[one, two], about[two, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ about
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    affine[:3, 3] = (-31.5, 17.25, -8.125)
    return affine


def axis_orders() -> list[np.ndarray]:
    """Affines of all 48 ways in which i, j, k can lie along x, y, z."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((4, 4))
            for axis, (place, sign, size) in enumerate(zip(order, signs, (1.5, 2.0, 3.25), strict=True)):
                affine[place, axis] = sign * size
            affine[:3, 3] = (4.5, -7.25, 11.0)
            affine[3, 3] = 1
            found.append(affine)
    return found


def voxels(
    dtype: str = "int16", shape: tuple[int, ...] = SHAPE, *, low: float = 0, high: float = 1000
) -> np.ndarray:
    """Reproducible voxels between the two, both of which occur."""
    flat = np.random.default_rng(1).uniform(low, high, int(np.prod(shape)))
    flat[0], flat[-1] = low, high
    return flat.reshape(shape).astype(dtype)


def volume(
    data: np.ndarray,
    affine: np.ndarray | None = None,
    *,
    sform: int = 1,
    qform: int = 1,
    kind: type = nib.Nifti1Image,
    slope: tuple[float, float] | None = None,
    **units: str,
) -> nib.Nifti1Image:
    """An unsaved volume whose header says just this."""
    affine = turned(0, (2.0, 2.0, 3.0)) if affine is None else affine
    made = kind(data, affine, dtype=data.dtype)
    made.header.set_sform(affine if sform else None, sform)
    made.header.set_qform(affine if qform else None, qform)
    made.header.set_xyzt_units(**({"xyz": "mm", "t": "sec"} | units))
    if slope:
        made.header.set_slope_inter(*slope)
    return made


def _rgb(channels: int) -> np.ndarray:
    names = "RGBA"[:channels]
    data = np.zeros(SHAPE, dtype=[(name, "u1") for name in names])
    for number, name in enumerate(names):
        data[name] = voxels("uint8", low=0, high=200 + number)
    return data


def _nan() -> np.ndarray:
    data = voxels("float32", low=-3, high=7)
    data[1, 2, 3] = np.nan
    return data


def _differing() -> nib.Nifti1Image:
    made = volume(voxels(), turned(30))
    made.header.set_qform(turned(10), 1)
    return made


# name: what makes it.
MADE: dict[str, Callable[[], nib.Nifti1Image]] = {
    "axial": lambda: volume(voxels()),
    "oblique": lambda: volume(voxels(), turned(25, (0.9, 1.1, 2.5))),
    "left-handed": lambda: volume(voxels(), turned(25) @ np.diag([-1.0, 1, 1, 1])),
    "sagittal": lambda: volume(voxels(), axis_orders()[20]),
    "coronal": lambda: volume(voxels(), axis_orders()[11]),
    "anisotropic": lambda: volume(voxels(), turned(0, (0.4, 1.7, 9.0))),
    "int8": lambda: volume(voxels("int8", low=-128, high=127)),
    "uint8": lambda: volume(voxels("uint8", low=0, high=255)),
    "uint16": lambda: volume(voxels("uint16", low=0, high=65535)),
    "int32 that fits": lambda: volume(voxels("int32", low=-30000, high=30000)),
    "int32 with an offset": lambda: volume(voxels("int32", low=1_000_000, high=1_060_000)),
    "float32": lambda: volume(voxels("float32", low=-1.5, high=2.25)),
    "float64": lambda: volume(voxels("float64", low=-1e-3, high=3e5)),
    "NaN": lambda: volume(_nan()),
    "scaled": lambda: volume(voxels(), slope=(0.25, -1024.0)),
    "RGB24": lambda: volume(_rgb(3)),
    "4-D": lambda: volume(voxels(shape=(*SHAPE, 3))),
    "single slice": lambda: volume(voxels(shape=(12, 10, 1)), turned(40)),
    "sform only": lambda: volume(voxels(), turned(25), qform=0),
    "qform only": lambda: volume(voxels(), turned(25), sform=0),
    "differing": _differing,
    "NIfTI-2": lambda: volume(voxels("int16", (11, 7, 5)), turned(25), kind=nib.Nifti2Image),
}


def save(made: nib.Nifti1Image, path: Path) -> Path:
    """Write it; the name says whether it is compressed or a pair."""
    nib.save(made, path)
    return path
