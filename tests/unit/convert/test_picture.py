"""What pictures become: every kind, exactly, and nothing that they tell beside."""

import io
import struct

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pictures need the extra formats")

import pydicom
from made_pictures import SECRET, colours, exif, grey, matrix, png, png_16_bit_rgb, saved, srgb, tiff
from PIL import Image
from pydicom.encaps import generate_frames

from sorter.convert import picture_pages
from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts, facts
from sorter.convert.instance import write
from sorter.convert.options import Options
from sorter.convert.picture import from_picture
from sorter.parser.elements import walk

FACTS = Facts({"PatientID": "P1", "PatientName": "Doe^Jane"})
MATRIX = matrix()
SC = "1.2.840.10008.5.1.4.1.1.7"


def files(content, kind="auto", known=FACTS):
    made = from_picture(content, known, Options(kind=kind))
    return [write(dataset, dataset.file_meta.TransferSyntaxUID) for dataset in made]


def instances(content, kind="auto", known=FACTS):
    return [pydicom.dcmread(io.BytesIO(one)) for one in files(content, kind, known)]


def only(content, kind="auto", known=FACTS):
    (dataset,) = instances(content, kind, known)
    return dataset


def stored(dataset):
    """Stored values as an array; of a JPEG as Pillow decodes it."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        return np.asarray(Image.open(io.BytesIO(frame)))
    return dataset.pixel_array


def as_pillow(content, mode):
    picture = Image.open(io.BytesIO(content))
    pages = []
    for number in range(getattr(picture, "n_frames", 1)):
        picture.seek(number)
        pages.append(np.asarray(picture.convert(mode) if mode else picture))
    return pages


PLAIN = {
    **dict.fromkeys(
        ("grey8.png", "odd-grey.png", "grey.jpg", "grey8.tif", "pages-grey.tif", "grey.bmp"), "L"
    ),
    **dict.fromkeys(("grey16.png", "grey16.tif", "pages-grey16.tif"), None),
    **dict.fromkeys(("rgb.png", "rgb16.png", "palette.png", "odd-rgb.png", "icc.png", "jpeg.tif"), "RGB"),
    **dict.fromkeys(("420.jpg", "422.jpg", "444.jpg", "odd-420.jpg", "restart.jpg", "adobe-rgb.jpg"), "RGB"),
    **dict.fromkeys(("progressive.jpg", "cmyk.jpg", "cmyk.tif", "pages-rgb.tif", "rgb.bmp"), "RGB"),
    **dict.fromkeys(("palette.gif", "animated.gif", "uneven.gif"), "RGB"),
    **dict.fromkeys(("bits.png", "g4.tif", "bits.bmp"), "L"),
    "pages-bits.tif": "1",
}


@pytest.mark.parametrize("name", PLAIN)
def test_pixels_are_exactly_what_pillow_sees(name):
    content, _ = MATRIX[name]
    found = stored(only(content))
    pages = as_pillow(content, PLAIN[name])
    assert np.array_equal(found, pages[0] if len(pages) == 1 else np.stack(pages))


@pytest.mark.parametrize("name", MATRIX)
def test_every_kind_becomes_whole_instances_the_same_each_time_without_what_it_tells_beside(name):
    content, count = MATRIX[name]
    made = files(content)
    assert len(made) == count
    assert made == files(content)
    for one in made:
        walk(one, frozenset())
        assert SECRET.encode() not in one


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("grey8.png", ""), ("pages-bits.tif", ".1"), ("pages-grey.tif", ".2"), ("pages-grey16.tif", ".3"),
     ("pages-rgb.tif", ".4"), ("animated.gif", ".4"), ("unequal.tif", "")],
)  # fmt: skip
def test_pages_of_one_kind_are_frames_of_the_class_for_it(name, suffix):
    assert {one.SOPClassUID for one in instances(MATRIX[name][0])} == {SC + suffix}


def test_pages_of_several_kinds_are_numbered_instances_of_one_series():
    made = instances(MATRIX["unequal.tif"][0])
    assert [one.InstanceNumber for one in made] == [1, 2, 3]
    assert len({one.SeriesInstanceUID for one in made}) == 1
    assert len({one.SOPInstanceUID for one in made}) == 3
    assert [one.pixel_array.shape for one in made] == [(48, 64), (48, 64, 3), (47, 63)]


# -- transparency and tone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode"), [("rgba.png", "RGBA"), ("la.png", "LA"), ("palette-trns.png", "RGBA")]
)
def test_what_is_transparent_is_shown_on_white(name, mode):
    content, _ = MATRIX[name]
    both = np.asarray(Image.open(io.BytesIO(content)).convert(mode)).astype(float)
    alpha = both[..., -1:] / 255
    expected = (both[..., :-1] * alpha + 255 * (1 - alpha)).squeeze()
    assert np.abs(only(content).pixel_array - expected).max() <= 0.5 + 1e-9


def test_a_transparent_value_of_grey_becomes_white():
    (values, *_), found = as_pillow(MATRIX["grey-trns.png"][0], "L"), only(MATRIX["grey-trns.png"][0])
    expected = grey()
    expected[expected == 40] = 255
    assert (grey() == 40).any() and np.array_equal(values, grey())
    assert np.array_equal(found.pixel_array, expected)


def test_a_transparent_value_of_16_bit_grey_becomes_white():
    lines = b"".join(struct.pack(">B3H", 0, *row) for row in ((1000, 2000, 3000), (4000, 1000, 65535)))
    content = png(2, 3, bits=16, colour=0, lines=lines, before=b"")
    assert only(content).pixel_array.tolist() == [[1000, 2000, 3000], [4000, 1000, 65535]]
    from made_pictures import chunk

    marked = png(2, 3, bits=16, colour=0, lines=lines, before=chunk(b"tRNS", struct.pack(">H", 1000)))
    assert only(marked).pixel_array.tolist() == [[65535, 2000, 3000], [4000, 65535, 65535]]


def test_where_all_is_transparent_the_colours_are_kept():
    hidden = Image.fromarray(colours()).convert("RGBA")
    hidden.putalpha(0)
    assert np.array_equal(only(saved(hidden, "PNG")).pixel_array, colours())


def test_16_bit_grey_whose_zero_is_white_is_turned_round():
    content = tiff([grey(levels=65536)], tiffinfo={262: 0})
    assert np.array_equal(only(content).pixel_array, 65535 - grey(levels=65536))


def test_16_bit_colour_keeps_its_upper_bits():
    values = (np.arange(5 * 7 * 3) * 601 % 65536).reshape(5, 7, 3)
    assert np.array_equal(only(png_16_bit_rgb()).pixel_array, values >> 8)


def test_signed_values_are_stored_as_such():
    values = grey(levels=30000).astype(np.int32) - 4000
    found = only(tiff([values]))
    assert (found.PixelRepresentation, found.BitsAllocated) == (1, 16)
    assert np.array_equal(found.pixel_array, values)


def test_floating_point_values_are_within_half_a_step():
    values = (grey(levels=65536) / 70000).astype(np.float32)
    found = only(tiff([values]))
    real = found.pixel_array * float(found.RescaleSlope) + float(found.RescaleIntercept)
    assert np.abs(real - values).max() <= float(values.max()) / 65535
    shown = ((real - (found.WindowCenter - 0.5)) / (found.WindowWidth - 1) + 0.5) * 255  # C.11.2.1.2.1
    assert (round(shown.min()), round(shown.max())) == (0, 255)


@pytest.mark.parametrize(
    ("name", "centre", "width"), [("grey8.png", 128, 256), ("bits.png", 128, 256), ("grey.jpg", 128, 256)]
)
def test_8_bit_grey_is_shown_as_it_is(name, centre, width):
    found = only(MATRIX[name][0])
    assert (found.WindowCenter, found.WindowWidth) == (centre, width)


def test_16_bit_grey_is_shown_from_its_lowest_to_its_highest_value():
    found = only(saved(np.array([[100, 300], [200, 1123]], np.uint16), "PNG"))
    assert (found.WindowCenter, found.WindowWidth) == (612, 1024)


def test_a_window_that_is_stated_is_written():
    known = facts([("test", {"PatientID": "P1", "WindowCenter": 40, "WindowWidth": 400})])
    found = only(MATRIX["grey16.png"][0], known=known)
    assert (found.WindowCenter, found.WindowWidth) == (40, 400)


def test_colour_has_no_window():
    known = facts([("test", {"PatientID": "P1", "WindowCenter": 40, "WindowWidth": 400})])
    assert "WindowCenter" not in only(MATRIX["rgb.png"][0], known=known)


# -- JPEG ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_jpeg_is_turned_as_its_exif_says(orientation):
    from PIL import ImageOps

    content = saved(colours(), "JPEG", exif=exif(orientation))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    found = only(content)
    assert not found.file_meta.TransferSyntaxUID.is_encapsulated
    assert np.array_equal(found.pixel_array, np.asarray(expected))
    assert (found.LossyImageCompression, found.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(found.LossyImageCompressionRatio) == round(48 * 64 * 3 / len(content), 3)


@pytest.mark.parametrize("name", ["progressive.jpg", "cmyk.jpg", "jpeg.tif"])
def test_what_is_decoded_still_says_that_it_lost(name):
    found = only(MATRIX[name][0])
    assert found.PhotometricInterpretation == "RGB"
    assert not found.file_meta.TransferSyntaxUID.is_encapsulated
    assert found.LossyImageCompression == "01"


def test_what_lost_nothing_claims_no_loss():
    assert "LossyImageCompression" not in only(MATRIX["grey8.png"][0])


# -- what goes with the pixels ------------------------------------------------------------------------------


def test_spacing_is_written_only_where_it_is_stated():
    content = saved(grey(), "PNG", dpi=(300, 300))
    assert "PixelSpacing" not in only(content)
    known = facts([("test", {"PatientID": "P1", "PixelSpacing": [0.5, 0.25]})])
    assert only(content, known=known).PixelSpacing == [0.5, 0.25]


def test_text_is_taken_to_be_burned_in_unless_stated():
    assert only(MATRIX["rgb.png"][0]).BurnedInAnnotation == "YES"
    known = facts([("test", {"PatientID": "P1", "BurnedInAnnotation": "NO"})])
    assert only(MATRIX["rgb.png"][0], known=known).BurnedInAnnotation == "NO"


@pytest.mark.parametrize("name", ["icc.png", "444.jpg"])
def test_a_display_profile_is_kept_as_an_input_profile(name):
    found = only(MATRIX[name][0]).ICCProfile
    assert found[12:16] == b"scnr"
    assert found[84:100] == bytes(16)
    assert (
        found[:12] + found[16:84] + found[100:][: len(srgb()) - 100]
        == srgb()[:12] + srgb()[16:84] + srgb()[100:]
    )


@pytest.mark.parametrize(
    "profile",
    [b"", srgb()[:-1], b"x" * 200, srgb().replace(b"RGB ", b"GRAY", 1), srgb().replace(b"mntr", b"prtr", 1),
     srgb().replace(b"rTRC", b"junk")],
    ids=["none", "cut", "junk", "grey", "printer", "no curve"],
)  # fmt: skip
def test_a_profile_that_dicom_cannot_have_is_dropped(profile):
    assert "ICCProfile" not in only(saved(colours(), "PNG", icc_profile=profile))


def test_frames_of_an_animation_keep_their_times():
    even, uneven = only(MATRIX["animated.gif"][0]), only(MATRIX["uneven.gif"][0])
    assert (even.NumberOfFrames, even.FrameTime) == (3, 80)
    assert even.FrameIncrementPointer == 0x00181063
    assert list(uneven.FrameTimeVector) == [0, 50, 100, 50]


def test_pages_are_numbered():
    found = only(MATRIX["pages-rgb.tif"][0])
    assert list(found.PageNumberVector) == [1, 2, 3]
    assert found.FrameIncrementPointer == 0x00182001


# -- photographs --------------------------------------------------------------------------------------------


def test_a_photograph_is_vl_photographic():
    found = only(MATRIX["420.jpg"][0], kind="photo")
    assert (found.SOPClassUID, found.Modality) == ("1.2.840.10008.5.1.4.1.1.77.1.4", "XC")
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert "ConversionType" not in found


def test_a_photograph_of_rgb_components_is_native():
    found = only(MATRIX["adobe-rgb.jpg"][0], kind="photo")
    assert not found.file_meta.TransferSyntaxUID.is_encapsulated
    assert found.LossyImageCompression == "01"


def test_pages_of_photographs_are_instances():
    assert len(instances(MATRIX["pages-rgb.tif"][0], kind="photo")) == 3


@pytest.mark.parametrize("name", ["grey16.png", "float.tif"])
def test_a_photograph_of_more_than_8_bits_is_refused(name):
    with pytest.raises(ConversionError, match="VL Photographic holds 8 bits"):
        files(MATRIX[name][0], kind="photo")


# -- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pmap", "seg"])
def test_kinds_of_volumes_are_refused(kind):
    with pytest.raises(ConversionError, match="is for volumes"):
        files(MATRIX["grey8.png"][0], kind=kind)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ConversionError, match="not a picture"):
        files(b"not a picture at all")


def test_a_bomb_is_refused_before_it_is_decoded():
    with pytest.raises(ConversionError, match="too large"):
        files(png(100_000, 100_000, bits=8, colour=0, lines=b"\0" * 1000))


def test_a_side_beyond_16_bits_is_refused():
    with pytest.raises(ConversionError, match="too large"):
        files(saved(np.zeros((1, 65536), np.uint8), "PNG"))


def test_pages_are_bounded_together(monkeypatch):
    monkeypatch.setattr(picture_pages, "MAX_BYTES", 3 * 48 * 64 * 3 - 1)
    with pytest.raises(ConversionError, match="too large"):
        files(MATRIX["pages-rgb.tif"][0])
    monkeypatch.setattr(picture_pages, "MAX_PAGES", 2)
    with pytest.raises(ConversionError, match="more than 2 pages"):
        files(MATRIX["pages-rgb.tif"][0])


def test_lab_colours_are_refused():
    lab = Image.merge("LAB", [Image.fromarray(grey())] * 3)
    with pytest.raises(ConversionError, match="LAB are not understood"):
        files(saved(lab, "TIFF"))


def test_pillows_own_limit_stays_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    files(MATRIX["grey8.png"][0])
    assert before == Image.MAX_IMAGE_PIXELS
