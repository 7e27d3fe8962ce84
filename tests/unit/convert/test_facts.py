"""What may be stated of a file, and which of several statements counts."""

import pytest

from sorter.convert.errors import ConversionError, NeedsInfo
from sorter.convert.facts import facts, validated


def test_the_first_source_that_says_something_is_right():
    known = facts([("one", {"PatientID": "7", "StudyID": "A"}), ("two", {"StudyID": "B", "Modality": "CT"})])
    assert dict(known.values) == {"PatientID": "7", "StudyID": "A", "Modality": "CT"}


def test_the_name_of_another_patient_never_stands_beside_an_id():
    known = facts(
        [
            ("the command line", {"PatientID": "7"}),
            (
                "the template",
                {"PatientID": "8", "PatientName": "B", "StudyDate": "20200101", "Modality": "MR"},
            ),
        ]
    )
    assert dict(known.values) == {"PatientID": "7", "Modality": "MR"}


def test_another_study_of_the_same_patient_gives_its_patient_alone():
    known = facts(
        [
            ("one", {"PatientID": "7", "AccessionNumber": "A1"}),
            ("two", {"PatientID": "7", "AccessionNumber": "A2", "PatientSex": "F", "StudyDate": "20200101"}),
        ]
    )
    assert dict(known.values) == {"PatientID": "7", "AccessionNumber": "A1", "PatientSex": "F"}


def test_without_a_patient_id_nothing_is_invented():
    with pytest.raises(NeedsInfo) as raised:
        facts([("one", {"PatientName": "A", "PatientID": ""})])
    assert raised.value.missing == ("PatientID",)


@pytest.mark.parametrize(
    ("keyword", "value", "valid"),
    [
        ("StudyDate", "2020-02-29", "20200229"),
        ("StudyTime", "12:30:59", "123059"),
        ("PixelSpacing", "0.5", [0.5, 0.5]),
        ("PixelSpacing", 0.5, [0.5, 0.5]),
        ("PixelSpacing", "0.5\\0.25", [0.5, 0.25]),
        ("SeriesNumber", "12", 12),
        ("EchoTime", "30.5", 30.5),
        ("PatientName", " Müller^Jörg ", "Müller^Jörg"),
        ("PatientID", 42, "42"),
        ("SoftwareVersions", ["a", "b"], ["a", "b"]),
    ],
)
def test_values_become_what_a_dataset_may_hold(keyword, value, valid):
    assert {keyword: valid} == validated({keyword: value})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", "2020-13-01"),
        ("StudyDate", "20200101-20200131"),
        ("PatientID", "A\\B"),
        ("PatientID", "A\nB"),
        ("PatientID", "x" * 65),
        ("PatientSex", "female"),
        ("Modality", "mr"),
        ("PixelSpacing", "0"),
        ("PixelSpacing", "-1\\1"),
        ("EchoTime", "nan"),
        ("SeriesNumber", "1.5"),
        ("SeriesNumber", True),
        ("StudyInstanceUID", "1.2.x"),
        ("PatientName", "\ud800"),
        ("PatientName", {"a": 1}),
        ("PatientID", ["1", "2"]),
    ],
)
def test_an_invalid_value_is_refused_by_keyword_and_never_quoted(keyword, value):
    with pytest.raises(ConversionError) as raised:
        validated({keyword: value})
    assert keyword in str(raised.value)
    if isinstance(value, str) and len(value) > 3:
        assert value not in str(raised.value)


def test_what_is_invalid_in_a_template_is_left_out():
    assert validated({"PatientID": "1", "StudyDate": "1993.10.18x"}, drop=True) == {"PatientID": "1"}


def test_a_misspelt_keyword_is_told_with_the_nearest_one():
    with pytest.raises(ConversionError, match="did you mean PatientName"):
        validated({"PatientsName": "A"})


def test_what_stands_where_a_keyword_should_is_not_quoted_when_it_is_none():
    with pytest.raises(ConversionError) as raised:
        validated({"Doe^John, born 1950": "x"})
    assert "Doe" not in str(raised.value)
