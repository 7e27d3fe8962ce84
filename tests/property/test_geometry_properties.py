"""Geometry of stacks: any order of files, any orientation, any damage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorter.volume import geometry
from sorter.volume.model import Likeness

steps = st.floats(0.3, 12)
counts = st.integers(3, 60)


@st.composite
def orientations(draw):
    """Six cosines of rows and columns, from any rotation."""
    quaternion = np.array([draw(st.floats(-1, 1)) for _ in range(4)])
    length = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / length if length > 0.1 else (1.0, 0.0, 0.0, 0.0)
    rows = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    columns = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    return (*map(float, rows), *map(float, columns))


@given(orientations(), steps, counts, st.tuples(*[st.floats(-500, 500)] * 3))
def test_the_affine_leads_to_each_pixel_of_an_even_stack(orientation, step, count, first):
    like = Likeness("", rows=5, columns=7, samples=1, orientation=orientation, spacing=(0.6, 0.9))
    across = geometry.normal(orientation)
    points = np.array(first) + np.outer(np.arange(count) * step, across)
    matrix = geometry.affine(like, points[0], (points[-1] - points[0]) / (count - 1))
    row, column, k = 3, 6, count - 2
    expected = points[k] + np.array(orientation[:3]) * 0.9 * column + np.array(orientation[3:]) * 0.6 * row
    x, y, z, _ = matrix @ (column, 4 - row, k, 1)
    np.testing.assert_allclose((-x, -y, z), expected, atol=1e-6)


@given(orientations(), steps, counts)
def test_an_even_stack_has_no_flags(orientation, step, count):
    points = np.outer(np.arange(count) * step, geometry.normal(orientation))
    places = points @ geometry.normal(orientation)
    assert geometry.spacing_flags(places) + geometry.line_flags(points, orientation) == []


@given(steps, st.integers(4, 60), st.data())
def test_a_missing_slice_is_a_gap_wherever_it_was(step, count, data):
    lost = data.draw(st.integers(1, count - 2))
    places = np.delete(np.arange(count) * step, lost)
    (flag,) = geometry.spacing_flags(places)
    assert (flag.code, flag.is_fault) == ("gap", True)
    assert f"1 missing between slices {lost} and {lost + 1} " in flag.text


@given(steps, st.integers(4, 60), st.floats(0.3, 0.45), st.data())
def test_a_slice_out_of_step_is_never_silent(step, count, share, data):
    moved = data.draw(st.integers(1, count - 2))
    places = np.arange(count) * step
    places[moved] += share * step
    (flag,) = geometry.spacing_flags(places)
    assert (flag.code in ("gap", "spacing"), flag.is_fault) == (True, True)


@given(steps, st.integers(2, 40), st.integers(1, 5), st.randoms(use_true_random=False))
def test_frames_are_clustered_by_place_in_any_order(step, count, times, random):
    order = list(range(count * times))
    random.shuffle(order)
    places = np.array([number % count * step + random.uniform(-0.002, 0.002) for number in order])
    found = geometry.clusters(places)
    assert [sorted(order[at] % count for at in place) for place in found] == [
        [k] * times for k in range(count)
    ]


@given(st.floats(0.5, 40), steps, counts)
def test_a_tilt_is_told_with_its_angle(degrees, step, count):
    angle = np.radians(degrees)
    points = np.outer(np.arange(count) * step, (0, np.sin(angle), np.cos(angle)))
    (flag,) = geometry.line_flags(points, (1, 0, 0, 0, 1, 0))
    assert (flag.code, flag.is_fault) == ("tilt", False)
    assert float(flag.text.split(" degrees")[0].split()[-1]) == pytest.approx(degrees, abs=0.006)
