"""Truncated pictures never become DICOM, and whole ones do."""

import struct

import pytest

pytest.importorskip("PIL", reason="pictures need the extra formats")

from made_pictures import chunk, matrix

from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts
from sorter.convert.options import Options
from sorter.convert.picture import from_picture
from sorter.convert.picture_whole import check_whole
from sorter.convert.recognise import Format, recognise

FACTS = Facts({"PatientID": "P1"})
MATRIX = matrix()
PADDING = 8  # behind the last strip of a TIFF may lie bytes that nothing refers to


def pixels(content):
    return [dataset.PixelData for dataset in from_picture(content, FACTS, Options())]


@pytest.mark.parametrize("name", MATRIX)
def test_a_picture_that_is_cut_anywhere_is_refused_or_has_lost_nothing(name):
    content, _ = MATRIX[name]
    whole = pixels(content)
    for end in {*range(0, len(content), len(content) // 10), *range(len(content) - 12, len(content), 2)}:
        try:
            found = pixels(content[:end])
        except ConversionError:
            continue
        assert name.endswith(".tif") and len(content) - end <= PADDING
        assert found == whole


@pytest.mark.parametrize("name", MATRIX)
def test_whole_pictures_pass(name):
    content, _ = MATRIX[name]
    check_whole(content, recognise(content, len(content)))


@pytest.mark.parametrize("name", ["grey8.png", "420.jpg", "palette.gif", "rgb.bmp", "pages-rgb.tif"])
def test_bytes_behind_a_picture_do_not_matter(name):
    content, _ = MATRIX[name]
    assert pixels(content) == pixels(content + b"\0" * 100)


def test_a_tiff_whose_pages_run_in_a_circle_is_refused():
    page = struct.pack("<H", 0) + struct.pack("<L", 8)
    with pytest.raises(ConversionError, match="cut short or damaged"):
        check_whole(b"II*\0" + struct.pack("<L", 8) + page, Format.TIFF)


def test_a_big_tiff_is_followed_as_well():
    entry = struct.pack("<2HQQ", 273, 4, 1, 16), struct.pack("<2HQQ", 279, 4, 1, 56)
    start = b"II+\0" + struct.pack("<2HQ", 8, 0, 16) + struct.pack("<Q", 2)
    file = start + b"".join(entry) + struct.pack("<Q", 0)
    check_whole(file, Format.TIFF)
    with pytest.raises(ConversionError, match="cut short or damaged"):
        check_whole(file[:-1], Format.TIFF)
    with pytest.raises(ConversionError, match="cut short or damaged"):
        check_whole(file.replace(struct.pack("<Q", 56), struct.pack("<Q", 57)), Format.TIFF)
    with pytest.raises(ConversionError, match="leaves out"):
        check_whole(file.replace(struct.pack("<Q", 56), bytes(8)), Format.TIFF)


def test_a_png_whose_chunk_is_longer_than_the_file_is_refused():
    with pytest.raises(ConversionError, match="cut short or damaged"):
        check_whole(b"\x89PNG\r\n\x1a\n" + b"\xff" * 4 + chunk(b"IEND", b"")[4:], Format.PNG)
