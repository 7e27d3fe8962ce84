"""What can be told of a series that has gone quiet: which instance numbers and slices are missing. Pure.

Nothing here knows how many instances a series should have: PS3.3 asks no header to say so. A gap is therefore
evidence and no proof, and a series without one may still lack its first or last slices.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low
from typing import Any

# Lists in an event are cut here; the counts beside them are of all.
MOST_LISTED = 100
# Positions nearer than this are one (mm): what is left of coordinates that were written as text.
_SAME_POSITION = 1e-4
# How far direction cosines may be off, of each other and of what they must be.
_SAME_DIRECTION = 1e-3
_ORTHONORMAL = 1e-2
# No patient is that large (mm). False for NaN too.
_ABSURD = 1e7
# A step of this many times the median is a gap; below it, a step this much off makes the spacing uneven.
_GAP = 1.5
_UNEVEN = 0.1

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header of one instance says.

    ``position`` and ``orientation`` are Image Position (Patient) in mm and Image Orientation (Patient), PS3.3
    C.7.6.2.1.1: three and six numbers, or empty where they are missing or unusable.
    """

    instance_number: int | None = None
    acquisition_number: int | None = None
    number_of_frames: int | None = None
    position: Vector = ()
    orientation: Vector = ()
    images_in_acquisition: int | None = None
    series_related_instances: int | None = None


def numbers(values: Sequence[str], count: int) -> Vector:
    """Decimal strings as numbers; empty unless there are just so many, none of them absurd."""
    try:
        found = tuple(float(value) for value in values)
    except ValueError:
        return ()
    return found if len(found) == count and all(abs(number) < _ABSURD for number in found) else ()


def assess(facts: Sequence[Facts]) -> dict[str, Any]:
    """What an event says of a series' instances: see ``docs/events.md``."""
    frames = [one.number_of_frames or 1 for one in facts]
    return {
        "instances": len(facts),
        "frames": sum(frames),
        "expected": expected(facts),
        "instance_numbers": instance_numbers([one.instance_number for one in facts]),
        "slices": slices([(one.position, one.orientation) for one in facts]) if max(frames) == 1 else None,
    }


def instance_numbers(found: Sequence[int | None]) -> dict[str, Any]:
    """First and last Instance Number, what is missing between them, and what is there more than once."""
    counts = Counter(number for number in found if number is not None)
    ordered = sorted(counts)
    gaps = [(low + 1, high - 1) for low, high in pairwise(ordered) if high - low > 1]
    repeated = [number for number in ordered if counts[number] > 1]
    return {
        "first": ordered[0] if ordered else None,
        "last": ordered[-1] if ordered else None,
        "missing": sum(high - low + 1 for low, high in gaps),
        "missing_ranges": [list(gap) for gap in gaps[:MOST_LISTED]],
        "repeated": len(repeated),
        "repeated_numbers": repeated[:MOST_LISTED],
        "without": sum(number is None for number in found),
    }


def expected(facts: Sequence[Facts]) -> dict[str, Any] | None:
    """How many instances the headers speak of; ``None`` where they do not, or cannot mean it.

    Number of Series Related Instances (0020,1209) where a sender has put it into the files, else Images in
    Acquisition (0020,1002), which counts those of one acquisition: added up over the series' acquisitions.
    Neither is believed where files contradict each other, or where there are more instances than that.
    """
    related: set[int] = set()
    acquisitions: dict[int | None, set[int | None]] = defaultdict(set)
    for one in facts:
        if one.series_related_instances:
            related.add(one.series_related_instances)
        acquisitions[one.acquisition_number].add(one.images_in_acquisition)
    if len(related) == 1 and len(facts) <= max(related):
        return {"count": related.pop(), "from": "NumberOfSeriesRelatedInstances"}
    total = 0
    for said in acquisitions.values():
        number = said.pop() if len(said) == 1 else None
        if not number or number < 0:
            return None
        total += number
    return {"count": total, "from": "ImagesInAcquisition"} if 0 < len(facts) <= total else None


def slices(planes: Sequence[tuple[Vector, Vector]]) -> dict[str, Any] | None:
    """Gaps along the normal of the slices; ``None`` where they are not parallel, or fewer than three places.

    Parameters
    ----------
    planes
        (position, orientation) of each, as in :class:`Facts`. PS3.3 C.7.6.2.1.1.
    """
    normal = _normal([orientation for _, orientation in planes])
    if normal is None or not all(position for position, _ in planes):
        return None
    places = _places(sum(a * b for a, b in zip(position, normal, strict=True)) for position, _ in planes)
    if len(places) < 3:
        return None
    along = sorted(places)
    steps = [high - low for low, high in pairwise(along)]
    spacing = median_low(steps)
    gaps = [(low, high) for low, high in pairwise(along) if high - low > _GAP * spacing]
    regular = [step for step in steps if step <= _GAP * spacing]
    return {
        "places": len(along),
        "instances_per_place": [min(places.values()), max(places.values())],
        "spacing": round(spacing, 4),
        "spacing_least": round(min(regular), 4),
        "spacing_most": round(max(regular), 4),
        "uneven": any(abs(step - spacing) > _UNEVEN * spacing for step in regular),
        "gaps": len(gaps),
        "missing": sum(_left_out(low, high, spacing) for low, high in gaps),
        "gaps_at": [
            {"after": round(low, 4), "before": round(high, 4), "missing": _left_out(low, high, spacing)}
            for low, high in gaps[:MOST_LISTED]
        ],
    }


def _left_out(low: float, high: float, spacing: float) -> int:
    return round((high - low) / spacing) - 1


def _normal(orientations: Sequence[Vector]) -> Vector | None:
    """The slices' common normal; ``None`` where they have none."""
    if not orientations or not all(orientations):
        return None
    first = orientations[0]
    row, column = first[:3], first[3:]
    off = (
        math.hypot(*row) - 1,
        math.hypot(*column) - 1,
        sum(a * b for a, b in zip(row, column, strict=True)),
    )
    if any(abs(one) > _ORTHONORMAL for one in off):
        return None
    for other in orientations:
        if any(abs(a - b) > _SAME_DIRECTION for a, b in zip(first, other, strict=True)):
            return None
    (a, b, c), (x, y, z) = row, column
    return (b * z - c * y, c * x - a * z, a * y - b * x)


def _places(distances: Iterable[float]) -> Mapping[float, int]:
    """How many slices lie at each distance."""
    counts: dict[float, int] = {}
    last = -math.inf
    for distance in sorted(distances):
        if distance - last > _SAME_POSITION:
            last = distance
            counts[last] = 0
        counts[last] += 1
    return counts
