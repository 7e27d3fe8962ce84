"""Two instances side by side: values, sequences by path, pixels by how much."""

import io

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from support import bundled, dicom

from sorter.parser.difference import MOST_CHARACTERS, MOST_ELEMENTS, compare, compare_pixels, side


def shown(first, second):
    return [(one.path, one.first, one.second) for one in compare(first, second).differences]


def encapsulated(data):
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.compress(RLELossless, generate_instance_uid=False)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def item(**values):
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return one


def test_equal_instances_differ_in_nothing():
    found = compare(dicom(1), dicom(1))
    assert (found.count, found.differences, found.pixels.verdict) == (0, [], "same")
    assert (found.pixels.frames_of, found.pixels.values_of) == (1, 64)


def test_an_element_is_shown_with_both_values_and_its_name():
    first, second = dicom(1, StationName="CT1"), dicom(1, patient="P2")
    found = compare(first, second)
    assert [(one.path, one.name, one.first, one.second) for one in found.differences] == [
        ("(0008,1010)", "Station Name", "CT1", None),
        ("(0010,0020)", "Patient ID", "P1", "P2"),
    ]


def test_sequences_are_compared_item_by_item():
    first = dicom(1, RequestAttributesSequence=[item(StudyID="1"), item(StudyID="2", Modality="CT")])
    second = dicom(1, RequestAttributesSequence=[item(StudyID="1"), item(StudyID="3")])
    assert shown(first, second) == [
        ("(0040,0275)[1].(0008,0060)", "CT", None),
        ("(0040,0275)[1].(0020,0010)", "2", "3"),
    ]


def test_an_item_that_only_one_has_is_said():
    first = dicom(1, RequestAttributesSequence=[item(StudyID="1")])
    second = dicom(1, RequestAttributesSequence=[item(StudyID="1"), item(StudyID="2")])
    assert shown(first, second) == [("(0040,0275)[1]", None, "item with 1 elements")]


def test_long_values_are_cut_and_still_look_different():
    ((_, one, other),) = shown(dicom(1, PatientComments="x" * 500), dicom(1, PatientComments="x" * 501))
    assert one.startswith("x" * MOST_CHARACTERS + "... (500 characters")
    assert len(one) < 160
    assert one != other


def test_binary_values_are_shown_by_digest():
    ((_, one, other),) = shown(dicom(1, ICCProfile=b"\0" * 200), dicom(1, ICCProfile=b"\1" * 200))
    assert one.startswith("200 bytes, SHA-256 ")
    assert one != other


@pytest.mark.filterwarnings("ignore:Found unknown escape sequence")
def test_control_characters_are_not_shown():
    ((_, one, _),) = shown(dicom(1, PatientComments="a\x1b[31m\nb"), dicom(1))
    assert one.isprintable()


def test_very_many_differences_are_counted_and_the_first_are_shown():
    more = {f"add{number}": number for number in range(300)}
    first = pydicom.dcmread(io.BytesIO(dicom(1)))
    block = first.private_block(0x0011, "TEST", create=True)
    for number in range(200):
        block.add_new(number, "LO", str(number))
    second_block = first.private_block(0x0013, "TEST", create=True)
    for number in range(len(more) - 200):
        second_block.add_new(number, "LO", str(number))
    out = io.BytesIO()
    first.save_as(out, enforce_file_format=True)
    found = compare(out.getvalue(), dicom(1))
    assert found.count == 302  # and two private creators
    assert len(found.differences) == MOST_ELEMENTS


def test_another_encoding_of_the_same_pixels_is_the_same():
    found = compare(dicom(1, pixels=5), encapsulated(dicom(1, pixels=5)))
    assert (found.count, found.pixels.verdict) == (0, "same")
    assert (found.first.transfer_syntax, found.second.transfer_syntax) == (
        "Explicit VR Little Endian",
        "RLE Lossless",
    )


@pytest.mark.parametrize("encode", [lambda data: data, encapsulated])
def test_pixels_differ_by_how_many_and_how_much(encode):
    found = compare_pixels(dicom(1, pixels=3), encode(dicom(1, pixels=10)))
    assert (found.verdict, found.frames, found.frames_of) == ("different", 1, 1)
    assert (found.values, found.values_of, found.largest) == (64, 64, 7)


def test_pixels_of_another_size_are_different():
    found = compare_pixels(dicom(1), dicom(1, size=4))
    assert (found.verdict, found.detail) == ("different", "frames of 8x8 and 4x4 pixels")


def test_another_number_of_frames_is_different():
    two = dicom(1, NumberOfFrames=2, PixelData=bytes(256))
    found = compare_pixels(dicom(1), two)
    assert (found.verdict, found.frames, found.frames_of, found.values) == ("different", 1, 2, 0)


def test_only_one_with_pixels_is_different_and_neither_is_none():
    report = bundled("reportsi.dcm").read_bytes()
    assert compare_pixels(report, report).verdict == "none"
    assert compare_pixels(report, dicom(1)).verdict == "different"


def test_pixels_that_cannot_be_decoded_are_unknown():
    broken = dicom(1, BitsStored=17)
    assert compare_pixels(broken, dicom(1)).verdict == "unknown"


def test_a_side_says_what_it_is():
    found = side(bundled("MR_small_RLE.dcm").read_bytes())
    assert found.transfer_syntax == "RLE Lossless"
    assert found.values["SOPClass"] == "MR Image Storage"
    assert found.values["PatientID"] == "4MR1"
