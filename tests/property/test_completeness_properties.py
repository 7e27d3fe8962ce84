"""Completeness for all stacks and all numbers: what was taken out is what is missing."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sorter.events.completeness import Facts, assess, instance_numbers, slices

SPACING = st.floats(0.05, 50.0)
ANGLES = st.floats(-math.pi, math.pi)
# A tenth of the slices at most may go, or the median of the steps is none of one slice.
COUNTS = st.integers(12, 80)


def orientation(turn, tilt):
    """Two orthogonal unit vectors, and their normal."""
    row = (math.cos(turn), math.sin(turn), 0.0)
    column = (-math.sin(turn) * math.cos(tilt), math.cos(turn) * math.cos(tilt), math.sin(tilt))
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    return (*row, *column), normal


@given(COUNTS, SPACING, ANGLES, ANGLES, st.data())
def test_slices_that_are_taken_out_are_found_missing_in_any_orientation(count, spacing, turn, tilt, data):
    cosines, normal = orientation(turn, tilt)
    inner = st.integers(1, count - 2)
    gone = data.draw(st.sets(inner, max_size=count // 10))
    planes = [
        (tuple(round(axis * step * spacing, 6) for axis in normal), cosines)
        for step in data.draw(st.permutations(range(count)))
        if step not in gone
    ]
    found = slices(planes)
    assert (len(gone), count - len(gone)) == (found["missing"], found["places"])


@given(st.integers(-1000, 1000), st.integers(2, 200), st.data())
def test_numbers_that_are_taken_out_are_the_missing_ranges(first, count, data):
    everything = list(range(first, first + count))
    gone = data.draw(st.sets(st.sampled_from(everything[1:-1]) if count > 2 else st.nothing()))
    found = instance_numbers([number for number in everything if number not in gone])
    assert len(gone) == found["missing"]
    listed = {n for low, high in found["missing_ranges"] for n in range(low, high + 1)}
    assert gone == listed


VECTORS = st.lists(st.floats(-1e7, 1e7) | st.sampled_from([0.0, 1.0, -1.0]), min_size=3, max_size=3)
FACTS = st.builds(
    Facts,
    st.none() | st.integers(-(2**31), 2**31),
    st.none() | st.integers(-5, 5),
    st.none() | st.integers(1, 3),
    st.just(()) | VECTORS.map(tuple),
    st.just(())
    | st.just((1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    | st.lists(st.floats(-2, 2), min_size=6, max_size=6).map(tuple),
    st.none() | st.integers(-5, 1000),
    st.none() | st.integers(0, 1000),
)


@given(st.lists(FACTS, min_size=1, max_size=30))
def test_whatever_headers_say_something_can_be_told(facts):
    found = assess(facts)
    assert len(facts) == found["instances"]
    if found["slices"]:
        assert sum(gap["missing"] for gap in found["slices"]["gaps_at"]) == found["slices"]["missing"]
