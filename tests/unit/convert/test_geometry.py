"""From an affine to Image Plane attributes."""

import numpy as np
import pytest
from made_volumes import axis_orders, turned

from sorter.convert.errors import ConversionError
from sorter.convert.geometry import affine_of_letters, geometry


def corners_of(plane, shape):
    """Where the corners lie by DICOM's equation, PS3.3 C.7.6.2.1.1; LPS+."""
    between_rows, between_columns = plane.spacing
    row, column = plane.orientation[:3], plane.orientation[3:]
    return [
        plane.position(k) + i * between_columns * row + j * between_rows * column
        for i in (0, shape[0] - 1)
        for j in (0, shape[1] - 1)
        for k in (0, shape[2] - 1)
    ]


@pytest.mark.parametrize("affine", [*axis_orders(), turned(25), turned(70, (0.4, 1.7, 9.0))])
def test_corners_stay_where_they_are(affine):
    shape = (12, 10, 6)
    plane = geometry(affine, shape[2])
    indices = np.array([[i, j, k, 1] for i in (0, 11) for j in (0, 9) for k in (0, 5)])
    in_lps = (np.diag([-1, -1, 1, 1]) @ affine @ indices.T).T[:, :3]
    assert np.abs(in_lps - corners_of(plane, shape)).max() < 1e-9


@pytest.mark.parametrize("affine", axis_orders())
def test_slices_are_in_order_along_the_normal_of_rows_and_columns(affine):
    plane = geometry(affine, 6)
    normal = np.cross(plane.orientation[:3], plane.orientation[3:])
    along = [float(plane.position(k) @ normal) for k in plane.order]
    assert sorted(along) == along
    assert [plane.thickness] * 5 == pytest.approx(np.diff(along).tolist())


def test_pixel_spacing_is_between_rows_first():
    assert geometry(np.diag([3.0, 2.0, 1.0, 1.0]), 4).spacing == (2.0, 3.0)


def test_a_tilted_gantry_keeps_its_lean():
    affine = np.eye(4)
    affine[1, 2] = 0.5
    plane = geometry(affine, 3)
    assert plane.position(2).tolist() == [0.0, -1.0, 2.0]
    assert pytest.approx(plane.thickness) == 1.0


def test_shear_within_the_slice_is_refused():
    affine = np.eye(4)
    affine[0, 1] = 0.01
    with pytest.raises(ConversionError, match="shear"):
        geometry(affine, 3)


@pytest.mark.parametrize(
    "broken", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1.0, 1, 0, 1]), np.diag([1.0, 0, 1, 1])]
)
def test_an_axis_without_direction_is_refused(broken):
    with pytest.raises(ConversionError):
        geometry(broken, 3)


def test_patient_orientation_names_where_rows_and_columns_point():
    assert geometry(np.eye(4), 1).patient_orientation == ["R", "A"]
    assert geometry(
        np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]), 1
    ).patient_orientation == ["P", "F"]


def test_letters_make_an_affine_around_the_middle():
    affine = affine_of_letters("LPS", (2.0, 3.0, 4.0), (3, 5, 7))
    assert affine.tolist() == [[-2, 0, 0, 2], [0, -3, 0, 6], [0, 0, 4, -12], [0, 0, 0, 1]]
    assert (affine_of_letters("PSR", (2.0, 3.0, 4.0), (3, 5, 7)).tolist()) == [
        [0, 0, 4, -12],
        [-2, 0, 0, 2],
        [0, 3, 0, -6],
        [0, 0, 0, 1],
    ]
