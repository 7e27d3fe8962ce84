"""A picture of an instance: palettes, LUTs, windows, polarity, square pixels, functional groups, decoders."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from support import bundled, dicom

from sorter.picture import NoPictureError, decoded, frames, picture, rescaled, shades


def made(values, **more):
    """A dataset of one frame of unsigned 16-bit values, read back from a file."""
    array = np.asarray(values, "<u2")
    size = {"Rows": array.shape[0], "Columns": array.shape[1], "PixelData": array.tobytes()}
    return pydicom.dcmread(io.BytesIO(dicom(1, **(size | more))))


def item(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def table(descriptor, data, vr):
    """One item of a LUT sequence."""
    dataset = Dataset()
    dataset.add_new("LUTDescriptor", "US", descriptor)
    dataset.add_new("LUTData", vr, data)
    return dataset


RAMP = np.arange(256).reshape(16, 16)


# -- windows ------------------------------------------------------------------------------------------------


def test_a_window_over_all_of_eight_bits_changes_nothing():
    assert picture(made(RAMP), window=(128, 256)).tolist() == RAMP.tolist()


def test_the_first_window_of_the_file_is_used():
    two = made(RAMP, WindowCenter=[100, 0], WindowWidth=[2, 1])
    assert picture(two)[6, 2:6].tolist() == [0, 0, 255, 255]  # of 98, 99, 100, 101


def test_windows_are_in_units_of_the_modality():
    hounsfield = made(RAMP + 1000, RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=128, WindowWidth=256)
    assert picture(hounsfield).tolist() == RAMP.tolist()


def test_the_window_functions_are_those_of_the_standard():
    shown = {
        function: picture(made(RAMP, WindowCenter=128, WindowWidth=64, VOILUTFunction=function)).reshape(-1)
        for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    }
    x = np.arange(256)
    linear = np.clip(((x - 127.5) / 63 + 0.5) * 255, 0, 255)
    exact = np.clip(((x - 128) / 64 + 0.5) * 255, 0, 255)
    sigmoid = 255 / (1 + np.exp(-4 * (x - 128) / 64))
    for function, expected in (("LINEAR", linear), ("LINEAR_EXACT", exact), ("SIGMOID", sigmoid)):
        assert np.rint(expected).tolist() == shown[function].tolist()


@pytest.mark.parametrize("width", [0, -5, float("nan"), float("inf")])
def test_a_window_has_a_width_above_zero(width):
    with pytest.raises(NoPictureError, match="a width above 0"):
        picture(made(RAMP), window=(100, width))


@pytest.mark.parametrize("width", [0, -5, ""])
def test_a_window_of_the_file_that_is_none_is_passed_over(width):
    broken = made(RAMP, WindowCenter=40, WindowWidth=width)
    assert shades(broken, 0, RAMP, RAMP, "auto").origin == "percentile"


def test_a_float_window_below_one_is_taken_as_exact():
    small = made(RAMP, RescaleSlope="0.001", RescaleIntercept=0, WindowCenter="0.128", WindowWidth="0.256")
    assert picture(small).reshape(-1)[[0, 64, 128, 255]].tolist() == [0, 64, 128, 254]


def test_without_a_window_the_percentiles_of_what_is_not_padding_are_shown():
    values = np.full((100, 100), 4000)
    values[:50] = np.arange(5000).reshape(50, 100) % 1000
    how = shades(made(values, PixelPaddingValue=4000), 0, values, values, "auto")
    assert (how.origin, round(how.center), round(how.width)) == ("percentile", 500, 989)


def test_the_range_of_padding_values_is_left_out():
    padded = made(RAMP, PixelPaddingValue=0, PixelPaddingRangeLimit=199)
    how = shades(padded, 0, RAMP, RAMP, "auto")
    assert how.center - how.width / 2 > 199


def test_no_window_means_from_the_least_to_the_largest_value():
    shown = picture(made(RAMP * 16 + 100), window=None)
    assert (shown.min(), shown.max(), shown[8, 0]) == (0, 255, 128)


@pytest.mark.parametrize("window", [(20000, 30000), None])
def test_many_pixels_of_few_levels_are_shown_as_few_pixels_of_many(window):
    more = {"RescaleSlope": "1.5", "RescaleIntercept": "-20"}
    few, many = RAMP * 200, np.tile(RAMP * 200, (16, 16))
    assert picture(made(few, **more), window=window).tolist() == (
        picture(made(many, **more), window=window)[:16, :16].tolist()
    )


def test_a_frame_of_one_value_is_black_and_no_error():
    assert np.unique(picture(made(np.full((4, 4), 7)))).tolist() == [0]


def test_a_few_bright_pixels_that_no_percentile_sees_are_shown():
    values = np.zeros((64, 64), int)
    values[3, 4] = 1
    assert picture(made(values))[3, 4] == 255


# -- look-up tables -----------------------------------------------------------------------------------------


def test_a_modality_lut_comes_before_the_window():
    lut = made(RAMP, ModalityLUTSequence=[table([256, 0, 16], [1000 + n for n in range(256)], "US")])
    assert rescaled(decoded(lut), lut).reshape(-1)[[0, 255]].tolist() == [1000, 1255]


@pytest.mark.parametrize(
    ("data", "vr"),
    [
        (bytes(range(255, -1, -1)), "OW"),  # two entries to a word
        ([(254 - n) << 8 | 255 - n for n in range(0, 256, 2)], "US"),
        (list(range(255, -1, -1)), "US"),
        (np.arange(255, -1, -1, dtype="<u2").tobytes(), "OW"),
    ],
)
def test_a_voi_lut_is_used_however_its_entries_are_packed(data, vr):
    lut = made(RAMP, VOILUTSequence=[table([256, 0, 8], data, vr)], WindowCenter=1, WindowWidth=2)
    assert picture(lut).tolist() == (255 - RAMP).tolist()


def test_values_beyond_a_table_have_its_first_or_last_entry():
    lut = made(RAMP, VOILUTSequence=[table([2, 100, 8], [50, 60], "US")])
    shown = picture(lut).reshape(-1)
    assert shown[[0, 100, 101, 255]].tolist() == [50, 50, 60, 60]


def test_a_table_may_begin_below_zero():
    signed = made(
        (np.arange(4).reshape(2, 2) - 2).astype("i2").view("u2"),
        PixelRepresentation=1,
        VOILUTSequence=[table([4, 65534, 8], [10, 20, 30, 40], "US")],
    )
    assert picture(signed).reshape(-1).tolist() == [10, 20, 30, 40]


def test_a_table_of_no_use_is_a_reason_without_values():
    with pytest.raises(NoPictureError, match="a look-up table cannot be used"):
        picture(made(RAMP, VOILUTSequence=[item(LUTExplanation="SECRET^NAME")]))


# -- polarity, aspect, colour -------------------------------------------------------------------------------


def test_monochrome1_is_inverted():
    shown = picture(made(RAMP, PhotometricInterpretation="MONOCHROME1"), window=(128, 256))
    assert shown.tolist() == (255 - RAMP).tolist()


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": [2, 1]}, (32, 16)),
        ({"PixelSpacing": [1, 2]}, (16, 32)),
        ({"PixelAspectRatio": [3, 2]}, (24, 16)),
        ({"ImagerPixelSpacing": [1, 1.5]}, (16, 24)),
        ({"PixelSpacing": [1, 1], "PixelAspectRatio": [3, 2]}, (16, 16)),
        ({"PixelSpacing": [1000, 1]}, (16, 16)),
        ({"PixelSpacing": [0, 1]}, (16, 16)),
    ],
)
def test_pixels_become_square(elements, expected):
    one = made(RAMP, **elements)
    assert (expected, (16, 16)) == (picture(one).shape, picture(one, square=False).shape)


def test_pixels_are_made_square_by_interpolation():
    shown = picture(made([[0, 100], [0, 100]], PixelSpacing=[1, 2]), window=(128, 256))
    assert shown.tolist() == [[0, 25, 75, 100]] * 2


def palette(data, descriptor, vr="OW"):
    one = made(np.arange(4).reshape(2, 2), PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        one.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", descriptor)
        one.add_new(f"{name}PaletteColorLookupTableData", vr, data)
    return one


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (bytes((0, 10, 20, 255)), 8),
        (np.array([0, 2570, 5140, 65535], "<u2").tobytes(), 16),
        (np.array([0, 10, 20, 255], "<u2").tobytes(), 8),
    ],
)
def test_a_palette_gives_colours_of_eight_bits(data, bits):
    shown = picture(palette(data, [4, 0, bits]))
    assert (shown.shape, shown[..., 0].reshape(-1).tolist()) == ((2, 2, 3), [0, 10, 20, 255])


def test_a_palette_of_eight_bit_entries_may_have_more_than_256():
    one = palette((np.arange(1024) % 251).astype("u1").tobytes(), [1024, 0, 8])
    one.PixelData = np.array([0, 300, 700, 1023], "<u2").tobytes()
    assert picture(one)[..., 2].reshape(-1).tolist() == [0, 49, 198, 19]


def test_a_palette_that_is_missing_is_a_reason():
    one = made(RAMP, PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(NoPictureError, match="its palette cannot be used"):
        picture(one)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("examples_rgb_color.dcm", (240, 320, 3)), ("examples_ybr_color.dcm", (240, 320, 3))],
)
def test_colour_is_rgb_of_eight_bits(name, shape):
    dataset = pydicom.dcmread(bundled(name))
    shown = picture(dataset)
    assert (shown.dtype, shown.shape) == (np.uint8, shape)


def test_a_segmented_palette_is_expanded():
    dataset = pydicom.dcmread(bundled("examples_palette.dcm"))
    assert picture(dataset, square=False).shape == (dataset.Rows, dataset.Columns, 3)


# -- frames, functional groups ------------------------------------------------------------------------------


def enhanced():
    """Two frames of the same values; the second has a rescale and a window of its own."""
    one = made(np.concatenate((RAMP, RAMP)), NumberOfFrames=2)
    one.Rows = 16
    one.WindowCenter, one.WindowWidth = 1, 2
    shared = item(
        FrameVOILUTSequence=[item(WindowCenter=128, WindowWidth=256)],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1])],
    )
    second = item(
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=10)],
        FrameVOILUTSequence=[item(WindowCenter=266, WindowWidth=512)],
        PixelMeasuresSequence=[item(PixelSpacing=[2, 1])],
    )
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = [Dataset(), second]
    return one


def test_the_groups_of_the_frame_speak_before_the_shared_and_those_before_the_dataset():
    one = enhanced()
    assert picture(one, frame=0).tolist() == RAMP.tolist()
    second = picture(one, frame=1, square=False)
    assert np.abs(second.astype(int) - RAMP).max() <= 1


def test_the_spacing_of_a_frame_is_its_own():
    assert [picture(enhanced(), frame=n).shape for n in (0, 1)] == [(16, 16), (32, 16)]


@pytest.mark.parametrize("frame", [-1, 2])
def test_a_frame_that_is_not_there_is_a_reason(frame):
    with pytest.raises(NoPictureError, match=f"there is no frame {frame}: it has 2, counted from 0"):
        picture(enhanced(), frame=frame)


@pytest.mark.parametrize("number", [None, "", 0])
def test_one_frame_is_assumed_where_their_number_is_not_known(number):
    assert frames(made(RAMP) if number is None else made(RAMP, NumberOfFrames=number)) == 1


# -- decoding -----------------------------------------------------------------------------------------------


def test_an_instance_without_pixels_has_no_picture():
    with pytest.raises(NoPictureError, match="it has no pixel data"):
        picture(pydicom.dcmread(io.BytesIO(dicom(1, PixelData=None))))


def test_what_cannot_be_decoded_is_a_reason_without_values():
    cut = made(RAMP, PatientName="SECRET^NAME")
    cut.PixelData = cut.PixelData[:100]
    with pytest.raises(NoPictureError, match=r"its pixel data cannot be decoded \(\w+\)$") as caught:
        picture(cut)
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


@pytest.mark.parametrize(
    "name",
    ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"],
)
def test_every_encoding_of_the_same_values_gives_the_same_picture(name):
    expected = picture(pydicom.dcmread(bundled("MR_small.dcm")))
    assert picture(pydicom.dcmread(bundled(name))).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "name",
    ["JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_2frame.dcm", "examples_jpeg2k.dcm",
     "rtdose_rle.dcm", "SC_jpeg_no_color_transform.dcm"],
)  # fmt: skip
def test_encapsulated_frames_are_what_pydicom_decodes(name):
    dataset = pydicom.dcmread(bundled(name))
    last = frames(dataset) - 1
    assert np.array_equal(pixel_array(dataset, index=last), decoded(dataset, last))


def test_what_the_archive_refuses_for_a_doubt_is_shown_as_pydicom_decodes_it():
    dataset = pydicom.dcmread(bundled("J2K_pixelrep_mismatch.dcm"))
    assert np.array_equal(pixel_array(dataset), decoded(dataset))


def test_cells_of_one_bit_are_black_and_white():
    dataset = pydicom.dcmread(bundled("liver_1frame.dcm"))
    assert np.unique(picture(dataset)).tolist() == [0, 255]


def test_floats_are_shown_and_what_is_no_number_is_black():
    one = made(RAMP)
    values = RAMP.astype("<f4") / 255
    values[0, 5] = np.nan
    del one.PixelData
    one.BitsAllocated = 32
    one.FloatPixelData = values.tobytes()
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(one, keyword)
    shown = picture(one, window=None)
    assert (shown[0, 5], shown[15, 15], shown[8, 0]) == (0, 255, 128)
