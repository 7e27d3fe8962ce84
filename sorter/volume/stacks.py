"""Frames -> stacks: what belongs together, in which order, and what is odd about it; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sorter.volume import geometry
from sorter.volume.model import Array, Flag, Frame, Likeness, Stack
from sorter.volume.times import KEYWORDS

_SAME_COSINE, _SAME_SPACING, _SAME_ECHO = 1e-3, 1e-3, 1e-3
_NO_POSITION = Flag(
    "position", "no positions: slices are in the order of their numbers; the affine has only sizes"
)
_NO_SPACING = Flag("spacing_unknown", "no size of pixels: 1 mm is assumed")


def stacks(frames: Iterable[Frame]) -> list[Stack]:
    """All stacks there are in the frames, in the order of their first frames."""
    made = [stack for group in _groups(frames) for stack in _stacked(group)]
    if len(made) < 2:
        return made
    by_series = Counter(stack.likeness.series for stack in made)
    return [
        replace(stack, flags=(*stack.flags, _mixed(made, stack)))
        if by_series[stack.likeness.series] > 1
        else stack
        for stack in made
    ]


def _groups(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Frames that are alike; what is measured may differ by rounding."""
    by_exact: dict[tuple[Any, ...], list[list[Frame]]] = defaultdict(list)
    found: list[list[Frame]] = []
    for frame in frames:
        like = frame.likeness
        exact = (like.series, like.rows, like.columns, like.samples, like.image_type, like.segment)
        alike = by_exact[(*exact, like.is_multiframe, frame.position is None)]
        group = next((one for one in alike if _is_close(one[0].likeness, like)), None)
        if group is None:
            group = []
            alike.append(group)
            found.append(group)
        group.append(frame)
    return found


def _is_close(one: Likeness, other: Likeness) -> bool:
    if (one.echo is None) != (other.echo is None) or len(one.orientation) != len(other.orientation):
        return False
    if len(one.spacing) != len(other.spacing):
        return False
    echoes = abs((one.echo or 0) - (other.echo or 0)) <= _SAME_ECHO
    return (
        echoes
        and _near(one.orientation, other.orientation, _SAME_COSINE)
        and _near(one.spacing, other.spacing, _SAME_SPACING)
    )


def _near(one: Sequence[float], other: Sequence[float], limit: float) -> bool:
    return all(abs(a - b) <= limit for a, b in zip(one, other, strict=True))


def _mixed(made: Sequence[Stack], stack: Stack) -> Flag:
    same = [one for one in made if one.likeness.series == stack.likeness.series]
    differing = [
        name
        for name, values in (
            ("shape", {(one.likeness.rows, one.likeness.columns) for one in same}),
            ("orientation", {tuple(np.round(one.likeness.orientation, 3)) for one in same}),
            ("spacing", {tuple(np.round(one.likeness.spacing, 3)) for one in same}),
            ("echo", {one.likeness.echo for one in same}),
            ("frame type", {one.likeness.image_type for one in same}),
            ("segment", {one.likeness.segment for one in same}),
            ("colour", {one.likeness.samples for one in same}),
            ("kind of file", {one.likeness.is_multiframe for one in same}),
        )
        if len(values) > 1
    ] or ["position"]
    which = f"{same.index(stack) + 1} of {len(same)}"
    return Flag("mixed", f"{which} in this series, which differ in {', '.join(differing)}")


def _stacked(group: list[Frame]) -> list[Stack]:
    group, flags = _without_copies(group)
    like = group[0].likeness
    if not like.spacing:
        flags = [*flags, _NO_SPACING]
        like = replace(like, spacing=(1.0, 1.0))
    if group[0].position is None or not like.orientation:
        return [_unplaced(group, like, flags)]
    points = np.array([frame.position for frame in group])
    along = points @ geometry.normal(like.orientation)
    places = geometry.clusters(along)
    volumes, more = _volumes([[group[at] for at in place] for place in places])
    return [_placed(volumes, like, [*flags, *more])]


def _without_copies(group: list[Frame]) -> tuple[list[Frame], list[Flag]]:
    """Without the second and further copies of an instance.

    What has the SOP Instance UID of another slice, but a place, time or number of its own, is no copy.
    """
    seen: dict[tuple[Any, ...], Frame] = {}
    for frame in group:
        which = (frame.sop_instance_uid or frame.path, frame.index, frame.tile)
        seen.setdefault((*which, frame.position, frame.number, *frame.times.items()), frame)
    copies = len(group) - len(seen)
    flags = [Flag("copy", f"{copies} frames come twice, with one SOP Instance UID; one of each is used")]
    return list(seen.values()), flags if copies else []


