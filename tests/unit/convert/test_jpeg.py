"""A baseline JPEG keeps its entropy-coded bytes and loses what it tells beside."""

import io

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pictures need the extra formats")

from made_pictures import SECRET, adobe_rgb, colours, exif, grey, matrix, saved, without
from PIL import Image

from sorter.convert.errors import ConversionError
from sorter.convert.jpeg import baseline

MATRIX = matrix()
KEPT = ["grey.jpg", "420.jpg", "422.jpg", "444.jpg", "odd-420.jpg", "restart.jpg", "adobe-rgb.jpg"]
ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"


def segments(stream):
    """(marker, content) of each segment; the last is the scan with all that follows."""
    at, found = 2, []
    while True:
        marker, end = stream[at + 1], at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xDA:
            return [*found, (marker, stream[at:])]
        found.append((marker, stream[at:end]))
        at = end


@pytest.mark.parametrize("name", KEPT)
def test_entropy_coded_bytes_and_tables_are_as_they_came(name):
    content, _ = MATRIX[name]
    told = [one for one in segments(content) if one[0] not in {*range(0xE0, 0xF0), 0xFE}]
    assert [one for one in segments(baseline(content).stream) if one[0] != 0xEE] == told


@pytest.mark.parametrize("name", KEPT)
def test_it_decodes_to_the_same_pixels(name):
    content, _ = MATRIX[name]
    before, after = (np.asarray(Image.open(io.BytesIO(one))) for one in (content, baseline(content).stream))
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("name", "photometric"),
    [("grey.jpg", "MONOCHROME2"), ("420.jpg", "YBR_FULL_422"), ("444.jpg", "YBR_FULL_422"),
     ("adobe-rgb.jpg", "RGB")],
)  # fmt: skip
def test_components_are_named(name, photometric):
    found = baseline(MATRIX[name][0])
    assert found.photometric == photometric
    assert found.ratio == found.rows * found.columns * found.components / len(found.stream)


@pytest.mark.parametrize("name", ["progressive.jpg", "cmyk.jpg"])
def test_what_baseline_does_not_hold_is_to_be_decoded(name):
    assert baseline(MATRIX[name][0]) is None


def test_all_segments_that_tell_something_are_gone():
    content = saved(
        colours(), "JPEG", exif=exif(), comment=SECRET, icc_profile=b"profile" * 20, xmp=SECRET.encode()
    )
    assert SECRET.encode() in content
    markers = [marker for marker, _ in segments(baseline(content).stream)]
    assert not {0xFE, *range(0xE0, 0xF0)} & set(markers)


def test_adobes_segment_stays_without_what_is_behind_it():
    longer = ADOBE[4:] + SECRET.encode()
    segment = b"\xff\xee" + (len(longer) + 2).to_bytes(2, "big") + longer
    content = without(adobe_rgb(), 0xEE)
    stream = baseline(content[:2] + segment + content[2:]).stream
    assert ADOBE in stream
    assert SECRET.encode() not in stream


def test_components_called_r_g_b_are_rgb_without_adobe():
    content = without(adobe_rgb(), 0xEE)
    assert baseline(content).photometric == "RGB"


def test_contradictions_about_colour_are_left_to_the_decoder():
    content = MATRIX["420.jpg"][0]  # with JFIF's segment, which says YCbCr
    assert baseline(content[:20] + ADOBE + content[20:]) is None


def test_a_jpeg_without_any_word_about_colour_is_ycbcr():
    assert baseline(without(MATRIX["420.jpg"][0], 0xE0)).photometric == "YBR_FULL_422"


def test_fill_bytes_and_bytes_behind_the_end_go():
    content = MATRIX["grey.jpg"][0]
    start = content.index(b"\xff\xdb")
    filled = content[:start] + b"\xff\xff" + content[start:] + b"behind"
    assert baseline(filled).stream == baseline(content).stream


@pytest.mark.parametrize("cut", [0, 2, 3, 30, 200, -2, -1])
def test_a_cut_jpeg_is_refused(cut):
    content = saved(grey(), "JPEG")
    with pytest.raises(ConversionError):
        baseline(content[:cut])
