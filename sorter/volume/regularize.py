"""A regular grid where slices are missing or unevenly spaced; only when it is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sorter.volume import geometry
from sorter.volume.errors import VolumeError
from sorter.volume.model import Array, Flag, Volume


def regularized(volume: Volume) -> Volume:
    """The volume on an even grid from its first slice to its last, at the usual step.

    Slices that lie where the grid has one are copied; the others are interpolated between their neighbours,
    along the line of slices, and rounded where values are integers.

    Raises
    ------
    VolumeError
        Its slices do not lie on one line: no grid along a line can hold them.
    """
    if any(flag.code == "misplaced" for flag in volume.flags):
        raise VolumeError("slices do not lie on one line: they cannot be regularized")
    places = np.array(volume.stack.places)
    codes = ", ".join(sorted({flag.code for flag in volume.stack.faults}))
    if len(places) < 2:
        return replace(
            volume, flags=(*volume.flags, Flag("regularized", f"{codes}: frames too many left out"))
        )
    usual = geometry.usual_step(np.diff(places))
    count = round(float(places[-1]) / usual) + 1
    grid = np.linspace(0, places[-1], count)
    stored, made = _sampled(volume.stored, places, grid, geometry.tolerance(usual))
    affine = volume.affine.copy()
    affine[:3, 2] *= (len(places) - 1) / (count - 1)
    text = f"{codes}: {made} of {count} slices interpolated, {grid[1]:.4g} mm apart"
    return replace(volume, stored=stored, affine=affine, flags=(*volume.flags, Flag("regularized", text)))


def _sampled(stored: Array, places: Array, grid: Array, allowed: float) -> tuple[Array, int]:
    """The values (i, j, k[, t]) at the places of the grid, and how many slices had to be made."""
    out = np.zeros((*stored.shape[:2], len(grid), *stored.shape[3:]), stored.dtype, order="F")
    made = 0
    for k, place in enumerate(grid):
        nearest = int(np.abs(places - place).argmin())
        if abs(places[nearest] - place) <= allowed or stored.dtype.names:
            out[:, :, k] = stored[:, :, nearest]
            made += abs(places[nearest] - place) > allowed
            continue
        above = int(np.searchsorted(places, place))
        share = (place - places[above - 1]) / (places[above] - places[above - 1])
        between = stored[:, :, above - 1] * (1 - share) + stored[:, :, above] * share
        out[:, :, k] = np.rint(between) if stored.dtype.kind in "iu" else between
        made += 1
    return out, made