def _unplaced(group: list[Frame], like: Likeness, flags: list[Flag]) -> Stack:
    ordered = sorted(group, key=lambda frame: (frame.number, frame.sop_instance_uid, frame.index))
    thickness = ordered[0].thickness or 1.0
    like = replace(like, orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    # The centre of the first slice is the origin, as dcm2niix has it.
    down, across = like.spacing
    corner = (-across * (like.columns - 1) / 2, -down * (like.rows - 1) / 2, 0.0)
    matrix = geometry.affine(like, corner, (0.0, 0.0, thickness))
    return Stack((tuple(ordered),), matrix, (*flags, _NO_POSITION))


def _volumes(places: list[list[Frame]]) -> tuple[list[tuple[Frame, ...]], list[Flag]]:
    """Frames by place -> by time and place. Equal counts are times; otherwise the usual count rules."""
    counts = Counter(map(len, places))
    usual = max(counts, key=lambda count: (counts[count], -count))
    flags: list[Flag] = []
    if usual == 1 and max(counts) > 1:
        at = [number for number, place in enumerate(places, 1) if len(place) > 1]
        extra = sum(map(len, places)) - len(places)
        named = ", ".join(map(str, at[:5])) + (f" and {len(at) - 5} more" if len(at) > 5 else "")
        flags.append(Flag("duplicate", f"{extra} frames too many, at slice {named}", True))
    ordered = [sorted(place, key=_order) for place in places]
    keyword = _time_keyword(ordered, usual) if usual > 1 else None
    if usual > 1 and len(counts) > 1 and keyword is None:
        text = "slices are missing from some volumes, and nothing tells which: times may be shifted"
        flags.append(Flag("incomplete", text, True))
    elif usual > 1 and keyword is None:
        flags.append(Flag("untold", f"only their numbers tell the {usual} volumes of this series apart"))
    columns = _by_time(ordered, keyword, usual)
    kept = [time for time in columns if all(frame is not None for frame in time)]
    if len(kept) < len(columns):
        lost = sum(frame is not None for time in columns if None in time for frame in time)
        text = (
            f"{len(columns) - len(kept)} of {len(columns)} volumes lack slices: left out, with {lost} frames"
        )
        flags.append(Flag("incomplete", text))
    return [tuple(frame for frame in time if frame is not None) for time in kept], flags


def _by_time(places: list[list[Frame]], keyword: str | None, usual: int) -> list[list[Frame | None]]:
    """Each time, its frames by place; ``None`` where a place has no frame of that time."""
    if keyword is None:
        return [[place[time] if time < len(place) else None for place in places] for time in range(usual)]
    first_seen: dict[Any, tuple[Any, ...]] = {}
    for place in places:
        for frame in place:
            value = frame.times[keyword]
            first_seen[value] = min(first_seen.get(value, _order(frame)), _order(frame))
    found = [{frame.times[keyword]: frame for frame in reversed(place)} for place in places]
    return [
        [place.get(value) for place in found] for value in sorted(first_seen, key=lambda one: first_seen[one])
    ]


def _time_keyword(places: list[list[Frame]], usual: int) -> str | None:
    """The keyword whose values tell the frames of each place apart, and are the same at most places."""
    for keyword in KEYWORDS:
        sets = [{frame.times.get(keyword) for frame in place} for place in places]
        if any(
            None in values or len(values) < len(place) for values, place in zip(sets, places, strict=True)
        ):
            continue
        values, count = Counter(map(frozenset, sets)).most_common(1)[0]
        if len(values) == usual and 2 * count > len(places):
            return keyword
    return None


def _order(frame: Frame) -> tuple[Any, ...]:
    return (frame.number, frame.sop_instance_uid, frame.index)


def _placed(volumes: list[tuple[Frame, ...]], like: Likeness, flags: list[Flag]) -> Stack:
    points = np.array([[frame.position for frame in volume] for volume in volumes], float)
    middle = points[0]
    aside = _moved(points)
    across = geometry.normal(like.orientation)
    places = middle @ across
    flags = [*flags, *aside, *geometry.spacing_flags(places), *geometry.line_flags(middle, like.orientation)]
    if len(middle) > 1:
        step = (middle[-1] - middle[0]) / (len(middle) - 1)
    else:
        step = across * (volumes[0][0].thickness or 1.0)
    matrix = geometry.affine(like, middle[0], step)
    made = Stack(tuple(volumes), matrix, tuple(flags), tuple(float(one) for one in places - places[0]))
    return _filled(made) if like.segment is not None else made


def _filled(stack: Stack) -> Stack:
    """A segment with all its slices: frames that it does not touch need not be there (PS3.3 C.8.20.2)."""
    if [flag.code for flag in stack.faults] != ["gap"]:
        return stack
    places = np.array(stack.places)
    step = stack.first.thickness or geometry.usual_step(np.diff(places))
    numbers = np.rint(places / step).astype(int)
    if np.abs(places - numbers * step).max() > geometry.tolerance(step) or len(set(numbers)) < len(numbers):
        return stack
    by_number = dict(zip(numbers.tolist(), stack.frames[0], strict=True))
    count = int(numbers[-1]) + 1
    frames = tuple(by_number.get(number) for number in range(count))
    matrix = stack.affine.copy()
    matrix[:3, 2] *= (len(places) - 1) / (count - 1)
    text = f"{count - len(places)} of {count} slices have no frame: they are empty"
    flags = (*(flag for flag in stack.flags if not flag.is_fault), Flag("sparse", text))
    return Stack((frames,), matrix, flags, tuple(step * number for number in range(count)))


def _moved(points: Array) -> list[Flag]:
    """Whether frames of one slice, (t, k, 3), lie at different positions at different times."""
    apart = np.linalg.norm(points - points[:1], axis=2).max(axis=0)
    step = np.linalg.norm(points[0, -1] - points[0, 0]) / max(1, points.shape[1] - 1)
    at = np.flatnonzero(apart > max(geometry.tolerance(float(step)), 0.1))
    if not at.size:
        return []
    named = ", ".join(str(one + 1) for one in at[:5])
    return [
        Flag("misplaced", f"positions of slice {named} differ in time by up to {apart.max():.4g} mm", True)
    ]
