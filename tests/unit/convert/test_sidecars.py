"""Facts beside a file: JSON, folder file, template, in that order."""

import json

import pydicom
import pytest
from pydicom.data import get_testdata_file

from sorter.convert.errors import ConversionError, NeedsInfo
from sorter.convert.sidecars import from_json, from_template, gather, stub

MR = get_testdata_file("MR_small.dcm", download=False)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "study" / "brain.nii.gz"
    path.parent.mkdir()
    path.touch()
    return path


def test_the_order_is_given_json_folder_template_configuration(source):
    (source.parent / "brain.json").write_text(json.dumps({"PatientID": "json", "StudyID": "json"}))
    (source.parent / "sorter.toml").write_text('[dicom]\nStudyID = "toml"\nSeriesDescription = "toml"\n')
    template = pydicom.dcmread(MR)
    template.PatientID, template.BodyPartExamined = "json", "HEAD"
    template.save_as(source.parent / "_template.dcm")
    known = gather(
        source,
        given=[("--set", {"Modality": "CT"})],
        configured={"StationName": "ours", "Modality": "XX", "BodyPartExamined": "HAND"},
    )
    found = (known.text(key) for key in ("Modality", "PatientID", "StudyID", "SeriesDescription"))
    assert tuple(found) == ("CT", "json", "json", "toml")
    assert (known.text("BodyPartExamined"), known.text("StationName")) == ("HEAD", "ours")


def test_the_nearest_folder_file_with_a_table_dicom_counts(source):
    (source.parent / "sorter.toml").write_text('archive = "x"\n')
    (source.parent.parent / "sorter.toml").write_text('[dicom]\nPatientID = "above"\n')
    assert gather(source).text("PatientID") == "above"
    with pytest.raises(NeedsInfo):
        gather(source, top=source.parent)


def test_a_template_of_the_same_name_goes_before_that_of_the_folder(source):
    for name, patient in (("brain.dcm", "own"), ("_template.dcm", "folder")):
        template = pydicom.dcmread(MR)
        template.PatientID = patient
        template.save_as(source.parent / name)
    assert gather(source).text("PatientID") == "own"


def test_a_template_gives_patient_and_study_and_never_the_series(source):
    values = from_template(MR)
    dataset = pydicom.dcmread(MR)
    assert dataset.StudyInstanceUID == values["StudyInstanceUID"]
    assert values["Modality"] == "MR"
    assert not {"SeriesInstanceUID", "SeriesDescription", "SOPInstanceUID", "EchoTime"} & values.keys()


def test_a_template_that_is_no_dicom_is_refused_without_its_path(source):
    (source.parent / "brain.dcm").write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(ConversionError) as raised:
        gather(source)
    assert str(source.parent) not in str(raised.value)


def test_bids_times_are_seconds_and_its_other_keys_are_left_out():
    bids = {"EchoTime": 0.03, "RepetitionTime": 2.0, "ConversionSoftware": "dcm2niix", "SliceTiming": [0, 1],
            "ManufacturersModelName": "Prisma", "Modality": "MR"}  # fmt: skip
    assert (from_json(json.dumps(bids).encode())) == {
        "EchoTime": 30.0,
        "RepetitionTime": 2000.0,
        "ManufacturerModelName": "Prisma",
        "Modality": "MR",
    }


def test_keywords_keep_the_units_of_dicom():
    assert from_json(b'{"EchoTime": 0.03, "whatever": 1}') == {"EchoTime": 0.03}


def test_the_dicom_json_model_is_read():
    model = {
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        "00200013": {"vr": "IS", "Value": [3]},
        "00081030": {"vr": "LO"},
    }
    assert from_json(json.dumps(model).encode()) == {"PatientID": "P1", "PatientName": "A^B"}


@pytest.mark.parametrize("content", [b"{", b"3", b"[1, 2]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(content):
    with pytest.raises(ConversionError):
        from_json(content)


def test_a_keyword_in_other_letters_is_told():
    with pytest.raises(ConversionError, match="did you mean PatientID"):
        from_json(b'{"PatientId": "1"}')


def test_a_stub_asks_first_for_what_is_missing_and_filling_it_in_is_enough(source):
    wanted = stub(("Orientation", "PatientID"))
    assert list(wanted)[:2] == ["Orientation", "PatientID"]
    assert {""} == set(wanted.values())
    filled = wanted | {"PatientID": "P1", "Orientation": "RAS"}
    (source.parent / "brain.json").write_text(json.dumps(filled))
    known = gather(source)
    assert (dict(known.values), dict(known.settings)) == ({"PatientID": "P1"}, {"Orientation": "RAS"})
