"""Positions -> places along the normal, step, affine, and what is wrong with them; pure.

The step between slices is (last - first) / (n - 1) in three dimensions, so that the tilt of a gantry stays in
the affine. Slice Thickness, Slice Location and Instance Number say nothing here: all are wrong in real files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sorter.volume.model import Array, Flag, Likeness

# How far a slice may lie from where it should: a share of the step, or what rounding of its position and of
# the last one to 0.1 mm makes of it.
_SHARE = 0.05
_ROUNDING, _MOST_OF_ROUNDING = 0.11, 0.2
_SAME_PLACE, _SAME_PLACE_SHARE = 0.01, 0.1  # mm, and of the step
_TILT = 1e-3  # sine of the angle
_NAMED = 5  # so many places are named in a flag


def normal(orientation: Sequence[float]) -> Array:
    """The unit normal of rows and columns: rows x columns."""
    across = np.cross(orientation[:3], orientation[3:])
    return np.asarray(across / np.linalg.norm(across))


def clusters(places: Array) -> list[Array]:
    """Indexes of frames by place: frames that lie within a hundredth of a mm, or a tenth of a step, are one.

    Parameters
    ----------
    places
        (n,) distances along the normal, in mm.
    """
    order = np.argsort(places, kind="stable")
    steps = np.diff(places[order])
    real = steps[steps > _SAME_PLACE]
    limit = max(_SAME_PLACE, _SAME_PLACE_SHARE * float(np.median(real))) if real.size else _SAME_PLACE
    return np.split(order, np.flatnonzero(steps > limit) + 1)


def tolerance(step: float) -> float:
    """How far a slice may lie from its place, in mm."""
    return max(_SHARE * step, min(_ROUNDING, _MOST_OF_ROUNDING * step))


def spacing_flags(places: Array) -> list[Flag]:
    """What is wrong with the spacing of slices at these places (n,), ascending, in mm."""
    if len(places) < 3:
        return []
    steps = np.diff(places)
    allowed = tolerance(abs(float(places[-1] - places[0])) / len(steps))
    line = np.linspace(places[0], places[-1], len(places))
    if np.max(np.abs(places - line)) <= allowed and np.max(np.abs(steps - np.median(steps))) <= 2 * allowed:
        return []
    usual = usual_step(steps)
    multiples = np.rint(steps / usual)
    is_gap = (multiples > 1) & (np.abs(steps - multiples * usual) <= 2 * tolerance(usual) * multiples)
    odd = np.abs(steps - usual) > 2 * tolerance(usual)
    if is_gap.any() and not (odd & ~is_gap).any():
        where = [
            f"{int(multiples[at]) - 1} missing between slices {at + 1} and {at + 2}"
            for at in np.flatnonzero(is_gap)
        ]
        return [Flag("gap", f"{_listed(where)} ({usual:.4g} mm apart elsewhere)", True)]
    # No step stands out from its neighbours, but they drift: the widest and the narrowest are named.
    found = np.flatnonzero(odd) if odd.any() else np.unique((steps.argmin(), steps.argmax()))
    where = [f"{steps[at]:.4g} mm between slices {at + 1} and {at + 2}" for at in found]
    return [Flag("spacing", f"{_listed(where)}; {usual:.4g} mm is usual", True)]


def usual_step(steps: Array) -> float:
    """The step that most slices have; of few slices, the one that the others are multiples of."""
    least = float(steps.min())
    multiples = np.rint(steps / least)
    if np.all(np.abs(steps - multiples * least) <= 2 * tolerance(least)):
        return float(np.median(steps[multiples == 1]))
    return float(np.median(steps))


def line_flags(points: Array, orientation: Sequence[float]) -> list[Flag]:
    """Whether slices at these points (n, 3), in order, lie on one line, and whether it is the normal."""
    if len(points) < 2:
        return []
    whole = points[-1] - points[0]
    across = normal(orientation)
    # Only what goes sideways counts here: along the normal it is a matter of spacing.
    share = ((points - points[0]) @ across) / float(whole @ across)
    aside = points - points[0] - np.outer(share, whole)
    distance = np.linalg.norm(aside, axis=1)
    allowed = tolerance(float(np.linalg.norm(whole)) / (len(points) - 1))
    if distance.max() > allowed:
        where = [f"slice {at + 1} by {distance[at]:.4g} mm" for at in np.flatnonzero(distance > allowed)]
        return [Flag("misplaced", f"aside of the line of the others: {_listed(where)}", True)]
    direction = whole / np.linalg.norm(whole)
    sine = float(np.linalg.norm(np.cross(direction, across)))
    if sine > _TILT:
        degrees = float(np.degrees(np.arcsin(min(1.0, sine))))
        return [Flag("tilt", f"slices are stacked {degrees:.2f} degrees off their normal; the affine has it")]
    return []


def affine(likeness: Likeness, first: Sequence[float], step: Sequence[float]) -> Array:
    """4 x 4 from (i: columns, j: rows from the last to the first, k) to RAS+ mm.

    Parameters
    ----------
    first
        Position of the first slice, in LPS+ mm.
    step
        From a slice to the next, in LPS+ mm.
    """
    rows, columns = np.array(likeness.orientation[:3]), np.array(likeness.orientation[3:])
    between_rows, between_columns = likeness.spacing
    matrix = np.eye(4)
    matrix[:3, 0] = rows * between_columns
    matrix[:3, 1] = -columns * between_rows
    matrix[:3, 2] = step
    matrix[:3, 3] = np.asarray(first) + columns * between_rows * (likeness.rows - 1)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def _listed(where: Sequence[str]) -> str:
    more = len(where) - _NAMED
    return ", ".join(where[:_NAMED]) + (f" and {more} more" if more > 0 else "")
