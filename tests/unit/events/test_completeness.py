"""What a quiet series tells: missing numbers, gaps between slices, what the headers expect."""

import pytest

from sorter.events.completeness import (
    MOST_LISTED,
    Facts,
    assess,
    expected,
    instance_numbers,
    numbers,
    slices,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# Tilted by 30 degrees about the x axis.
TILTED = (1.0, 0.0, 0.0, 0.0, 0.866025, 0.5)


def stack(heights, orientation=AXIAL):
    return [((5.0, -7.0, float(height)), orientation) for height in heights]


def test_a_series_without_holes_misses_nothing():
    found = instance_numbers([3, 1, 2])
    assert (found["first"], found["last"], found["missing"], found["missing_ranges"]) == (1, 3, 0, [])


def test_missing_numbers_are_ranges_between_the_first_and_the_last():
    found = instance_numbers([10, 11, 14, 20])
    assert found["missing_ranges"] == [[12, 13], [15, 19]]
    assert found["missing"] == 7


def test_numbers_before_the_first_are_not_called_missing():
    assert instance_numbers([50, 51])["missing"] == 0


def test_repeated_numbers_and_instances_without_one_are_counted():
    found = instance_numbers([1, 1, 2, None, 2, None])
    assert (found["repeated"], found["repeated_numbers"], found["without"]) == (2, [1, 2], 2)


def test_instances_without_any_number_have_neither_first_nor_last():
    found = instance_numbers([None, None])
    assert (found["first"], found["last"], found["missing"]) == (None, None, 0)


def test_a_huge_hole_costs_nothing():
    found = instance_numbers([1, 2**31])
    assert found["missing_ranges"] == [[2, 2**31 - 1]]


def test_lists_are_cut_and_counts_are_not():
    found = instance_numbers(list(range(0, 1000, 2)))
    assert (found["missing"], len(found["missing_ranges"])) == (499, MOST_LISTED)


def test_equally_spaced_slices_have_no_gap():
    found = slices(stack([0, 2.5, 5, 7.5]))
    assert (found["places"], found["spacing"], found["gaps"], found["uneven"]) == (4, 2.5, 0, False)


def test_a_lost_slice_is_a_gap_that_says_where():
    found = slices(stack([0, 1, 2, 3, 5, 6]))
    assert found["gaps_at"] == [{"after": 3.0, "before": 5.0, "missing": 1}]
    assert (found["gaps"], found["missing"]) == (1, 1)


def test_with_two_steps_only_the_shorter_one_is_the_spacing():
    found = slices(stack([0, 10.5, 31.5]))
    assert (found["spacing"], found["missing"]) == (10.5, 1)


def test_several_slices_lost_in_one_place_are_counted():
    found = slices(stack([0, 1, 2, 3, 10, 11]))
    assert (found["gaps"], found["missing"]) == (1, 6)


def test_the_order_of_arrival_does_not_matter():
    assert slices(stack([5, 0, 3, 1, 2])) == slices(stack([0, 1, 2, 3, 5]))


def test_positions_are_measured_along_the_normal():
    """With a tilted gantry neither coordinate is the distance: 0.5 y + 0.866 z is."""
    planes = [((0.0, -0.5 * step, 0.866025 * step), TILTED) for step in (0, 3, 6, 12)]
    found = slices(planes)
    assert pytest.approx(found["spacing"], abs=1e-3) == 3.0
    assert found["missing"] == 1


def test_positions_that_slide_within_the_plane_are_one_place():
    assert slices([((float(x), 0.0, 0.0), AXIAL) for x in range(5)]) is None


def test_uneven_spacing_is_told_and_is_no_gap():
    found = slices(stack([0, 1, 2.2, 3.2, 4.2]))
    assert (
        found["gaps"],
        found["uneven"],
        found["spacing_least"],
        found["spacing_most"],
    ) == (0, True, 1.0, 1.2)


def test_a_dynamic_series_has_several_instances_a_place():
    found = slices(stack([0, 0, 1, 1, 2]))
    assert (found["places"], found["instances_per_place"]) == (3, [1, 2])


@pytest.mark.parametrize(
    "planes",
    [
        [],
        stack([0, 1]),
        [*stack([0, 1, 2]), ((0.0, 0.0, 3.0), TILTED)],
        [*stack([0, 1, 2]), ((0.0, 0.0, 3.0), ())],
        [*stack([0, 1, 2]), ((), AXIAL)],
        stack([0, 1, 2], (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)),
        stack([0, 1, 2], (0.0,) * 6),
    ],
    ids=[
        "none",
        "two",
        "a localizer among them",
        "no orientation",
        "no position",
        "not orthogonal",
        "no unit",
    ],
)
def test_nothing_is_told_of_slices_that_are_no_stack(planes):
    assert slices(planes) is None


def test_images_in_acquisition_is_added_up_over_the_acquisitions():
    facts = [Facts(acquisition_number=number, images_in_acquisition=20) for number in (1, 1, 2)]
    assert expected(facts) == {"count": 40, "from": "ImagesInAcquisition"}


def test_number_of_series_related_instances_wins():
    facts = [Facts(images_in_acquisition=20, series_related_instances=30)]
    assert expected(facts) == {"count": 30, "from": "NumberOfSeriesRelatedInstances"}


@pytest.mark.parametrize(
    "facts",
    [
        [],
        [Facts()],
        [Facts(images_in_acquisition=20), Facts(images_in_acquisition=21)],
        [Facts(images_in_acquisition=20), Facts()],
        [Facts(images_in_acquisition=0)],
        [Facts(images_in_acquisition=2)] * 3,
        [Facts(series_related_instances=2)] * 3,
    ],
)
def test_nothing_is_expected_where_headers_say_nothing_or_cannot_mean_it(facts):
    assert expected(facts) is None


def test_multi_frame_instances_count_frames_and_have_no_slices():
    planes = [Facts(number_of_frames=10, position=(0.0, 0.0, float(z)), orientation=AXIAL) for z in range(3)]
    found = assess(planes)
    assert (found["instances"], found["frames"], found["slices"]) == (3, 30, None)


@pytest.mark.parametrize(
    "values", [["1", "2"], ["1", "2", "x"], ["1", "2", "nan"], ["1", "2", "1e300"], [""]]
)
def test_what_is_no_position_is_none(values):
    assert numbers(values, 3) == ()


def test_decimal_strings_are_numbers():
    assert numbers(["1", "-2.5", "3e2"], 3) == (1.0, -2.5, 300.0)
