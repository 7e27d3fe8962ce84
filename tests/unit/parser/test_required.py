"""What an object must carry by its SOP class."""

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from sorter.model import Reason
from sorter.parser.elements import Unparsable, top_level, walk
from sorter.parser.required import is_skeleton, missing

CT = "1.2.840.10008.5.1.4.1.1.2"
IDENTITY = (0x00080016, 0x00080018, 0x00080060, 0x00100010, 0x0020000D, 0x0020000E)


def test_an_image_class_must_carry_pixel_data():
    assert missing(CT, ()) == "its SOP class needs (7FE0,0010), which is not there"
    assert missing(CT, (0x7FE00010,)) is None


def test_a_private_class_needs_nothing():
    assert missing("1.2.3.4", ()) is None


@pytest.mark.parametrize("sop_class", ["1.2.3.4", "", "1.2.840.10008.5.1.4.1.1.66"])
def test_whatever_its_class_what_says_how_its_pixels_are_encoded_must_have_them(sop_class):
    assert missing(sop_class, (0x00280100,)) == "its (0028,0100) needs (7FE0,0010), which is not there"
    assert missing(sop_class, (0x00280100, 0x7FE00010)) is None
    assert missing(sop_class, (0x00280100, 0x7FE00008)) is None


def test_a_dataset_that_only_identifies_is_a_skeleton():
    assert is_skeleton(IDENTITY) is True


@pytest.mark.parametrize("tag", [0x00080008, 0x00180050, 0x00200032, 0x00280010, 0x00091001])
def test_image_type_acquisition_geometry_or_private_elements_make_it_more_than_a_skeleton(tag):
    assert is_skeleton((*IDENTITY, tag)) is False


def test_a_skeleton_names_its_modality():
    assert is_skeleton(tag for tag in IDENTITY if tag != 0x00080060) is False


def test_a_skeleton_of_an_image_class_is_accepted():
    path = get_testdata_file("dicomdirtests/TINY_ALPHA/PT000000/ST000000/SE000000/IM000000", download=False)
    if path is None:
        pytest.skip("this pydicom does not bundle the TINY_ALPHA file-set")
    dataset = walk(Path(path).read_bytes(), frozenset())
    assert dataset.pixel_data is None


def test_a_real_image_cut_between_any_two_elements_is_refused():
    data = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    whole = walk(data, frozenset())
    cuts = [start for tag, _, start, _, _ in top_level(whole) if tag <= 0x7FE00010]
    reasons = set()
    for cut in cuts:
        with pytest.raises(Unparsable) as caught:
            walk(data[:cut], frozenset())
        reasons.add(caught.value.reason)
    assert reasons == {Reason.TRUNCATED}
