"""Series to volumes: every voxel in its place; every hazard right or told, never silently wrong."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian
from slice_samples import AXIAL, COLUMNS, ROWS, SAGITTAL, SPACING, axial, enhanced, one_slice, values, write

from sorter import volume
from sorter.volume import VolumeError
from sorter.volume.values import text


def codes(flags):
    return [flag.code for flag in flags]


def volume_of(folder, files, **how):
    (found,) = volume.read(write(folder, files), **how)
    return found


def voxels(*marks):
    """(i, j, k): what slices with these marks give, rows from the last to the first."""
    return np.stack([values(mark)[::-1].T for mark in marks], axis=2)


def world(found, i, j, k):
    """LPS+ mm of a voxel by the affine of the volume."""
    x, y, z, _ = found.affine @ (i, j, k, 1)
    return (-x, -y, z)


def test_slices_are_ordered_by_their_places_and_not_by_their_numbers(tmp_path):
    heights = {1: 4, 2: 0, 3: 2}
    found = volume_of(tmp_path, [one_slice(number, (10, 20, z)) for number, z in heights.items()])
    np.testing.assert_array_equal(found.array, voxels(2, 3, 1))
    assert (found.shape, found.spacing, found.flags) == ((COLUMNS, ROWS, 3), (0.5, 0.8, 2.0), ())


@pytest.mark.parametrize(
    "orientation", [AXIAL, SAGITTAL, (0.6, 0.8, 0, 0, 0, -1)], ids=["axial", "sagittal", "oblique"]
)
def test_the_affine_leads_each_pixel_to_where_its_slice_says_it_is(tmp_path, orientation):
    along_row, along_column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(along_row, along_column)
    first = np.array([-11.0, 7.0, 3.0])
    places = [first + normal * 3 * k for k in range(4)]
    found = volume_of(tmp_path, [one_slice(k + 1, p, orientation=orientation) for k, p in enumerate(places)])
    for k, place in enumerate(places):
        for row in range(ROWS):
            for column in range(COLUMNS):
                at = place + along_row * SPACING[1] * column + along_column * SPACING[0] * row
                assert found.array[column, ROWS - 1 - row, k] == values(k + 1)[row, column]
                np.testing.assert_allclose(world(found, column, ROWS - 1 - row, k), at, atol=1e-5)


def test_a_gap_is_an_error_that_says_where(tmp_path):
    with pytest.raises(VolumeError, match=r"gap: 2 missing between slices 3 and 4 \(1 mm apart elsewhere\)"):
        volume_of(tmp_path, axial([0, 1, 2, 5, 6]))


def test_a_gap_among_few_slices_is_an_error(tmp_path):
    with pytest.raises(VolumeError, match="gap: 1 missing between slices 2 and 3"):
        volume_of(tmp_path, axial([0, 10.5, 31.5]))


def test_a_regularized_gap_is_filled_between_its_neighbours_and_told(tmp_path):
    found = volume_of(tmp_path, axial([0, 1, 3]), regularize=True)
    np.testing.assert_array_equal(found.array[..., (0, 1, 3)], voxels(1, 2, 3))
    np.testing.assert_array_equal(found.array[..., 2], voxels(2)[..., 0] + 500)
    assert (found.spacing[2], codes(found.flags)) == (1.0, ["gap", "regularized"])


def test_uneven_slices_are_an_error_that_says_where(tmp_path):
    with pytest.raises(VolumeError, match=r"spacing: 1\.4 mm between slices 3 and 4"):
        volume_of(tmp_path, axial([0, 1, 2, 3.4, 4.4, 5.4]))


def test_uneven_slices_are_made_even_where_that_is_asked_for(tmp_path):
    found = volume_of(tmp_path, axial([0, 1, 2, 3.4, 4.4, 5.4]), regularize=True)
    assert (found.shape[2], codes(found.flags)) == (6, ["spacing", "regularized"])
    assert found.spacing[2] == pytest.approx(5.4 / 5)


def test_a_slice_that_comes_twice_is_an_error_that_says_where(tmp_path):
    again = one_slice(9, (10, 20, 2))
    with pytest.raises(VolumeError, match="duplicate: 1 frames too many, at slice 3"):
        volume_of(tmp_path, [*axial([0, 1, 2, 3]), again])


def test_of_a_slice_that_comes_twice_the_first_is_kept_where_it_is_regularized(tmp_path):
    found = volume_of(tmp_path, [*axial([0, 1, 2, 3]), one_slice(9, (10, 20, 2))], regularize=True)
    np.testing.assert_array_equal(found.array, voxels(1, 2, 3, 4))
    assert codes(found.flags) == ["duplicate", "regularized"]


def test_two_copies_of_an_instance_are_one_slice_and_told(tmp_path):
    files = axial([0, 1, 2])
    found = volume_of(tmp_path, [*files, files[1]])
    np.testing.assert_array_equal(found.array, voxels(1, 2, 3))
    assert codes(found.flags) == ["copy"]


def test_slices_that_share_one_sop_instance_uid_are_no_copies(tmp_path):
    files = [one_slice(mark, (10, 20, mark), SOPInstanceUID="1.2.3") for mark in (1, 2, 3)]
    found = volume_of(tmp_path, files)
    assert (found.array == voxels(1, 2, 3)).all()


def test_a_localizer_in_the_series_is_a_volume_of_its_own(tmp_path):
    localizer = one_slice(9, (0, 0, 0), orientation=SAGITTAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    found = volume.read(write(tmp_path, [*axial([0, 1, 2]), localizer]))
    assert sorted(one.shape for one in found) == [(COLUMNS, ROWS, 1), (COLUMNS, ROWS, 3)]
    assert [codes(one.flags) for one in found] == [["mixed"], ["mixed"]]
    assert "orientation, frame type" in found[0].flags[0].text


def test_two_echoes_are_two_volumes(tmp_path):
    first = axial([0, 1], EchoTime=5.0)
    second = [one_slice(number + 10, (10, 20, number - 1), EchoTime=9.0) for number in (1, 2)]
    found = volume.read(write(tmp_path, [*first, *second]))
    by_echo = {one.stack.likeness.echo: one.array for one in found}
    np.testing.assert_array_equal(by_echo[5.0], voxels(1, 2))
    np.testing.assert_array_equal(by_echo[9.0], voxels(11, 12))


@pytest.mark.parametrize("jitter", [0.001, 0.02])
def test_positions_that_jitter_by_rounding_are_even(tmp_path, jitter):
    rng = np.random.default_rng(1)
    heights = np.arange(12) * 1.0 + rng.uniform(-jitter, jitter, 12)
    found = volume_of(tmp_path, axial(heights))
    assert (found.shape[2], found.flags) == (12, ())
    assert found.spacing[2] == pytest.approx((heights[-1] - heights[0]) / 11)


def test_positions_rounded_to_tenths_are_even(tmp_path):
    assert volume_of(tmp_path, axial([round(k * 0.8333, 1) for k in range(30)])).flags == ()


def test_the_tilt_of_a_gantry_stays_in_the_affine_and_is_told(tmp_path):
    step = np.array([0, 2 * np.sin(np.radians(15)), 2 * np.cos(np.radians(15))])
    found = volume_of(tmp_path, [one_slice(k + 1, step * k) for k in range(5)])
    assert (codes(found.flags), "15.00 degrees" in found.flags[0].text) == (["tilt"], True)
    np.testing.assert_allclose(world(found, 0, ROWS - 1, 4), step * 4, atol=1e-5)


def test_a_slice_aside_of_the_others_is_an_error_that_says_where(tmp_path):
    files = [one_slice(k + 1, (3.0 if k == 2 else 0, 0, k)) for k in range(5)]
    with pytest.raises(VolumeError, match="misplaced: aside of the line of the others: slice 3 by 3 mm"):
        volume_of(tmp_path, files)


def test_slices_that_lie_on_no_line_cannot_be_regularized(tmp_path):
    files = [one_slice(k + 1, (3.0 if k == 2 else 0, 0, k)) for k in range(5)]
    with pytest.raises(VolumeError, match="cannot be regularized"):
        volume_of(tmp_path, files, regularize=True)


def series_in_time(times, heights, **more):
    return [
        one_slice(t * 10 + k, (0, 0, z), TemporalPositionIdentifier=t, **more)
        for t in times
        for k, z in enumerate(heights, 1)
    ]


def test_a_series_in_time_has_four_dimensions(tmp_path):
    found = volume_of(tmp_path, series_in_time((1, 2, 3), (0, 2)))
    assert (found.shape, found.flags) == ((COLUMNS, ROWS, 2, 3), ())
    for t in range(3):
        np.testing.assert_array_equal(found.array[..., t], voxels((t + 1) * 10 + 1, (t + 1) * 10 + 2))


def test_times_are_told_apart_by_number_where_nothing_else_does(tmp_path):
    files = [one_slice(10 * t + k, (0, 0, k)) for t in (1, 2) for k in (1, 2, 3)]
    found = volume_of(tmp_path, files)
    np.testing.assert_array_equal(found.array[..., 1], voxels(21, 22, 23))
    assert codes(found.flags) == ["untold"]


def test_a_volume_that_lacks_slices_is_left_out_and_told(tmp_path):
    files = series_in_time((1, 2, 3), (0, 2, 4))
    del files[4]  # the second time, the second slice
    found = volume_of(tmp_path, files)
    np.testing.assert_array_equal(found.array[..., 0], voxels(11, 12, 13))
    np.testing.assert_array_equal(found.array[..., 1], voxels(31, 32, 33))
    assert codes(found.flags) == ["incomplete"]
    assert "1 of 3 volumes lack slices: left out" in found.flags[0].text


def test_an_interrupted_series_in_time_loses_its_last_volume_only(tmp_path):
    files = series_in_time((1, 2, 3), (0, 2, 4))[:-2]
    found = volume_of(tmp_path, files)
    assert (found.shape[3], codes(found.flags)) == (2, ["incomplete"])


def test_missing_slices_that_would_shift_times_are_an_error(tmp_path):
    files = [one_slice(10 * t + k, (0, 0, k)) for t in (1, 2, 3) for k in (1, 2, 3)]
    del files[4]
    with pytest.raises(VolumeError, match="nothing tells which: times may be shifted"):
        volume_of(tmp_path, files)


def test_a_volume_that_was_sent_twice_under_new_uids_is_told(tmp_path):
    files = [one_slice(10 * t + k, (0, 0, k), mark=k) for t in (1, 2) for k in (1, 2, 3)]
    assert codes(volume_of(tmp_path, files).flags) == ["untold", "repeated"]


def test_an_enhanced_file_gives_what_its_slices_give(tmp_path):
    positions = [(10, 20, z) for z in (0, 2, 4)]
    found = volume_of(tmp_path / "enhanced", [enhanced(positions)])
    classic = volume_of(tmp_path / "classic", axial((0, 2, 4)))
    np.testing.assert_array_equal(found.array, voxels(11, 12, 13))
    np.testing.assert_allclose(found.affine, classic.affine)


def test_an_enhanced_file_with_times_has_four_dimensions(tmp_path):
    found = volume_of(tmp_path, [enhanced([(0, 0, 0), (0, 0, 3)], times=(1, 2))])
    np.testing.assert_array_equal(found.array[..., 1], voxels(21, 22))


def test_an_enhanced_file_with_echoes_is_several_volumes(tmp_path):
    paths = write(tmp_path, [enhanced([(0, 0, 0), (0, 0, 3)], times=(1, 2), echoes=(2.0, 4.0))])
    assert {one.stack.likeness.echo: one.shape for one in volume.read(paths)} == {
        2.0: (COLUMNS, ROWS, 2),
        4.0: (COLUMNS, ROWS, 2),
    }


def test_slices_and_an_enhanced_file_of_one_series_do_not_mix(tmp_path):
    files = [*axial((0, 2, 4)), enhanced([(10, 20, z) for z in (0, 2, 4)])]
    found = volume.read(write(tmp_path, files))
    assert [(one.shape, codes(one.flags)) for one in found] == [((COLUMNS, ROWS, 3), ["mixed"])] * 2


def test_a_rescale_to_whole_numbers_keeps_integers(tmp_path):
    found = volume_of(tmp_path, axial((0, 1), RescaleSlope=1, RescaleIntercept=-1024, Modality="CT"))
    np.testing.assert_array_equal(found.array, voxels(1, 2).astype(np.int16) - 1024)
    assert (found.array.dtype, found.rescale) == (np.int16, (1.0, 0.0))


def test_one_rescale_of_all_slices_leaves_what_is_stored(tmp_path):
    found = volume_of(tmp_path, axial((0, 1), RescaleSlope="0.25", RescaleIntercept="3"))
    np.testing.assert_array_equal(found.stored, voxels(1, 2))
    np.testing.assert_array_equal(found.array, voxels(1, 2) * np.float32(0.25) + 3)


def test_each_slice_is_rescaled_by_its_own_slope(tmp_path):
    files = [one_slice(k, (0, 0, k), RescaleSlope=str(slope)) for k, slope in ((1, 0.5), (2, 4))]
    expected = np.stack([voxels(1)[..., 0] * 0.5, voxels(2)[..., 0] * 4.0], axis=2)
    np.testing.assert_allclose(volume_of(tmp_path, files).array, expected, rtol=1e-7)


def test_big_endian_slices_have_the_values_and_the_byte_order_of_this_machine(tmp_path):
    (path,) = write(tmp_path, [one_slice(1, (0, 0, 0))])
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = values(1).astype(">u2").tobytes()
    pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False)
    (found,) = volume.read([path])
    np.testing.assert_array_equal(found.array, voxels(1))
    assert found.array.dtype.isnative


def test_colours_in_time_are_voxels_of_three_values(tmp_path):
    colours = np.stack([values(0), values(0) + 100, values(0) + 200], axis=-1).astype(np.uint8)
    more = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
            "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}  # fmt: skip
    files = [one_slice(t, (0, 0, 0), pixels=colours + t, AcquisitionNumber=t, **more) for t in (1, 2)]
    found = volume_of(tmp_path, files)
    assert (found.shape, found.array.dtype, codes(found.flags)) == ((COLUMNS, ROWS, 1, 2), volume.RGB, [])
    np.testing.assert_array_equal(found.array["B"][..., 0, 1], (colours[..., 2] + 2)[::-1].T)


def test_colours_of_16_bits_are_refused_and_never_cut_to_8(tmp_path):
    pixels = np.full((ROWS, COLUMNS, 3), 500, "<u2")
    wide = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    with pytest.raises(VolumeError, match="colours of 16 bits"):
        volume_of(tmp_path, [one_slice(1, (0, 0, 0), pixels=pixels, **wide)])


def test_colours_have_no_rescale(tmp_path):
    pixels = np.full((ROWS, COLUMNS, 3), 50, "u1")
    said = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "RescaleSlope": 2, "RescaleIntercept": 1}
    found = volume_of(tmp_path, [one_slice(1, (0, 0, 0), pixels=pixels, **said, **bits)])
    assert found.array[0, 0, 0].tolist() == (50, 50, 50)


def test_a_modality_lut_makes_the_values_and_no_slope_does(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor = [24, 1000, 16]
    table.add_new("LUTData", "US", [7 * number for number in range(24)])
    found = volume_of(
        tmp_path, [one_slice(1, (0, 0, 0), ModalityLUTSequence=[table], RescaleSlope=3, RescaleIntercept=0)]
    )
    assert (found.array == 7 * (voxels(1).astype(int) - 1000)).all()


def test_indices_of_a_palette_are_told_as_their_colours(tmp_path):
    palette = {"PhotometricInterpretation": "PALETTE COLOR"}
    for place, name in enumerate(("Red", "Green", "Blue")):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [24, 1000, 16]
        palette[f"{name}PaletteColorLookupTableData"] = (
            np.arange(24, dtype="<u2") * 257 * (place + 1)
        ).tobytes()
    found = volume_of(tmp_path, [one_slice(1, (0, 0, 0), **palette)])
    assert found.array[COLUMNS - 1, 0, 0].tolist() == (23, 46, 69)


@pytest.mark.parametrize(
    ("orientation", "offsets", "last"),
    [
        (AXIAL, [0, 2, 4], 54),
        (AXIAL, [50, 52, 54], 54),
        ((1, 0, 0, 0, -1, 0), [0, 2, 4], 46),
        ((1, 0, 0, 0, -1, 0), [50, 52, 54], 54),
        ((1, 0, 0, 0, -1, 0), [50, 48, 46], 46),
    ],
)
def test_offsets_of_frames_are_along_the_normal_or_coordinates_of_axial_frames(
    tmp_path, orientation, offsets, last
):
    pixels = np.concatenate([values(mark) for mark in (1, 2, 3)])
    data = one_slice(
        1, (10, 20, 50), pixels=pixels, orientation=orientation, Rows=ROWS, NumberOfFrames=3,
        GridFrameOffsetVector=offsets,
    )  # fmt: skip
    found = volume_of(tmp_path, [data])
    k = int(np.argwhere(found.array[0, -1] == 3000)[0, 0])
    assert world(found, 0, ROWS - 1, k) == pytest.approx((10, 20, last))


def test_slices_without_positions_are_in_the_order_of_their_numbers_and_told(tmp_path):
    files = [one_slice(k, (0, 0, 0), ImagePositionPatient=None) for k in (2, 1, 3)]
    found = volume_of(tmp_path, files)
    np.testing.assert_array_equal(found.array, voxels(1, 2, 3))
    assert codes(found.flags) == ["position"]


@pytest.mark.parametrize("orientation", [(1, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 0), (1, 0, 0, 0, 2, 0)])
def test_an_orientation_that_is_none_is_told(tmp_path, orientation):
    assert "position" in codes(volume_of(tmp_path, axial((0, 1), orientation=orientation)).flags)


def test_a_size_of_pixels_that_is_missing_is_told(tmp_path):
    found = volume_of(tmp_path, axial((0, 1), PixelSpacing=None))
    assert (codes(found.flags), found.spacing) == (["spacing_unknown"], (1.0, 1.0, 1.0))


def test_a_mosaic_that_does_not_say_where_its_slices_are_is_no_slice(tmp_path):
    with pytest.raises(VolumeError, match="is a mosaic, and does not say where its slices are"):
        volume_of(tmp_path, axial((0, 1), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]))


def test_the_tiles_of_a_slide_are_no_slices(tmp_path):
    with pytest.raises(VolumeError, match="is tiled"):
        volume_of(tmp_path, axial((0, 1), TotalPixelMatrixColumns=100))


def test_pixels_that_cannot_be_decoded_are_an_error_that_names_the_file(tmp_path):
    files = axial((0, 1))
    paths = write(tmp_path, [files[0], one_slice(2, (10, 20, 1), PixelData=b"\0" * 10)])
    with pytest.raises(VolumeError, match=r"pixels cannot be decoded \(ValueError\)") as caught:
        volume.read(paths)
    assert caught.value.path == paths[1]


def test_an_end_of_data_that_pydicom_calls_an_oserror_is_a_fault_of_the_file(tmp_path, monkeypatch):
    def ends(*_, **__):
        raise OSError("no errno, and CANARY")

    monkeypatch.setattr("sorter.volume.frames.dcmread", ends)
    found = volume.survey(write(tmp_path, axial((0,))))
    assert [why for _, why in found.unusable] == ["cannot be parsed (OSError)"]


def test_a_damaged_file_never_makes_a_volume_that_is_silently_shorter(tmp_path):
    paths = write(tmp_path, axial((0, 1, 2)))
    with pytest.raises(VolumeError, match="1 of the files cannot be used; the first cannot") as caught:
        volume.read([*paths, tmp_path / "gone"])
    assert caught.value.path == tmp_path / "gone"


def test_a_volume_shows_itself_in_a_line_without_its_voxels(tmp_path):
    found = volume_of(tmp_path, axial((0, 1, 4)), regularize=True)
    assert repr(found) == "<volume 6 x 4 x 5 of uint16, 0.5 x 0.8 x 1 mm, flags: gap, regularized>"
    assert repr(found.stack) == "<stack 6 x 4 x 3, flags: gap>"


@pytest.mark.parametrize(
    ("value", "expected"), [("DOE^JOHN", "DOE^JOHN"), (["A^B", "C^D"], "A^B\\C^D"), ("", "")]
)
def test_the_name_of_a_person_is_one_text(value, expected):
    dataset = pydicom.Dataset()
    dataset.OperatorsName = value
    assert text(dataset, "OperatorsName") == expected


def test_nothing_is_an_error():
    with pytest.raises(VolumeError, match="no files"):
        volume.read([])


def test_a_survey_tells_without_pixels_and_lists_what_is_no_picture(tmp_path):
    report = one_slice(5, (0, 0, 0), Rows=None, Columns=None)
    letter = tmp_path / "text"
    letter.write_bytes(b"hello")
    found = volume.survey([*write(tmp_path / "in", [*axial([0, 1, 5]), report]), letter, tmp_path / "gone"])
    assert [(stack.shape, codes(stack.faults)) for stack in found.stacks] == [((COLUMNS, ROWS, 3), ["gap"])]
    assert [why for _, why in found.unusable] == [
        "has no pixels",
        "has no pixels",
        "cannot be read: No such file or directory",
    ]


def segment(number, place):
    """A frame of segment 1 in a file of its own."""
    identification = pydicom.Dataset()
    identification.ReferencedSegmentNumber = 1
    return one_slice(number, (0, 0, place), SegmentIdentificationSequence=[identification])


def test_slices_that_a_segment_does_not_touch_are_empty_and_told(tmp_path):
    found = volume_of(tmp_path, [segment(1, 0), segment(2, 2), segment(3, 8)])
    expected = voxels(1, 2, 0, 0, 3)
    expected[..., 2:4] = 0
    np.testing.assert_array_equal(found.array, expected)
    assert (found.spacing[2], codes(found.flags)) == (2.0, ["sparse"])


def test_a_file_at_odds_with_itself_is_faulty_and_a_report_is_not(tmp_path):
    slide = one_slice(1, (0, 0, 0), TotalPixelMatrixColumns=100)
    mosaic = one_slice(2, (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    paths = write(tmp_path, [slide, mosaic])
    found = volume.survey(paths)
    assert ([path for path, _ in found.unusable], found.faulty) == (paths, {paths[1]})
